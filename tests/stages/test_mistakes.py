"""What bad input gets: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.cli import build_parser
from tests.stages.conftest import ROOT, do, load_run, plant

VERBS = sorted(build_parser()._subparsers._group_actions[0].choices)
OF_A_CONFIG = [verb for verb in VERBS if verb != "compare"]
"""What a comparison refuses is tested with it."""


@pytest.mark.parametrize("verb", OF_A_CONFIG)
def test_a_mistyped_key_is_refused_by_every_verb(complaint, verb: str, arguments: list[str], tmp_path: Path):
    line = complaint(verb, [*arguments, "--set", "sampling.max_tokens=3"])
    assert "unknown key 'max_tokens' in section 'sampling'" in line
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_config_is_refused(complaint, arguments: list[str]):
    do(arguments, "tasks")
    line = complaint("tasks", [*arguments, "--set", "seed=5"])
    assert "was made with another config (seed was 0, now 5)" in line


@pytest.mark.parametrize(
    ("verb", "needed"),
    [
        ("sample", "tasks"),
        ("verify", "tasks"),
        ("pair", "tasks"),
        ("train", "pair --round 1"),
        ("evaluate", "tasks"),
        ("export", "train"),
    ],
)
def test_a_verb_before_its_time_names_the_one_to_run(complaint, verb: str, needed: str, arguments: list[str]):
    assert f"run `attend-and-prefer {needed}" in complaint(verb, arguments)


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("training.dpo.learning_rat=1", "unknown key 'learning_rat' in training.dpo (DPOConfig); did you mean"),
        ("training.dpo.learning_rate='1e-4'", "must be a number, got the text '1e-4'"),
        ("training.dpo.output_dir=x", "is decided by the run"),
        ("training.dpo.lr_scheduler_type=nonsense", "nonsense is not a valid SchedulerType"),
        ("training.lora.rank=4", "unknown key 'rank' in training.lora (LoraConfig); did you mean"),
    ],
)
@pytest.mark.parametrize("verb", ["train", "run"])
def test_a_bad_library_setting_is_refused_before_any_work(
    complaint, verb: str, setting: str, message: str, arguments: list[str], tmp_path: Path
):
    assert message in complaint(verb, [*arguments, "--set", setting])
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["config.yaml"]


def test_a_bad_line_of_a_task_file_is_named(complaint, arguments: list[str], tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "fine"}\n{"promt": "typo"}\n')
    assert "mine.jsonl:2" in complaint("tasks", [*arguments, "--set", f"tasks.files=[{file}]"])


def test_samples_that_all_fail_say_so_with_the_histogram(
    complaint, arguments: list[str], planted: Path, tmp_path: Path
):
    tasks = load_run(planted).iterate_tasks("train")
    rows = [{**row, "completion": "no", "finish_reason": "stop"} for task in tasks for row in plant(task)]
    (tmp_path / "failed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    do([*arguments, "--completions", str(tmp_path / "failed.jsonl")], "verify")
    line = complaint("pair", arguments)
    assert "every sample failed; tasks by share of passing samples: 4 of 4 at 0 %" in line
    assert not load_run(planted).last.dataset.exists()


def test_a_full_disk_is_one_line_and_leaves_the_old_file(arguments: list[str], planted: Path):
    """A file-size limit stands in for the full disk; the kernel refuses the write either way."""
    (file,) = load_run(planted).last.samples.glob("*.jsonl")
    old = file.read_bytes()
    result = subprocess.run(
        [sys.executable, "-m", "pipelines", "verify", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
    )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert file.read_bytes() == old


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


def test_an_unwritable_run_folder_is_one_line(complaint, config_file: Path):
    """/proc takes no new folders, not even root's."""
    assert "cannot be written" in complaint("tasks", ["--config", str(config_file), "--run", "/proc/run"])


def test_a_run_folder_of_an_older_version_is_refused_in_one_line(complaint, arguments: list[str], planted: Path):
    (planted / "samples").mkdir()
    assert "was made by another version" in complaint("tasks", arguments)
