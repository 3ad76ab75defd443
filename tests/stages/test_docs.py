"""The commands that the README and the docs show: each is understood, and those of the pages for users are run."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from pipelines.cli import build_parser, main
from tests.stages.conftest import ROOT, do, load_run

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ("attend-and-prefer", "accelerate", "scripts/")


def commands(page: Path) -> list[list[str]]:
    """The words of every command of ours in a console block; variables before it left out."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line.rpartition(" && ")[2] for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    rows = [shlex.split(line, comments=True) for line in lines]
    rows = [row[next((i for i, word in enumerate(row) if "=" not in word), len(row)) :] for row in rows]
    return [row for row in rows if any(name in word for word in row[:2] for name in OURS)]


def verb_of(words: list[str]) -> list[str]:
    """What is handed to `attend-and-prefer`, however it is started: the verb and its options. Empty for a benchmark."""
    for place, word in enumerate(words):
        if word.endswith("attend-and-prefer") or words[place : place + 2] == ["-m", "pipelines"]:
            return words[place + (2 if word == "-m" else 1) :]
        if word == "scripts/train.py":
            return ["train", *words[place + 1 :]]
    return []


EVERY = [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), EVERY, ids=lambda value: value if isinstance(value, str) else value[-1])
def test_every_command_is_understood(page: str, words: list[str], capsys: pytest.CaptureFixture[str]):
    if words[0].endswith("accelerate") and words[1] == "launch":
        launch_command_parser().parse_args(words[2:])
    assert not [word for word in words if word.startswith(("configs/", "scripts/")) and not (ROOT / word).exists()]
    if verb := verb_of(words):
        with pytest.raises(SystemExit):
            build_parser().parse_args([*verb, "--surely-no-such-option"])
        said = capsys.readouterr().err
    else:
        script = next(word for word in words if word.startswith("scripts/"))
        given = words[words.index(script) + 1 :]
        command = [sys.executable, script, *given, "--surely-no-such-option"]
        said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stderr
    assert "unrecognized arguments: --surely-no-such-option\n" in said


def shown(page: str) -> list[list[str]]:
    """The verbs of a page with their options, each once."""
    found = [verb_of(words) for words in commands(ROOT / "docs" / page)]
    return [verb for place, verb in enumerate(found) if verb and verb not in found[:place]]


def test_the_training_page_can_be_typed_from_top_to_bottom(arguments: list[str], paired: Path):
    dataset = load_run(paired).last.dataset
    ran = set()
    for verb, *given in shown("training.md"):
        if "trackio" in " ".join(given):
            continue
        place = [*arguments, *(["--output", str(paired / "out")] if "--output" in given else [])]
        if "--set" in given:  # another config wants a folder of its own
            place = [*arguments[:2], "--run", str(paired / "tracked"), "--set", f"training.dataset={dataset}"]
        do([*given, *place], verb)
        ran.add(verb)
    assert {"train", "export"} <= ran
    assert list((paired / "tracked").rglob("events.out.tfevents.*"))


def test_the_attention_page_can_be_typed_from_top_to_bottom(
    arguments: list[str], trained: Path, tiny_folder: Path, tmp_path: Path
):
    adapter = load_run(trained).last.adapter
    place = ["--model", str(tiny_folder), "--out", str(tmp_path / "attention")]
    ran = set()
    for verb, *given in shown("attention.md"):
        of_text = "--text" in given
        names = ("--adapter", "--other-adapter")
        words = [str(adapter) if before in names else word for before, word in zip(["", *given], given, strict=False)]
        do([*words, *(place if of_text else arguments)], verb)
        ran.add((verb, of_text))
    assert ran == {("probe", True), ("probe", False)}
    assert "other_run_median_jsd_bits" in (tmp_path / "attention" / "after_findings.json").read_text()
    assert (trained / "attention" / "before.safetensors").exists()


def test_the_preference_page_makes_a_dataset_of_what_somebody_sampled(arguments: list[str], planted: Path):
    verbs = shown("preference-data.md")
    assert {"tasks", "sample", "pair"} <= {verb for verb, *_ in verbs}
    for verb, *given in verbs:
        if verb in ("tasks", "pair"):  # planted: the tiny model writes no JSON
            assert main([verb, *given, *arguments]) == 0
    assert (load_run(planted).last.dataset / "README.md").exists()
