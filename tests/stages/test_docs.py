"""The commands that the README and the docs show: each is understood, and those of the pages for users are run."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from accelerate.commands.launch import launch_command_parser

from tests.stages.conftest import load_script

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def commands(page: Path) -> list[list[str]]:
    """The words of every command in a console block that names one of our scripts; variables before it left out."""
    blocks = re.findall(r"```console\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines() if "scripts/" in line]
    words = [shlex.split(line.rpartition(" && ")[2], comments=True) for line in lines]
    return [row[next(i for i, word in enumerate(row) if "=" not in word) :] for row in words if row]


EVERY = [(page.name, words) for page in PAGES for words in commands(page)]


def script_of(words: list[str]) -> tuple[str, list[str]]:
    place = next(index for index, word in enumerate(words) if word.startswith("scripts/"))
    return Path(words[place]).stem, words[place + 1 :]


@pytest.mark.parametrize(("page", "words"), EVERY, ids=lambda value: value if isinstance(value, str) else value[-1])
def test_every_command_is_understood(page: str, words: list[str], capsys: pytest.CaptureFixture[str]):
    if words[0] == "accelerate":
        launch_command_parser().parse_args(words[2:])
    assert not [
        word for word in words if word.startswith("configs/") and not (ROOT / word).exists() if "mine" not in word
    ]
    name, arguments = script_of(words)
    with pytest.raises(SystemExit):
        load_script(name)([*arguments, "--surely-no-such-option"])
    assert "unrecognized arguments: --surely-no-such-option\n" in capsys.readouterr().err


def test_the_training_page_can_be_typed_from_top_to_bottom(do, arguments: list[str], planted: Path):
    do(arguments, "judge_completions", "build_preferences")
    ran = []
    for name, given in map(script_of, commands(ROOT / "docs" / "training.md")):
        if (name, given) in ran or "trackio" in " ".join(given):
            continue
        ran.append((name, given))
        place = [*arguments, *(["--output", str(planted / "out")] if "--output" in given else [])]
        if "--set" in given:  # another config wants a folder of its own
            place = [
                *arguments[:2],
                "--run",
                str(planted / "tracked"),
                "--set",
                f"training.dataset={planted / 'dataset'}",
            ]
        assert load_script(name)([*given, *place]) == 0
    assert {name for name, _ in ran} == {"build_tasks", "train_dpo", "export_model"}
    assert list((planted / "tracked").rglob("events.out.tfevents.*"))


def test_the_attention_page_can_be_typed_from_top_to_bottom(
    do, arguments: list[str], planted: Path, tiny_folder: Path, tmp_path: Path
):
    do(arguments, "judge_completions", "build_preferences", "train_dpo")
    place = ["--model", str(tiny_folder), "--out", str(tmp_path / "attention")]
    ran = []
    for name, given in map(script_of, commands(ROOT / "docs" / "attention.md")):
        of_text = "--text" in given
        words = [str(planted / "adapter") if word in ("A", "B", "runs/default/adapter") else word for word in given]
        assert load_script(name)([*words, *(place if of_text else arguments)]) == 0
        ran.append((name, of_text))
    assert set(ran) == {("probe_attention", True), ("probe_attention", False)}
    assert "other_run_median_jsd_bits" in (tmp_path / "attention" / "after_findings.json").read_text()
    assert (planted / "attention" / "before.safetensors").exists()


def test_the_preference_page_makes_a_dataset_of_what_somebody_sampled(do, arguments: list[str], planted: Path):
    shown = [script_of(words) for words in commands(ROOT / "docs" / "preference-data.md")]
    names = [name for name, _ in shown]
    assert names == ["build_tasks", "sample_completions", "judge_completions", "build_preferences"]
    for name, given in shown:
        if name != "sample_completions":  # planted: the tiny model writes no JSON
            assert load_script(name)([*given, *arguments]) == 0
    assert (planted / "dataset" / "README.md").exists()
