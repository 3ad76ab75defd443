"""A run on the tiny model. It writes no JSON, so its samples are planted: stages work on files that others made."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.records import Completion, Task, dump_lines, load_lines

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
CONFIG = {
    "model": {"dtype": "float32", "device": "cpu"},
    "attention": {"handout": str(ROOT / "data" / "handout.yaml")},
    "tasks": {"families": {"range": {"train": 4, "held_out": 2}, "record": {"train": 0, "held_out": 1}}},
    "sampling": {"samples_per_task": 4, "max_new_tokens": 8, "worked_examples": 1},
    "preferences": {"min_pairs": 1},
    "training": {"dpo": DPO, "lora": {"r": 4, "target_modules": "all-linear"}},
    "evaluation": {
        "samples_per_task": 2,
        "max_new_tokens": 8,
        "worked_examples": 1,
        "chat": {"file": str(ROOT / "data" / "chat.yaml"), "samples_per_prompt": 1, "max_new_tokens": 4},
    },
}


def load_script(name: str) -> Callable[[list[str]], int]:
    """The `main` of a script, imported from its file as Python runs it."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "scripts" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


@pytest.fixture
def script() -> Callable[[str, list[str]], int]:
    """Run a script's `main` in this process; returns its exit code."""
    return lambda name, arguments: load_script(name)(arguments)


@pytest.fixture
def do(script: Callable[[str, list[str]], int]) -> Callable[..., None]:
    """Run scripts that must succeed, one after the other."""

    def run(arguments: list[str], *names: str) -> None:
        for name in names:
            assert script(name, arguments) == 0

    return run


@pytest.fixture
def complaint(script: Callable[[str, list[str]], int], capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """The one line on stderr of a script that must refuse with exit code 2."""

    def refuse(name: str, arguments: list[str]) -> str:
        capsys.readouterr()
        assert script(name, arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        return line

    return refuse


@pytest.fixture
def config_file(tmp_path: Path, tiny_folder: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(yaml.safe_dump({**CONFIG, "model": {**CONFIG["model"], "name": str(tiny_folder)}}))
    return file


@pytest.fixture
def arguments(config_file: Path, tmp_path: Path) -> list[str]:
    return ["--config", str(config_file), "--run", str(tmp_path / "run")]


@pytest.fixture
def planted(do: Callable[..., None], arguments: list[str], tmp_path: Path) -> Path:
    """A run folder whose samples are right, wrong, broken and cut off, one each per task."""
    do(arguments, "build_tasks")
    run = tmp_path / "run"
    tasks = [task for task in load_lines(Task, run / "samples" / "tasks.jsonl") if task.split == "train"]
    (run / "samples" / "completions.jsonl").write_text(dump_lines(row for task in tasks for row in plant(task)))
    return run


def plant(task: Task) -> list[Completion]:
    texts = [task.target, json.dumps([*json.loads(task.target), 0]), task.target[:-1] + ")", task.target]
    return [
        Completion(
            task_id=task.id,
            index=index,
            prompting="worked_examples",
            text=text,
            finish_reason="length" if index == 3 else "stop",
            prompt_tokens=9,
            completion_tokens=len(text) + 1,
            logprob_nats=-3.0,
            seed=index,
        )
        for index, text in enumerate(texts)
    ]
