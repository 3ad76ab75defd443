"""A whole run of two rounds on the tiny model, made by the command's own verbs, and a browser that opens its page."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.cli import main
from pipelines.comparison import Comparison
from pipelines.comparison.findings import collect
from pipelines.config import load_config
from pipelines.report import render_report
from pipelines.run.files import write_json
from pipelines.run.folder import Run
from pipelines.run.stages import sample_stage

ROOT = Path(__file__).resolve().parents[2]
DPO = {
    "loss_type": ["sigmoid"], "per_device_train_batch_size": 4, "max_steps": 6, "learning_rate": 1e-2,
    "gradient_checkpointing": False, "logging_steps": 1, "save_strategy": "no", "disable_tqdm": True,
}  # fmt: skip
CHAT = {"file": str(ROOT / "data" / "chat.yaml"), "samples_per_prompt": 1, "max_new_tokens": 4}
CONFIG = {
    "attention": {"handout": str(ROOT / "data" / "handout.yaml")},
    "tasks": {"families": {"range": {"train": 8, "test": 2}, "record": {"train": 0, "test": 1}}},
    "preferences": {"min_pairs": 1},
    "training": {"dpo": DPO, "lora": {"r": 4, "target_modules": "all-linear"}},
    "evaluation": {"samples_per_task": 2, "max_new_tokens": 8, "few_shot": 1, "chat": CHAT},
}


def make_run(folder: Path, model: Path, **sections) -> Path:
    """A run folder with its tasks."""
    config, run = folder / "tiny.yaml", folder / "run"
    named = {"name": str(model), "dtype": "float32", "device": "cpu"}
    config.write_text(yaml.safe_dump({**CONFIG, "model": named, **sections}))
    assert main(["tasks", "--config", str(config), "--run", str(run)]) == 0
    return run


def folder_of(run: Path) -> Run:
    return Run.open(run, load_config(run / "config.yaml"))


def do(run: Path, verb: str, *arguments: str) -> None:
    assert main([verb, "--config", str(run / "config.yaml"), "--run", str(run), *arguments]) == 0


def plant(run: Path, number: int) -> None:
    """Samples that are right, wrong, broken and cut off, one each per training task: the tiny model writes no JSON."""
    rows = [
        {"task_id": task.id, "completion": text, "finish_reason": "length" if place == 3 else "stop"}
        for task in folder_of(run).iterate_tasks("train")
        for place, text in enumerate((task.target, task.target[:-1] + ", 0]", task.target[:-1] + ")", task.target))
    ]
    file = run.parent / f"planted-{number}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    do(run, "verify", "--round", str(number), "--completions", str(file))


def render(run: Path) -> Path:
    """Write the page of a run; returns its file."""
    render_report(load_config(run / "config.yaml"), folder_of(run))
    return run / "report.html"


def edit(file: Path, change: Callable) -> None:
    """Change what a JSON file holds."""
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The finished run; tests that change anything take a copy."""
    run = make_run(tmp_path_factory.mktemp("report"), tiny_folder, rounds=2)
    for number in (1, 2):
        plant(run, number)
        for verb in ("pair", "train"):
            do(run, verb, "--round", str(number))
    for phase in ("before", "after"):
        do(run, "evaluate", "--phase", phase)
        do(run, "probe", "--phase", phase)
    for name in ("verifier", "again"):
        do(run, "label", "--labeler", "verifier", "--name", name)
    do(run, "label", "--agreement")
    compare_with_itself(folder_of(run))
    do(run, "report")
    return run


def compare_with_itself(run: Run) -> None:
    """Leave the `comparison.json` of two methods that came out the same."""
    run.record_stage(sample_stage(run.round(1)), {"tokens": 320, "seconds": 1.5})
    comparison = Comparison(seeds=(0,), methods={"dpo": {}, "again": {}}, experiment={"model": {"name": "bundled"}})
    found = collect(comparison, {(name, 0): run for name in comparison.methods}, run.root)
    write_json(run.root / "comparison.json", found)


@pytest.fixture(scope="session")
def finished(built: Path) -> Path:
    """The page of the finished run."""
    return built / "report.html"


@pytest.fixture
def changed(built: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, to be changed."""
    return Path(shutil.copytree(built, tmp_path / "run"))


@pytest.fixture(scope="session")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The page of a run in which nothing has been done yet, of a handout."""

    def begin(handout: str) -> Path:
        folder = tmp_path_factory.mktemp("begun")
        (folder / "handout.yaml").write_text(handout)
        (folder / "plain.yaml").write_text(yaml.safe_dump({"attention": {"handout": str(folder / "handout.yaml")}}))
        Run.open(folder / "run", load_config(folder / "plain.yaml"))
        return render(folder / "run")

    return begin


@pytest.fixture(scope="session")
def shipped() -> str:
    """The handout that ships."""
    return (ROOT / "data" / "handout.yaml").read_text()


@pytest.fixture
def show(browser):
    """Open a page as another reader each time; what it complains of and asks for is in `.problems` and `.asked`."""
    contexts = []

    def show(file: Path, address: str = "", **settings):
        contexts.append(browser.new_context(accept_downloads=True, **settings))
        return opened(contexts[-1], file, address)

    yield show
    for context in contexts:
        context.close()


def opened(context, file: Path, address: str = ""):
    page = context.new_page()
    page.problems, page.asked = [], []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(file.as_uri() + address)
    page.wait_for_selector("html[data-ready]", state="attached", timeout=10_000)
    return page
