"""The benchmark on the tiny model: every engine answers the same workload, and the last line is what machines read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from tests.stages.conftest import load_script

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
