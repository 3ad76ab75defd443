"""Runs on the tiny model. It writes no JSON, so its samples are planted: stages work on files that others made."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.cli import main
from pipelines.config import load_config
from pipelines.records import Task
from pipelines.run.folder import Run

ROOT = Path(__file__).resolve().parent.parent.parent
DPO = {
    "loss_type": ["sigmoid"],
    "per_device_train_batch_size": 4,
    "max_steps": 6,
    "learning_rate": 1e-2,
    "gradient_checkpointing": False,
    "logging_steps": 1,
    "save_strategy": "no",
    "disable_tqdm": True,
}
CTRL_C = ["env", "--default-signal=INT"]
"""Before a command that is to be stopped by it: whatever started the tests may have it ignored."""
CONFIG = {
    "model": {"dtype": "float32", "device": "cpu"},
    "attention": {"handout": str(ROOT / "data" / "handout.yaml")},
    "tasks": {"families": {"range": {"train": 4, "test": 2}, "record": {"train": 0, "test": 1}}},
    "sampling": {"samples_per_task": 4, "max_new_tokens": 8, "few_shot": 1},
    "preferences": {"min_pairs": 1},
    "training": {"dpo": DPO, "lora": {"r": 4, "target_modules": "all-linear"}},
    "evaluation": {
        "samples_per_task": 2,
        "max_new_tokens": 8,
        "few_shot": 1,
        "chat": {"file": str(ROOT / "data" / "chat.yaml"), "samples_per_prompt": 1, "max_new_tokens": 4},
    },
}


def do(arguments: list[str], *verbs: str) -> None:
    """Verbs that must succeed, one after the other."""
    for verb in verbs:
        assert main([verb, *arguments]) == 0, verb


def write_config(file: Path, model: Path, **sections: Any) -> Path:
    """The tiny experiment with other sections put over it."""
    file.write_text(yaml.safe_dump({**CONFIG, "model": {**CONFIG["model"], "name": str(model)}, **sections}))
    return file


def change(files: list[Path], **sections: dict[str, Any]) -> None:
    """Put keys into sections of configs that are there, a run's own among them, as if it had been made with them."""
    for file in files:
        tree = yaml.safe_load(file.read_text())
        file.write_text(
            yaml.safe_dump({**tree, **{name: {**tree.get(name, {}), **keys} for name, keys in sections.items()}})
        )


def load_run(root: Path) -> Run:
    """A run that is there, by its own config."""
    return Run(root, load_config(root / "config.yaml").rounds)


def plant(task: Task) -> list[dict[str, Any]]:
    """Four completions of a task, as somebody else's file would have them."""
    texts = [task.target, json.dumps([*json.loads(task.target), 0]), task.target[:-1] + ")", task.target]
    reasons = ["stop", "stop", "stop", "length"]
    return [
        {"task_id": task.id, "completion": text, "finish_reason": reason}
        for text, reason in zip(texts, reasons, strict=True)
    ]


def plant_samples(arguments: list[str], *, number: int = 1, without_fault: int = 0) -> list[Task]:
    """Samples of every training task, of the first so many tasks one that passes; returns the tasks."""
    root = Path(arguments[arguments.index("--run") + 1])
    tasks = list(load_run(root).iterate_tasks("train"))
    rows = [row for place, task in enumerate(tasks) for row in plant(task)[: 1 if place < without_fault else None]]
    file = root.with_name("planted.jsonl")
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    do([*arguments, "--round", str(number), "--completions", str(file)], "verify")
    return tasks


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line on stderr of a verb that must refuse with exit code 2."""

    def refuse(verb: str, arguments: list[str]) -> str:
        capsys.readouterr()
        assert main([verb, *arguments]) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return refuse


@pytest.fixture
def config_file(tmp_path: Path, tiny_folder: Path) -> Path:
    return write_config(tmp_path / "tiny.yaml", tiny_folder)


@pytest.fixture
def arguments(config_file: Path, tmp_path: Path) -> list[str]:
    """Of every verb: the config and a run folder, which is not there yet."""
    return ["--config", str(config_file), "--run", str(tmp_path / "run")]


@pytest.fixture(scope="session")
def trained_once(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> dict[str, Path]:
    """The tiny run as it was when planted, when paired and when trained; tests take copies."""
    folder = tmp_path_factory.mktemp("once")
    arguments = ["--config", str(write_config(folder / "tiny.yaml", tiny_folder)), "--run", str(folder / "run")]
    do(arguments, "tasks")
    plant_samples(arguments)
    stages = {}
    for name, verb in (("planted", None), ("paired", "pair"), ("trained", "train")):
        if verb:
            do(arguments, verb)
        stages[name] = folder / name
        shutil.copytree(folder / "run", stages[name])
    return stages


@pytest.fixture
def planted(trained_once: dict[str, Path], arguments: list[str]) -> Path:
    """A run folder whose samples are right, wrong, broken and cut off, one each per task."""
    return shutil.copytree(trained_once["planted"], Path(arguments[-1]))


@pytest.fixture
def paired(trained_once: dict[str, Path], arguments: list[str]) -> Path:
    """The same with its dataset: four tasks of two pairs each."""
    return shutil.copytree(trained_once["paired"], Path(arguments[-1]))


@pytest.fixture
def trained(trained_once: dict[str, Path], arguments: list[str]) -> Path:
    """The same with a trained adapter."""
    return shutil.copytree(trained_once["trained"], Path(arguments[-1]))
