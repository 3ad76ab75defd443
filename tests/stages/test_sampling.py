"""Sampling and evaluation on the tiny model: killed, resumed, shared out, and never a sample too many or too few."""

from __future__ import annotations

import dataclasses
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from datasets import Dataset

from pipelines.cli import main
from pipelines.config import load_config
from pipelines.preferences.tables import Preferences
from pipelines.run.folder import Run
from pipelines.samples import store
from pipelines.samples.drawing import build_asks, sample_seed
from pipelines.samples.store import read_samples
from tests.stages.conftest import ROOT, do, load_run, write_config

Key = tuple[str, str, int]


def wanted(run: Path, phase: str | None = None) -> Counter[Key]:
    """(task, source, index) of all that a round, or an evaluation, is to hold."""
    config, tasks = load_config(run / "config.yaml"), list(load_run(run).iterate_tasks())
    settings = (
        [config.sampling] if phase is None else [config.evaluation, dataclasses.replace(config.evaluation, few_shot=0)]
    )
    asked = [task for task in tasks if task.split == ("train" if phase is None else "test")]
    asks = [ask for one in settings for ask in build_asks(asked, tasks, one, config.seed)]
    return Counter((ask.task.id, ask.source, index) for ask in asks for index in ask.indices)


def place(run: Path, phase: str | None = None) -> Path:
    return load_run(run).evaluation(phase) if phase else load_run(run).round(1).samples


def found(run: Path, phase: str | None = None) -> Counter[Key]:
    rows = [row for own in read_samples(place(run, phase)).values() for row in own]
    assert all(row.seed == sample_seed(0, row.task_id, row.index) for row in rows)
    return Counter((row.task_id, row.source, row.index) for row in rows)


def texts(run: Path) -> dict[str, list[str]]:
    return {task_id: [row.completion for row in own] for task_id, own in read_samples(place(run)).items()}


@pytest.fixture
def many(tmp_path: Path, tiny_folder: Path) -> Path:
    """A config with work for many batches, which finish one by one."""
    families = {"range": {"train": 20, "test": 4}, "letters": {"train": 10, "test": 3}}
    drawing = {"samples_per_task": 6, "max_new_tokens": 16, "few_shot": 1, "batch_size": 12}
    return write_config(
        tmp_path / "many.yaml", tiny_folder, tasks={"families": families}, sampling=drawing, evaluation=drawing
    )


def of(config_file: Path, run: Path) -> list[str]:
    return ["--config", str(config_file), "--run", str(run)]


def run_alone(words: list[str]) -> None:
    """A verb in a process of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.exit(main(words))


def begin(words: list[str]) -> multiprocessing.process.BaseProcess:
    """A process that does a verb, of a server that has the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.samples.collecting", "pipelines.evaluation.measuring"])
    process = context.Process(target=run_alone, args=(words,))
    process.start()
    return process


def stored_bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.glob("*.jsonl"))


def kill_when(process: multiprocessing.process.BaseProcess, holds: Callable[[], bool]) -> bool:
    """kill -9 as soon as something holds; whether the process came to its end before."""
    while process.is_alive() and not holds():
        process.join(0.001)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode in (0, -signal.SIGKILL)
    return process.exitcode == 0


def kill_often(kills: int, config_file: Path, tmp_path: Path) -> int:
    """Start, kill -9 after so many more stored bytes, start again; how many runs came to their end, each checked."""
    moments = random.Random(7)
    finished = killed = 0
    while killed < kills or not finished:
        run = tmp_path / f"run{finished}"
        if not run.exists():
            do(of(config_file, run), "tasks")
        more = moments.choice([0, 1, moments.randrange(40_000)]) if killed < kills else sys.maxsize
        until = more + stored_bytes(place(run))
        if kill_when(begin(["sample", *of(config_file, run)]), lambda: stored_bytes(place(run)) >= until):  # noqa: B023 - called here
            assert found(run) == wanted(run)
            finished += 1
        else:
            killed += 1
    return finished


def test_killed_runs_end_with_exactly_the_wanted_samples(many: Path, tmp_path: Path):
    assert kill_often(6, many, tmp_path) >= 1


@pytest.mark.slow
def test_200_kills_lose_nothing_and_double_nothing(many: Path, tmp_path: Path):
    assert kill_often(200, many, tmp_path) >= 10


def test_a_killed_evaluation_is_completed_and_nothing_drawn_twice(many: Path, tmp_path: Path):
    for name in ("killed", "whole"):
        do(of(many, tmp_path / name), "tasks")
    arguments = of(many, tmp_path / "killed")
    folder = place(tmp_path / "killed", "before")
    assert not kill_when(begin(["evaluate", *arguments]), lambda: stored_bytes(folder) > 10_000)
    kept = folder.joinpath("00000.jsonl").read_bytes()
    do(arguments, "evaluate")
    do(of(many, tmp_path / "whole"), "evaluate")
    assert folder.joinpath("00000.jsonl").read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    assert found(tmp_path / "killed", "before") == wanted(tmp_path / "killed", "before")
    one, other = (json.loads((tmp_path / name / "metrics.json").read_text()) for name in ("killed", "whole"))
    assert one == other


def test_an_evaluation_that_is_whole_asks_no_model(arguments: list[str], planted: Path, capsys):
    do(arguments, "evaluate")
    store_file = planted / "evaluation" / "before" / "00000.jsonl"
    stored = store_file.read_bytes()
    capsys.readouterr()
    do(arguments, "evaluate")
    assert "completions 12, " in (said := capsys.readouterr().out)  # 3 tasks, few-shot and zero-shot, 2 samples each
    assert "from earlier 12" in said
    assert store_file.read_bytes() == stored


@pytest.fixture
def sampled(arguments: list[str], tmp_path: Path) -> Path:
    """The file that holds the sixteen samples of four tasks."""
    do(arguments, "tasks", "sample")
    assert found(tmp_path / "run") == wanted(tmp_path / "run")
    return place(tmp_path / "run") / "00000.jsonl"


def test_a_second_call_draws_nothing_again(arguments: list[str], sampled: Path, capsys):
    stored = sampled.read_bytes()
    do(arguments, "sample")
    assert "from earlier 16" in capsys.readouterr().out
    assert sampled.read_bytes() == stored


def test_what_another_run_would_draw_is_drawn_the_same(arguments: list[str], sampled: Path, tmp_path: Path):
    do(of(Path(arguments[1]), tmp_path / "again"), "tasks", "sample")
    assert texts(tmp_path / "again") == texts(tmp_path / "run")


@pytest.mark.parametrize("changed", [{"policy": {"sha256": "another model's"}}, {"messages": []}, {"seed": 1}])
def test_samples_that_are_no_longer_asked_for_are_set_aside_and_counted(
    arguments: list[str], sampled: Path, tmp_path: Path, capsys, changed: dict
):
    first, *others = sampled.read_text().splitlines()
    row = json.loads(first)
    sampled.write_text("\n".join([json.dumps({**row, "settings": {**row["settings"], **changed}}), *others, ""]))
    do(arguments, "sample")
    assert "from earlier 12, set aside 4" in capsys.readouterr().out.replace("processes 1, ", "")
    aside = sampled.parent / "unused" / "00000.jsonl"
    assert [json.loads(line)["samples"] for line in aside.read_text().splitlines()] == [row["samples"]]
    assert found(tmp_path / "run") == wanted(tmp_path / "run")


def test_a_run_beside_another_on_the_same_folder_is_refused(complaint, arguments: list[str], sampled: Path):
    with store.locked(sampled.parent):
        line = complaint("sample", arguments)
    assert "is in use by another process that samples; wait for it, or name another --run" in line


def test_a_damaged_store_is_named_by_file_and_line(complaint, arguments: list[str], sampled: Path):
    sampled.write_bytes(b"\x00" + sampled.read_bytes())
    assert "00000.jsonl:1: not a batch of samples" in complaint("sample", arguments)


def test_one_process_goes_on_with_what_three_left(arguments: list[str], sampled: Path, tmp_path: Path, capsys):
    before, lines = texts(tmp_path / "run"), sampled.read_bytes().splitlines(keepends=True)
    sampled.write_bytes(lines[0])
    (sampled.parent / "00001.jsonl").write_bytes(lines[1][:100])
    (sampled.parent / "00002.jsonl").write_bytes(lines[2] + b'{"settings"')
    do(arguments, "sample")
    assert "torn lines repaired 2" in capsys.readouterr().out
    assert texts(tmp_path / "run") == before


def launched(config_file: Path, run: Path, processes: int) -> None:
    launcher = ["-m", "accelerate.commands.launch", "--config_file", "configs/accelerate/multi_cpu.yaml"]
    tools = [sys.executable, *launcher, "--num_processes", str(processes), "-m", "pipelines"]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    subprocess.run([*tools, "sample", *of(config_file, run)], check=True, cwd=ROOT, env=environment)


@pytest.mark.slow
def test_two_processes_share_the_tasks_and_draw_the_same(many: Path, tmp_path: Path):
    for name in ("one", "two"):
        do(of(many, tmp_path / name), "tasks")
    do(of(many, tmp_path / "one"), "sample")
    launched(many, tmp_path / "two", 2)
    assert len(list(place(tmp_path / "two").glob("*.jsonl"))) == 2
    assert found(tmp_path / "two") == wanted(tmp_path / "two")
    assert texts(tmp_path / "two") == texts(tmp_path / "one")


@pytest.mark.slow
def test_a_run_goes_on_in_another_number_of_processes(many: Path, tmp_path: Path):
    run = tmp_path / "run"
    do(of(many, run), "tasks", "sample")
    before = texts(run)
    file = place(run) / "00000.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:23]) + b'{"settings"')
    launched(many, run, 2)
    assert found(run) == wanted(run)
    assert texts(run) == before


def test_a_share_of_the_tasks_is_sampled_few_shot_and_trained_on_under_the_same_prompt(
    tiny_folder: Path, tmp_path: Path
):
    shared = {"few_shot": 1, "few_shot_share": 0.5}
    file = write_config(
        tmp_path / "shared.yaml",
        tiny_folder,
        tasks={"families": {"range": {"train": 40, "test": 1}, "letters": {"train": 20, "test": 1}}},
        sampling={**shared, "samples_per_task": 1, "max_new_tokens": 4},
        training=shared,
    )
    run = Run(tmp_path / "run")
    do(of(file, run.root), "tasks", "sample")
    samples = read_samples(run.round(1).samples)
    assert len(samples) == 60
    sources = Counter(row.source for own in samples.values() for row in own)
    assert 15 < sources["few_shot"] < 45
    preferences = Preferences(
        config=load_config(file), examples=list(run.iterate_tasks("example")), validation=set(), score=lambda one: 0.0,
        pairs=[], outcomes=Counter(), model={},
    )  # fmt: skip
    for task in run.iterate_tasks("train"):
        (sample,) = samples[task.id]
        for _, row in preferences.rows(task, [sample], []):
            assert row["prompt"] == list(sample.messages)
            assert len(row["prompt"]) == (3 if sample.source == "few_shot" else 1)


def test_a_model_that_is_never_right_by_itself_leaves_with_pairs(tiny_folder: Path, tmp_path: Path):
    """The tiny model writes noise; under the grammar of the schemas it is right now and then."""
    schema = {
        "type": "object",
        "properties": {"n": {"enum": [1, 2, 3]}, "ok": {"type": "boolean"}},
        "required": ["n", "ok"],
        "additionalProperties": False,
    }
    rows = [
        {"prompt": f"n {n}?", "schema": schema, "target": {"n": n % 3 + 1, "ok": n % 2 == 0}, "split": "train"}
        for n in range(12)
    ]
    (tmp_path / "own.jsonl").write_text("\n".join(map(json.dumps, rows)))
    proposals = {
        "grammar": {"samples_per_task": 2, "generation": {"temperature": 3.0}},
        "repair": {"samples_per_task": 2, "generation": {"temperature": 3.0}, "levels": 2},
    }
    file = write_config(
        tmp_path / "own.yaml",
        tiny_folder,
        tasks={"files": [str(tmp_path / "own.jsonl")]},
        sampling={"samples_per_task": 2, "few_shot": 0, "max_new_tokens": 40, "proposals": proposals},
        preferences={"min_pairs": 1, "allow_truncated_rejected": True, "validation_fraction": 0.0},
    )
    arguments = ["--config", str(file), "--run", str(tmp_path / "run")]
    do(arguments, "tasks", "sample", "pair")
    run = load_run(tmp_path / "run")
    stored = read_samples(run.last.samples)
    assert {one.source for own in stored.values() for one in own} == {"zero_shot", "grammar", "repair"}
    pairs = Dataset.from_parquet(str(run.last.dataset / "pairs" / "*.parquet"), cache_dir=str(tmp_path / "cache"))
    wanted = {json.dumps(row["prompt"]): row["target"] for row in rows}
    assert {row["source"] for row in pairs} <= {"grammar", "repair"}
    assert len({row["task_id"] for row in pairs}) >= 6
    for row in pairs:
        assert json.loads(row["chosen"][0]["content"]) == wanted[json.dumps(row["prompt"][-1]["content"])]
        assert row["prompt"] == [{"role": "user", "content": row["prompt"][-1]["content"]}]
    before = {path.name: path.read_bytes() for path in run.last.samples.glob("*.jsonl")}
    do(arguments, "sample")
    assert {path.name: path.read_bytes() for path in run.last.samples.glob("*.jsonl")} == before
