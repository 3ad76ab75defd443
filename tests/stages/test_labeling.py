"""The verb `label` on a planted run: files that add up, sittings that are killed and go on, mistakes."""

from __future__ import annotations

import io
import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from pipelines.cli import main
from tests.stages.conftest import CTRL_C, ROOT, do


def labels(run: Path, name: str) -> list[dict]:
    return [json.loads(line) for line in (run / "labels" / f"{name}.jsonl").read_text().splitlines()]


def test_every_labeler_labels_the_same_comparisons(paired: Path, arguments: list[str], monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("1\n2\nt\ns\n" * 5))
    for options in (["verifier"], ["judge"], ["human", "--person", "ada"]):
        assert main(["label", *arguments, "--labeler", *options]) == 0
    names = ("verifier", "judge-policy", "human-ada")
    ids = [sorted(row["comparison"] for row in labels(paired, name)) for name in names]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids[0])) >= 8


def test_the_verifier_has_ties_and_finds_the_pairs_apart(paired: Path, arguments: list[str]):
    do([*arguments, "--labeler", "verifier"], "label")
    given = [row["label"] for row in labels(paired, "verifier")]
    assert set(given) <= {"first", "second", "tie"}
    assert given.count("first") + given.count("second") >= 8


def test_agreement_is_printed_and_written(paired: Path, arguments: list[str], capsys):
    do([*arguments, "--labeler", "verifier"], "label")
    do([*arguments, "--labeler", "verifier", "--name", "again"], "label")
    do([*arguments, "--agreement"], "label")
    (couple,) = json.loads((paired / "labels" / "agreement.json").read_text())["agreement"]
    assert (couple["observed"], couple["kappa"], couple["low"]) == (1.0, pytest.approx(1.0), None)
    assert "| again and verifier |" in capsys.readouterr().out


def test_labels_of_former_samples_are_left_out(paired: Path, arguments: list[str]):
    do([*arguments, "--labeler", "verifier"], "label")
    (file,) = (paired / "rounds" / "1" / "samples").glob("*.jsonl")
    file.write_text(file.read_text().replace(', 0]"', ', 7]"'))
    do([*arguments, "--agreement"], "label")
    report = json.loads((paired / "labels" / "agreement.json").read_text())
    count = len(labels(paired, "verifier"))
    assert 0 < report["stale_labels"] <= count
    assert report["labelers"]["verifier"]["labels"] == count - report["stale_labels"]


def test_the_trained_policy_must_be_trained_to_judge(complaint, paired: Path, arguments: list[str]):
    judging = [*arguments, "--labeler", "judge", "--model", "trained", "--count", "2"]
    assert "run `attend-and-prefer train` first" in complaint("label", judging)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--count", "0"], "--count must be at least 1, got 0"),
        (["--labeler", "judge", "--server", "nowhere"], "--server must be an http(s) address"),
        (["--labeler", "verifier", "--name", "a/b"], "--name must be letters, digits"),
        (["--labeler", "judge", "--model", "no/such-model"], "model 'no/such-model' cannot be loaded"),
    ],
)
def test_a_mistake_is_one_line(complaint, paired: Path, arguments: list[str], options: list[str], message: str):
    assert message in complaint("label", [*arguments, *options])


def test_labelling_before_its_time_names_the_verb_to_run(complaint, planted: Path, arguments: list[str]):
    assert "run `attend-and-prefer pair --round 1" in complaint("label", arguments)
    assert "run `attend-and-prefer label" in complaint("label", [*arguments, "--agreement"])


class Sitting:
    """A person at a real terminal."""

    def __init__(self, arguments: list[str]) -> None:
        self.master, slave = pty.openpty()
        command = [*CTRL_C, sys.executable, "-m", "pipelines", "label", *arguments, "--person", "ada"]
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, start_new_session=True, cwd=ROOT
        )
        os.close(slave)
        self.shown = ""

    def press(self, key: str) -> None:
        """Wait for the question, and until the terminal has dropped what came too early and takes keys; then press."""
        self.wait_for("q quit")
        while termios.tcgetattr(self.master)[3] & termios.ICANON:
            assert self.process.poll() is None
        os.write(self.master, key.encode())

    def wait_for(self, text: str) -> None:
        while text not in self.shown:
            self.shown += os.read(self.master, 4096).decode(errors="replace")  # OSError once it has ended
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
