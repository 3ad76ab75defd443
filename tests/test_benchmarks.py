"""The benchmark on the tiny model: every engine answers the same workload, and the last line is what machines read."""

from __future__ import annotations

import contextlib
import copy
import io
import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from benchmarks.engines import IN_PROCESS, NAMES, VllmEngine
from benchmarks.training import TrainingBenchmark, long_prompt_pairs
from benchmarks.workloads import build_workload
from pipelines.errors import ConfigError
from tests.stages.conftest import ROOT

ENGINES = "pipelines,transformers_generate"


def run_script(name: str, *arguments: str) -> int:
    """A script's `main`, imported from its file as Python runs it; returns the exit code."""
    return runpy.run_path(str(ROOT / "scripts" / f"{name}.py"))["main"](list(arguments))


def benchmark(*arguments: str) -> int:
    return run_script("benchmark_sampling", "--workload", "smoke", *arguments)


@pytest.fixture
def decided(tiny):
    """The tiny model with logits ten thousand times as far apart: what it draws is what it finds most likely."""
    model, tokenizer = copy.deepcopy(tiny[0]), tiny[1]
    with torch.no_grad():
        model.model.norm.weight *= 1e4
    return model, tokenizer


@pytest.fixture(scope="module")
def result(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The object on the last line, which is also the file's."""
    out, printed = tmp_path_factory.mktemp("figures") / "sampling", io.StringIO()
    with contextlib.redirect_stdout(printed):
        assert benchmark("--model", str(tiny_folder), "--engines", ENGINES, "--rounds", "2", "--out", str(out)) == 0
    found = json.loads(printed.getvalue().splitlines()[-1])
    assert json.loads(out.with_suffix(".json").read_text()) == found
    assert out.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    return found


def test_the_last_line_has_a_row_for_every_engine_and_round_that_was_asked_for(result: dict[str, Any]):
    assert set(result["rounds"]) == set(result["tokens_per_second"]) == set(ENGINES.split(","))
    for name, rounds in result["rounds"].items():
        assert len(rounds) == 2
        assert all(2 * 3 <= one["tokens"] <= 2 * 3 * 8 for one in rounds)
        speeds = [one["tokens"] / one["seconds"] for one in rounds]
        assert result["tokens_per_second"][name] == pytest.approx(sum(speeds) / 2, abs=0.05)
    assert result["ratio_of_pipelines_to"]["pipelines"] == 1


def test_the_last_line_says_what_was_asked_of_what_versions(result: dict[str, Any]):
    load = {name: result["workload"][name] for name in ("name", "prompts", "samples", "max_new_tokens")}
    assert load == {"name": "smoke", "prompts": 2, "samples": 3, "max_new_tokens": 8}
    assert result["versions"]["transformers"] == transformers.__version__


def test_keys_and_values_in_use_are_at_least_a_prompts_and_at_most_every_completions(result: dict[str, Any]):
    """Two layers, keys and values, two heads of eight numbers, four bytes each: 256 bytes a token."""
    shortest, longest = result["workload"]["prompt_tokens"]
    live = result["memory_of_pipelines"]["live_key_value_mb"]
    assert longest * 256 / 1e6 - 0.05 <= live <= (shortest + longest + 2 * 3 * 8) * 256 / 1e6 + 0.05
    assert 2 * 3 <= result["memory_of_pipelines"]["sampled_tokens"] <= 2 * 3 * 8


def test_every_engine_answers_every_prompt_as_often_as_asked_with_the_tokens_that_the_model_decides(decided):
    workload = build_workload("smoke", *decided)
    answers = {name: make(decided[0])(workload, 1)[1] for name, make in IN_PROCESS.items()}
    assert set(answers) == {name for name in NAMES if name != "vllm"}
    for name, completions in answers.items():
        assert (completions == answers["pipelines"]) == (name != "pipelines_under_grammar")
        assert [len(rows) for rows in completions] == [3, 3]
        assert all(0 < len(tokens) <= 8 for rows in completions for tokens in rows)


def test_an_unknown_engine_is_one_line(tiny_folder: Path, capsys):
    assert benchmark("--model", str(tiny_folder), "--engines", "warp", "--rounds", "1") == 2
    assert "unknown engine 'warp'; choose among pipelines" in capsys.readouterr().err.splitlines()[-1]


def test_a_python_without_vllm_is_one_line(tiny_folder: Path):
    with pytest.raises(ConfigError, match="cannot start vLLM; name a Python that has it"):
        VllmEngine(Path(sys.executable), tiny_folder)


@pytest.mark.slow
def test_the_training_benchmarks_last_line_has_a_row_for_every_trainer_and_pair_set(
    tiny_folder: Path, capsys, monkeypatch
):
    monkeypatch.chdir(ROOT)
    arguments = ["--model", str(tiny_folder), "--batch-size", "2", "--steps", "1", "--rounds", "1"]
    assert run_script("benchmark_training", *arguments, "--pair-sets", "few_shot,zero_shot") == 0
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    assert list(result["rounds"]) == ["few_shot", "zero_shot"]
    for pair_set, rounds in result["rounds"].items():
        assert {name: len(rows) for name, rows in rounds.items()} == {"trl": 1, "trl_best": 1, "pipelines": 1}
        assert (
            rounds["trl"][0]["reference_seconds_per_batch"] == 0 < rounds["pipelines"][0]["reference_seconds_per_batch"]
        )
        assert result["times_as_long_as_pipelines"][pair_set]["pipelines"] == 1


def test_pairs_of_the_training_benchmark_are_zero_shot_or_few_shot():
    settings = {"model": "", "config": ROOT / "configs" / "default.yaml", "batch_size": 2, "steps": 1, "rounds": 1}
    asked = TrainingBenchmark(dataset=ROOT / "data" / "json-preferences", pair_sets=(), **settings)
    plain, examples = asked.pairs("zero_shot"), asked.pairs("few_shot")
    assert [len(pair["prompt"]) for pair in plain] == [1] * 4
    assert [len(pair["prompt"]) for pair in examples] == [7] * 4
    assert [pair["chosen"] for pair in plain] == [pair["chosen"] for pair in examples]


def test_long_prompts_have_nothing_in_common():
    prompts = [pair["prompt"][0]["content"] for pair in long_prompt_pairs(6)]
    assert len({prompt[:20] for prompt in prompts}) == 6
    assert min(map(len, prompts)) > 1500


def test_more_steps_than_pairs_is_one_line(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert run_script("benchmark_training", "--steps", "1000", "--rounds", "1", "--pair-sets", "zero_shot") == 2
    assert "177 pairs, 8008 wanted; lower --steps" in capsys.readouterr().err


def test_an_unknown_pair_set_is_refused_before_anything_is_timed(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert run_script("benchmark_training", "--pair-sets", "zero_shot,worked") == 2
    assert "--pair-sets must be of few_shot, zero_shot, long_prompt, got 'worked'" in capsys.readouterr().err
