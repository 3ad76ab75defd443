"""What bad input gets: one clear line, exit code 2, nothing half-written."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
SCRIPTS = sorted(path.stem for path in (ROOT / "scripts").glob("*.py"))
RUNLESS = {
    **{name: "--rounds" for name in SCRIPTS if name.startswith("benchmark_")},
}
"""Scripts that work on no run, and so take no config, with an option that each has instead."""
CONFIGURED = [name for name in SCRIPTS if name not in (*RUNLESS, "compare_runs")]
"""Scripts of one experiment; what a comparison refuses is tested with it."""


@pytest.mark.parametrize("name", SCRIPTS)
def test_help_comes_in_under_two_seconds(name: str):
    started = time.monotonic()
    result = subprocess.run([sys.executable, ROOT / "scripts" / f"{name}.py", "--help"], capture_output=True, text=True)
    assert result.returncode == 0
    assert RUNLESS.get(name, "--config") in result.stdout
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("name", CONFIGURED)
def test_a_mistyped_key_is_refused_by_every_script(complaint, name: str, arguments: list[str], tmp_path: Path):
    line = complaint(name, [*arguments, "--set", "sampling.max_tokens=3"])
    assert "unknown key 'max_tokens' in section 'sampling'" in line
    assert not (tmp_path / "run").exists()


def test_a_run_of_another_config_is_refused(do, complaint, arguments: list[str]):
    do(arguments, "build_tasks")
    line = complaint("build_tasks", [*arguments, "--set", "seed=5"])
    assert "was made with another config (seed was 0, now 5)" in line


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("sample_completions", "build_tasks.py"),
        ("judge_completions", "build_tasks.py"),
        ("train_dpo", "build_preferences.py"),
        ("evaluate_policy", "build_tasks.py"),
    ],
)
def test_a_stage_before_its_time_names_the_script_to_run(complaint, name: str, needed: str, arguments: list[str]):
    assert f"run scripts/{needed}" in complaint(name, arguments)


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
def test_a_bad_library_setting_is_refused_before_any_work(complaint, setting: str, message: str, arguments: list[str]):
    assert message in complaint("train_dpo", [*arguments, "--set", setting])


def test_a_bad_line_of_a_task_file_is_named(complaint, arguments: list[str], tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    file.write_text('{"prompt": "fine"}\n{"promt": "typo"}\n')
    line = complaint("build_tasks", [*arguments, "--set", f"tasks.files=[{file}]"])
    assert "mine.jsonl:2" in line


def test_samples_that_all_fail_say_so_with_the_histogram(do, complaint, arguments: list[str], planted: Path):
    file = planted / "samples" / "completions.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    file.write_text("".join(json.dumps({**row, "text": "no", "finish_reason": "stop"}) + "\n" for row in rows))
    do(arguments, "judge_completions")
    line = complaint("build_preferences", arguments)
    assert "every sample failed; tasks by share of passing samples: 4 of 4 at 0 %" in line
    assert not (planted / "dataset").exists()


def test_a_torn_completions_file_is_named_by_line(complaint, arguments: list[str], planted: Path):
    file = planted / "samples" / "completions.jsonl"
    file.write_text(file.read_text()[:-40])
    assert "completions.jsonl:16: not a Completion record" in complaint("judge_completions", arguments)


def test_a_full_disk_is_one_line_and_leaves_the_old_file(do, arguments: list[str], planted: Path, tmp_path: Path):
    """A file-size limit stands in for the full disk; the kernel refuses the write either way."""
    do(arguments, "judge_completions")
    old = (planted / "samples" / "verdicts.jsonl").read_bytes()
    result = subprocess.run(
        [sys.executable, ROOT / "scripts" / "judge_completions.py", *arguments],
        capture_output=True,
        text=True,
        preexec_fn=limit_file_size,
    )
    assert result.returncode == 2, result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert (planted / "samples" / "verdicts.jsonl").read_bytes() == old


def limit_file_size() -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, 512))


def test_an_unwritable_run_folder_is_one_line(complaint, config_file: Path):
    """/proc takes no new folders, not even root's."""
    line = complaint("build_tasks", ["--config", str(config_file), "--run", "/proc/run"])
    assert "cannot be written" in line
