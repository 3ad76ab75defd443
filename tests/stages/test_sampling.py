"""The sampling stage on the tiny model: killed, resumed, shared out, and never a completion too many or too few."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
import yaml

from pipelines.config import load_config
from pipelines.preferences.dataset import load_judged
from pipelines.preferences.tables import Preferences
from pipelines.records import Completion, Task, load_lines
from pipelines.run.folder import Run
from pipelines.samples import journal
from pipelines.samples.drawing import sample_seed
from tests.stages.conftest import CONFIG

ROOT = Path(__file__).resolve().parent.parent.parent


def wanted(run: Path) -> Counter[tuple[str, int]]:
    config = load_config(run / "config.yaml")
    tasks = [task for task in load_lines(Task, run / "samples" / "tasks.jsonl") if task.split == "train"]
    return Counter((task.id, index) for task in tasks for index in range(config.sampling.samples_per_task))


def found(run: Path) -> Counter[tuple[str, int]]:
    rows = load_lines(Completion, run / "samples" / "completions.jsonl")
    assert all(row.seed == sample_seed(0, row.task_id, row.index) for row in rows)
    return Counter((row.task_id, row.index) for row in rows)


@pytest.fixture
def many(tmp_path: Path, tiny_folder: Path) -> Path:
    """A config with work for a few seconds: batches finish one by one."""
    file = tmp_path / "many.yaml"
    tree = {
        **CONFIG,
        "model": {**CONFIG["model"], "name": str(tiny_folder)},
        "tasks": {"families": {"range": {"train": 40, "held_out": 1}, "letters": {"train": 20, "held_out": 1}}},
        "sampling": {"samples_per_task": 6, "max_new_tokens": 30, "worked_examples": 1, "batch_size": 12},
    }
    file.write_text(yaml.safe_dump(tree))
    return file


def sample(config_file: str, run: str) -> None:
    """In a process of its own."""
    os.environ["OMP_NUM_THREADS"] = "1"
    from pipelines.samples import sample_training_tasks

    config = load_config(Path(config_file))
    sample_training_tasks(config, Run.open(Path(run), config))


def begin(config_file: Path, run: Path) -> multiprocessing.process.BaseProcess:
    """A process that samples, of a server that has the libraries loaded."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pipelines.samples.collecting"])
    process = context.Process(target=sample, args=(str(config_file), str(run)))
    process.start()
    return process


def seconds_undisturbed(config_file: Path, do, tmp_path: Path) -> float:
    """How long a run takes that nobody kills."""
    for name in ("warm", "timed"):  # the first one waits for the server's libraries
        do(["--config", str(config_file), "--run", str(tmp_path / name)], "build_tasks")
        started = time.monotonic()
        begin(config_file, tmp_path / name).join()
    return time.monotonic() - started


def kill_often(kills: int, config_file: Path, do, tmp_path: Path, latest: float = 1.5) -> int:
    """Start, kill -9 within `latest` seconds, start again; how many runs came to their end, each checked."""
    moments = random.Random(7)
    finished = killed = 0
    while killed < kills or not finished:
        run = tmp_path / f"run{finished}"
        if not run.exists():
            do(["--config", str(config_file), "--run", str(run)], "build_tasks")
        process = begin(config_file, run)
        process.join(moments.uniform(0.05, latest) if killed < kills else None)
        if process.exitcode is None:
            os.kill(process.pid, signal.SIGKILL)
            process.join()
            killed += 1
        if (run / "samples" / "completions.jsonl").exists():
            assert found(run) == wanted(run)
            finished += 1
    return finished


def test_killed_runs_end_with_exactly_the_wanted_completions(do, many: Path, tmp_path: Path):
    assert kill_often(6, many, do, tmp_path) >= 1


@pytest.mark.slow
def test_200_kills_lose_nothing_and_double_nothing(do, many: Path, tmp_path: Path):
    latest = seconds_undisturbed(many, do, tmp_path) / 2  # a slower machine gets nowhere between earlier kills
    assert kill_often(200, many, do, tmp_path, latest) >= 10


def test_a_second_call_draws_nothing_again(do, arguments: list[str], tmp_path: Path, capsys):
    do(arguments, "build_tasks", "sample_completions")
    stored = (tmp_path / "run" / "samples" / "journal" / "00000.jsonl").read_bytes()
    capsys.readouterr()
    do(arguments, "sample_completions")
    assert "from earlier 16" in capsys.readouterr().out
    assert (tmp_path / "run" / "samples" / "journal" / "00000.jsonl").read_bytes() == stored


def test_completions_of_other_settings_are_counted_not_used(do, arguments: list[str], tmp_path: Path, capsys):
    do(arguments, "build_tasks", "sample_completions")
    file = tmp_path / "run" / "samples" / "journal" / "00000.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["settings"]["policy"]["sha256"] = "another model's"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    capsys.readouterr()
    do(arguments, "sample_completions")
    assert "unused of other settings 4" in capsys.readouterr().out
    assert found(tmp_path / "run") == wanted(tmp_path / "run")


def test_a_run_beside_another_on_the_same_folder_is_refused(do, complaint, arguments: list[str], tmp_path: Path):
    do(arguments, "build_tasks")
    with journal.locked(tmp_path / "run" / "samples" / "journal"):
        line = complaint("sample_completions", arguments)
    assert "is in use by another process that samples; wait for it, or name another --run" in line


def test_a_damaged_journal_is_named_by_file_and_line(do, complaint, arguments: list[str], tmp_path: Path):
    do(arguments, "build_tasks", "sample_completions")
    file = tmp_path / "run" / "samples" / "journal" / "00000.jsonl"
    file.write_bytes(b"\x00" + file.read_bytes())
    assert "00000.jsonl:1: not a batch of completions" in complaint("sample_completions", arguments)


def test_adaptive_spending_stops_where_there_is_enough_of_one_kind(do, arguments: list[str], tmp_path: Path, capsys):
    """The tiny model never passes: every task is given up after its first two steps."""
    setting = "sampling.adaptive={step: 2, enough: 1, give_up_after: 4}"
    more = [*arguments, "--set", setting, "--set", "sampling.samples_per_task=20"]
    do(more, "build_tasks", "sample_completions")
    assert Counter(task_id for task_id, _ in found(tmp_path / "run")).most_common(1)[0][1] == 4
    assert "completions 16, passed 0" in capsys.readouterr().out


def test_a_line_deleted_from_an_adaptive_journal_is_drawn_again(do, arguments: list[str], tmp_path: Path):
    setting = "sampling.adaptive={step: 2, enough: 1, give_up_after: 4}"
    do([*arguments, "--set", setting], "build_tasks", "sample_completions")
    before = found(tmp_path / "run")
    file = tmp_path / "run" / "samples" / "journal" / "00000.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[1:]))
    do([*arguments, "--set", setting], "sample_completions", "sample_completions")
    assert found(tmp_path / "run") == before


def launched(config_file: Path, run: Path, processes: int) -> list[Completion]:
    launcher = ["-m", "accelerate.commands.launch", "--config_file", "configs/accelerate/multi_cpu.yaml"]
    tools = [sys.executable, *launcher, "--num_processes", str(processes)]
    environment = {**os.environ, "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    command = [*tools, "scripts/sample_completions.py", "--config", str(config_file), "--run", str(run)]
    subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True)
    return load_lines(Completion, run / "samples" / "completions.jsonl")


@pytest.mark.slow
def test_two_processes_share_the_tasks_and_draw_the_same(do, many: Path, tmp_path: Path):
    for name in ("one", "two"):
        do(["--config", str(many), "--run", str(tmp_path / name)], "build_tasks")
    do(["--config", str(many), "--run", str(tmp_path / "one")], "sample_completions")
    alone = load_lines(Completion, tmp_path / "one" / "samples" / "completions.jsonl")
    together = launched(many, tmp_path / "two", 2)
    assert len(list((tmp_path / "two" / "samples" / "journal").glob("*.jsonl"))) == 2
    assert found(tmp_path / "two") == wanted(tmp_path / "two")
    assert [row.text for row in together] == [row.text for row in alone]


def test_a_run_goes_on_in_another_number_of_processes(do, many: Path, tmp_path: Path):
    run = tmp_path / "run"
    do(["--config", str(many), "--run", str(run)], "build_tasks", "sample_completions")
    (run / "samples" / "completions.jsonl").unlink()
    file = run / "samples" / "journal" / "00000.jsonl"
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:23]) + b'{"settings"')
    started = time.monotonic()
    launched(many, run, 2)
    assert found(run) == wanted(run)
    assert time.monotonic() - started < 120


def test_a_share_of_the_tasks_is_sampled_with_examples_and_trained_on_under_the_same_prompt(
    do, many: Path, tmp_path: Path
):
    tree = yaml.safe_load(many.read_text())
    tree["sampling"] |= {"worked_examples_share": 0.5, "samples_per_task": 1, "max_new_tokens": 4}
    tree["training"] |= {"worked_examples": 1, "worked_examples_share": 0.5}
    many.write_text(yaml.safe_dump(tree))
    run = tmp_path / "run"
    do(["--config", str(many), "--run", str(run)], "build_tasks", "sample_completions", "judge_completions")
    rows = load_lines(Completion, run / "samples" / "completions.jsonl")
    promptings = {row.task_id: row.prompting for row in rows}
    assert len(promptings) == 60
    assert 15 < Counter(promptings.values())["worked_examples"] < 45
    lengths = {kind: [row.prompt_tokens for row in rows if row.prompting == kind] for kind in promptings.values()}
    assert min(lengths["worked_examples"]) > max(lengths["bare"])
    preferences = Preferences(
        config=load_config(many), tasks=load_lines(Task, run / "samples" / "tasks.jsonl"),
        judged=load_judged(Run(run)), scores=dict.fromkeys(((row.task_id, row.index) for row in rows), 0.0),
        pairs=[], fates=Counter(), model={},
    )  # fmt: skip
    for table in ("samples", "kto"):
        for task_id, row in preferences.rows(table):
            assert (len(row["prompt"]) > 1) == (promptings[task_id] == "worked_examples")
