"""The labelling scripts on a planted run: files that add up, sittings that are killed and go on, mistakes."""

from __future__ import annotations

import io
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture
def paired(do, planted: Path, arguments: list[str]) -> Path:
    """A run with a dataset: four tasks, each with two pairs and a couple to draw."""
    do(arguments, "judge_completions", "build_preferences")
    return planted


def labels(run: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (run / "labels" / f"{name}.jsonl").read_text().splitlines()]


def test_every_labeler_labels_the_same_comparisons(script, paired: Path, arguments: list[str], monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n2\nt\ns\n" * 5))
    for options in (["validator"], ["judge"], ["human", "--person", "ada"]):
        assert script("label_pairs", [*arguments, "--labeler", *options]) == 0
    names = ("validator", "judge-policy", "human-ada")
    ids = [sorted(row["comparison"] for row in labels(paired, name)) for name in names]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) >= 8


def test_the_validator_has_ties_and_finds_the_pairs_apart(do, paired: Path, arguments: list[str]):
    do([*arguments, "--labeler", "validator"], "label_pairs")
    given = [row["label"] for row in labels(paired, "validator")]
    assert set(given) <= {"first", "second", "tie"}
    assert given.count("first") + given.count("second") >= 8


def test_agreement_is_printed_and_written(do, paired: Path, arguments: list[str], capsys):
    do([*arguments, "--labeler", "validator"], "label_pairs")
    do([*arguments, "--labeler", "validator", "--name", "again"], "label_pairs")
    do(arguments, "compare_labelers")
    (couple,) = json.loads((paired / "labels" / "agreement.json").read_text())["agreement"]
    assert (couple["observed"], couple["kappa"], couple["low"]) == (1.0, pytest.approx(1.0), None)
    assert "| again and validator |" in capsys.readouterr().out


def test_labels_of_former_samples_are_left_out(do, paired: Path, arguments: list[str]):
    do([*arguments, "--labeler", "validator"], "label_pairs")
    file = paired / "samples" / "completions.jsonl"
    file.write_text(file.read_text().replace(", 0]", ", 7]"))
    do(arguments, "compare_labelers")
    report = json.loads((paired / "labels" / "agreement.json").read_text())
    count = len(labels(paired, "validator"))
    assert 0 < report["stale_labels"] <= count
    assert report["labelers"]["validator"]["labels"] == count - report["stale_labels"]


def test_the_trained_policy_must_be_trained_to_judge(complaint, paired: Path, arguments: list[str]):
    judging = [*arguments, "--labeler", "judge", "--model", "trained", "--count", "2"]
    assert "run scripts/train_dpo.py first" in complaint("label_pairs", judging)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "--count must be at least 1, got 0"),
        (["--labeler", "judge", "--server", "nowhere"], "--server must be an http(s) address"),
        (["--labeler", "validator", "--name", "a/b"], "--name must be letters, digits"),
        (["--labeler", "judge", "--model", "no/such-model"], "model 'no/such-model' cannot be loaded"),
    ],
)
def test_a_mistake_is_one_line(complaint, paired: Path, arguments: list[str], options: list[str], message: str):
    assert message in complaint("label_pairs", [*arguments, *options])


def test_labelling_before_its_time_names_the_script_to_run(complaint, planted: Path, arguments: list[str]):
    assert "run scripts/build_preferences.py" in complaint("label_pairs", arguments)
    assert "run scripts/label_pairs.py" in complaint("compare_labelers", arguments)


class Sitting:
    """A person at a real terminal."""

    def __init__(self, arguments: list[str]) -> None:
        self.master, slave = pty.openpty()
        command = [sys.executable, ROOT / "scripts" / "label_pairs.py", *arguments, "--person", "ada"]
        self.process = subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        self.shown = ""

    def press(self, key: str) -> None:
        """Wait for the question, and a moment for the terminal to drop what came too early; then press."""
        self.wait_for("q quit")
        time.sleep(0.2)
        os.write(self.master, key.encode())

    def wait_for(self, text: str) -> None:
        deadline = time.monotonic() + 60
        while text not in self.shown:
            assert time.monotonic() < deadline, self.shown
            if select.select([self.master], [], [], 0.1)[0]:
                self.shown += os.read(self.master, 4096).decode()
        self.shown = self.shown.partition(text)[2]

    def end(self) -> int:
        return self.process.wait(timeout=60)


def test_a_killed_sitting_goes_on_where_it_was(paired: Path, arguments: list[str]):
    first = Sitting([*arguments, "--count", "4"])
    first.press("1")
    first.press("t")
    first.wait_for("q quit")
    first.process.send_signal(signal.SIGKILL)
    assert first.end() == -signal.SIGKILL
    before = labels(paired, "human-ada")
    second = Sitting([*arguments, "--count", "4"])
    second.wait_for("Request 3 of 4")
    for key in "usst":
        second.press(key)
    assert second.end() == 0
    after = labels(paired, "human-ada")
    assert after[:2] == before
    assert [row["label"] for row in after[1:]] == ["tie", "retracted", "abstain", "abstain", "tie"]


def test_an_arrow_or_a_pasted_text_is_no_label(paired: Path, arguments: list[str]):
    sitting = Sitting([*arguments, "--count", "1"])
    sitting.press("\x1b[1~")
    sitting.wait_for("keys:")
    sitting.press("112")
    sitting.wait_for("keys:")
    sitting.press("t")
    assert sitting.end() == 0
    assert [row["label"] for row in labels(paired, "human-ada")] == ["tie"]


@pytest.mark.parametrize(("ending", "code"), [("q", 0), ("\x04", 0), (signal.SIGINT, 130)])
def test_however_a_sitting_ends_the_terminal_is_as_it_was(
    paired: Path, arguments: list[str], ending: str | signal.Signals, code: int
):
    sitting = Sitting(arguments)
    mode = termios.tcgetattr(sitting.master)
    sitting.press("t")
    if isinstance(ending, str):
        sitting.press(ending)
    else:
        sitting.wait_for("q quit")
        sitting.process.send_signal(ending)
    assert sitting.process.wait(timeout=60) == code
    assert termios.tcgetattr(sitting.master) == mode
    assert [row["label"] for row in labels(paired, "human-ada")] == ["tie"]
