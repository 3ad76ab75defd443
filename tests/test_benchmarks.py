"""The benchmark on the tiny model: every engine answers the same workload, and the last line is what machines read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.benchmarks.training import TrainingBenchmark, long_prompt_pairs
from pipelines.errors import ConfigError
from tests.stages.conftest import ROOT, load_script

ENGINES = "pipelines,transformers_generate"


def benchmark(*arguments: str) -> int:
    return load_script("benchmark_sampling")(["--workload", "smoke", *arguments])


def test_the_last_line_is_one_object_with_every_engines_speed(tiny_folder: Path, tmp_path: Path, capsys):
    out = tmp_path / "figures" / "sampling"
    assert benchmark("--model", str(tiny_folder), "--engines", ENGINES, "--rounds", "1", "--out", str(out)) == 0
    result = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(result["tokens_per_second"]) == set(ENGINES.split(","))
    assert all(speed > 0 for speed in result["tokens_per_second"].values())
    assert all(len(rounds) == 1 for rounds in result["rounds"].values())
    assert result["ratio_of_pipelines_to"]["pipelines"] == 1
    assert result["versions"]["transformers"]
    assert result["memory_of_pipelines"]["live_key_value_mb"] > 0
    assert json.loads((tmp_path / "figures" / "sampling.json").read_text()) == result
    assert (tmp_path / "figures" / "sampling.png").read_bytes().startswith(b"\x89PNG")


def test_every_engine_answers_every_prompt_as_often_as_asked(tiny):
    from pipelines.benchmarks.engines import generate_batch_engine, generate_engine, pipelines_engine
    from pipelines.benchmarks.workloads import build_workload

    workload = build_workload("smoke", *tiny)
    for make in (pipelines_engine, generate_engine, generate_batch_engine):
        seconds, completions = make(tiny[0])(workload, 1)
        assert seconds > 0
        assert [len(rows) for rows in completions] == [3] * 2
        assert all(0 < len(tokens) <= 8 for rows in completions for tokens in rows)


def test_an_unknown_engine_is_one_line(tiny_folder: Path, capsys):
    assert benchmark("--model", str(tiny_folder), "--engines", "warp", "--rounds", "1") == 2
    assert "unknown engine 'warp'; choose among pipelines" in capsys.readouterr().err.splitlines()[-1]


def test_a_python_without_vllm_is_one_line(tiny_folder: Path):
    import sys

    from pipelines.benchmarks.engines import VllmEngine

    with pytest.raises(ConfigError, match="cannot start vLLM; name a Python that has it"):
        VllmEngine(Path(sys.executable), tiny_folder)


@pytest.mark.slow
def test_the_training_benchmarks_last_line_has_every_trainers_seconds_per_step(tiny_folder: Path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    arguments = ["--model", str(tiny_folder), "--batch-size", "2", "--steps", "1", "--rounds", "1"]
    assert load_script("benchmark_training")([*arguments, "--pair-sets", "worked_examples,bare"]) == 0
    result = json.loads(capsys.readouterr().out.strip().splitlines()[-1])
    for pair_set in ("worked_examples", "bare"):
        assert set(result["seconds_per_step"][pair_set]) == {"trl", "trl_best", "pipelines"}
        assert all(seconds > 0 for seconds in result["seconds_per_step"][pair_set].values())


def test_pairs_of_the_training_benchmark_are_bare_or_follow_worked_examples():
    settings = {"model": "", "config": ROOT / "configs" / "default.yaml", "batch_size": 2, "steps": 1, "rounds": 1}
    asked = TrainingBenchmark(dataset=ROOT / "data" / "json-preferences", pair_sets=(), **settings)
    bare, examples = asked.pairs("bare"), asked.pairs("worked_examples")
    assert [len(pair["prompt"]) for pair in bare] == [1] * 4
    assert [len(pair["prompt"]) for pair in examples] == [7] * 4
    assert [pair["chosen"] for pair in bare] == [pair["chosen"] for pair in examples]


def test_long_prompts_have_nothing_in_common():
    prompts = [pair["prompt"][0]["content"] for pair in long_prompt_pairs(6)]
    assert len({prompt[:20] for prompt in prompts}) == 6
    assert min(map(len, prompts)) > 1500


def test_more_steps_than_pairs_is_one_line(tmp_path: Path, capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_script("benchmark_training")(["--steps", "1000", "--rounds", "1", "--pair-sets", "bare"]) == 2
    assert "177 pairs, 8008 wanted; lower --steps" in capsys.readouterr().err


def test_an_unknown_pair_set_is_refused_before_anything_is_timed(capsys, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert load_script("benchmark_training")(["--pair-sets", "bare,worked"]) == 2
    assert "--pair-sets must be of worked_examples, bare, long_prompt, got 'worked'" in capsys.readouterr().err
