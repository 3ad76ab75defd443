"""What the README and the docs show: every command is understood, those of the pages for users are run, and so is their
Python."""

from __future__ import annotations

import copy
import json
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import yaml
from accelerate.commands.launch import launch_command_parser

from pipelines.cli import build_parser, main
from pipelines.models import silence_peft_warning
from pipelines.records import Task
from pipelines.run.folder import Run
from tests.stages.conftest import CONFIG

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = re.compile(r"attend-and-prefer |-m pipelines |scripts/train\.py")


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands(page: Path) -> list[list[str]]:
    """The words of every command of ours in a console block; variables before it left out."""
    lines = [line for block in blocks(page, "console") for line in block.replace("\\\n", " ").splitlines()]
    words = [shlex.split(line.rpartition(" && ")[2], comments=True) for line in lines if OURS.search(line)]
    return [row[next(i for i, word in enumerate(row) if "=" not in word) :] for row in words if row]


def typed(words: list[str]) -> list[str]:
    """The verb and what is given to it; of a launched command, those of what is launched."""
    if words[0].endswith("attend-and-prefer"):
        return words[1:]
    if "scripts/train.py" in words:
        return ["train", *words[words.index("scripts/train.py") + 1 :]]
    return words[words.index("pipelines") + 1 :]


EVERY = [(page.name, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(("page", "words"), EVERY, ids=lambda value: value if isinstance(value, str) else value[-1])
def test_every_command_is_understood(page: str, words: list[str], capsys: pytest.CaptureFixture[str]):
    if words[0] == "accelerate":
        launch_command_parser().parse_args(words[2:])
    assert not [
        word for word in words if word.startswith("configs/") and not (ROOT / word).exists() if "mine" not in word
    ]
    with pytest.raises(SystemExit):
        build_parser().parse_args([*typed(words), "--surely-no-such-option"])
    assert "unrecognized arguments: --surely-no-such-option\n" in capsys.readouterr().err


def test_every_link_between_the_pages_leads_somewhere():
    links = [
        (page, link) for page in PAGES for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text("utf-8"))
    ]
    assert len(links) > 20
    assert not [(page.name, link) for page, link in links if not (page.parent / link).exists()]


def made_of(task: Task) -> list[dict[str, Any]]:
    """Somebody's completions of a task that asks for a list: right, wrong in four ways, broken, and cut off."""
    target = json.loads(task.target)
    wrong = [json.dumps([*target, number]) for number in range(4)]
    rows = [{"task_id": task.id, "completion": text} for text in (task.target, *wrong, task.target[:-1] + ")")]
    return [*rows, {"task_id": task.id, "completion": task.target[:-1], "finish_reason": "length"}]


def do(arguments: list[str], *verbs: str) -> None:
    for verb in verbs:
        assert main([verb, *arguments]) == 0


@pytest.fixture(scope="module")
def once(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a trained run, and `completions.jsonl`, which it was trained on: the tiny model writes no JSON."""
    folder = tmp_path_factory.mktemp("once")
    (folder / "tiny.yaml").write_text(
        yaml.safe_dump({**CONFIG, "model": {**CONFIG["model"], "name": str(tiny_folder)}})
    )
    arguments = ["--config", str(folder / "tiny.yaml"), "--run", str(folder / "run")]
    do(arguments, "tasks")
    rows = [row for task in Run(folder / "run").iterate_tasks("train") for row in made_of(task)]
    (folder / "completions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    do([*arguments, "--completions", str(folder / "completions.jsonl")], "verify")
    do(arguments, "pair", "train")
    return folder


@pytest.fixture
def trained(once: Path, tmp_path: Path) -> Run:
    """A copy of it, where `arguments` has its run."""
    return Run(shutil.copytree(once / "run", tmp_path / "run"))


def test_the_training_page_can_be_typed_from_top_to_bottom(arguments: list[str], trained: Run, tmp_path: Path):
    ran: list[list[str]] = []
    for verb, *given in map(typed, commands(ROOT / "docs" / "training.md")):
        if [verb, *given] in ran or "trackio" in " ".join(given):
            continue
        ran.append([verb, *given])
        place = [*arguments, *(["--output", str(tmp_path / "out")] if "--output" in given else [])]
        if "--set" in given:  # another config wants a folder of its own
            dataset = f"training.dataset={trained.last.dataset}"
            place = [*arguments[:2], "--run", str(tmp_path / "tracked"), "--set", dataset]
        assert main([verb, *given, *place]) == 0
    assert {verb for verb, *_ in ran} == {"train", "export"}
    assert list((tmp_path / "tracked").rglob("events.out.tfevents.*"))


def test_the_attention_page_can_be_typed_from_top_to_bottom(
    arguments: list[str], trained: Run, tiny_folder: Path, tmp_path: Path
):
    place = ["--model", str(tiny_folder), "--out", str(tmp_path / "attention")]
    adapters = ("A", "B", "runs/default/rounds/1/adapter")
    ran = []
    for verb, *given in map(typed, commands(ROOT / "docs" / "attention.md")):
        words = [str(trained.last.adapter) if word in adapters else word for word in given]
        assert main([verb, *words, *(place if "--text" in given else arguments)]) == 0
        ran.append((verb, "--text" in given))
    assert set(ran) == {("probe", True), ("probe", False)}
    assert "other_run_median_jsd_bits" in (tmp_path / "attention" / "after_findings.json").read_text()
    assert (trained.attention / "before.safetensors").exists()


def test_the_preference_page_makes_a_dataset_of_what_somebody_sampled(arguments: list[str], once: Path, trained: Run):
    shown = [typed(words) for words in commands(ROOT / "docs" / "preference-data.md")]
    assert [verb for verb, *_ in shown] == ["tasks", "sample", "pair", "verify"]
    for verb, *given in shown:
        words = [str(once / word) if word == "completions.jsonl" else word for word in given]
        if verb != "sample":  # somebody's: see above
            assert main([verb, *words, *arguments]) == 0
    assert (trained.last.dataset / "README.md").exists()


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_the_python_of_every_page_runs(
    page: Path, trained: Run, tiny: tuple, tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Top to bottom, on the tiny model and a run of one round; what a page takes as given is given here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    silence_peft_warning()
    model, tokenizer = copy.deepcopy(tiny)
    given: dict[str, Any] = {
        "model": model,
        "tokenizer": tokenizer,
        "tasks": list(trained.iterate_tasks()),
        "pairs": datasets.load_dataset(str(trained.last.dataset), "pairs", split="train"),
        "weights": np.tril(np.ones((2, 3, 4, 4))) / np.arange(1, 5)[:, None],
        "tokens": list("abcd"),
    }
    for block in blocks(page, "python"):
        code = block.replace('"bundled"', repr(str(tiny_folder))).replace("runs/default", str(trained.root))
        exec(compile(code, page.name, "exec"), given)  # noqa: S102 - our own pages
