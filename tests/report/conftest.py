"""A whole run of two rounds on the tiny model, made by the stages' own scripts, and a browser that opens its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from pipelines.comparison import Comparison
from pipelines.comparison.findings import collect
from pipelines.config import load_config
from pipelines.records import Task, dump_lines, load_lines
from pipelines.report import render_report
from pipelines.run.files import write_json
from pipelines.run.folder import Run
from pipelines.run.stages import SAMPLE
from tests.stages.conftest import CONFIG, ROOT, load_script, plant

AFTER_SAMPLING = ("judge_completions", "build_preferences", "train_dpo")


def make_run(folder: Path, model: Path, **sections) -> Path:
    """A run folder with tasks and planted samples; returns it."""
    config = folder / "tiny.yaml"
    config.write_text(yaml.safe_dump({**CONFIG, "model": {**CONFIG["model"], "name": str(model)}, **sections}))
    run = folder / "run"
    do(run, "build_tasks", config=config)
    return run


def do(run: Path, script: str, *arguments: str, config: Path | None = None) -> None:
    named = ["--config", str(config or run / "config.yaml"), "--run", str(run)]
    assert load_script(script)([*named, *arguments]) == 0


def plant_samples(run: Path, folder: Path) -> None:
    tasks = [task for task in load_lines(Task, run / "samples" / "tasks.jsonl") if task.split == "train"]
    (folder / "samples").mkdir(parents=True, exist_ok=True)
    (folder / "samples" / "completions.jsonl").write_text(dump_lines(row for task in tasks for row in plant(task)))


def render(run: Path) -> Path:
    """Write the page of a run; returns its file."""
    render_report(load_config(run / "config.yaml"), Run(run))
    return run / "report.html"


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory, tiny_folder: Path) -> Path:
    """The finished run; tests that change anything take a copy."""
    families = {"range": {"train": 8, "held_out": 2}, "record": {"train": 0, "held_out": 1}}
    run = make_run(tmp_path_factory.mktemp("report"), tiny_folder, rounds=2, tasks={"families": families})
    for number, folder in (("1", run / "rounds" / "1"), ("2", run)):
        plant_samples(run, folder)
        for script in AFTER_SAMPLING:
            do(run, script, "--round", number)
    for phase in ("before", "after"):
        do(run, "evaluate_policy", "--phase", phase)
        do(run, "probe_attention", "--phase", phase)
    for name in ("validator", "again"):
        do(run, "label_pairs", "--labeler", "validator", "--name", name)
    do(run, "compare_labelers")
    compare_with_itself(run)
    do(run, "render_report")
    return run


def compare_with_itself(run: Path) -> None:
    """Leave the `comparison.json` of two methods that came out the same."""
    Run(run).record_stage("sample", {"tokens": 320, "seconds": 1.5}, SAMPLE.inputs, SAMPLE.outputs)
    experiment = {"model": {"name": "bundled"}}
    comparison = Comparison(seeds=(0,), methods={"dpo": {}, "again": {}}, experiment=experiment)
    found = collect(comparison, {(name, 0): Run(run) for name in comparison.methods}, run)
    write_json(run / "comparison.json", found)


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
        (folder / "bare.yaml").write_text(yaml.safe_dump({"attention": {"handout": str(folder / "handout.yaml")}}))
        Run.open(folder / "run", load_config(folder / "bare.yaml"))
        return render(folder / "run")

    return begin


@pytest.fixture(scope="session")
def shipped() -> str:
    """The handout that ships."""
    return (ROOT / "data" / "handout.yaml").read_text()


@pytest.fixture
def show(browser):
    """Open a page; what it complains of and asks for is in `.problems` and `.asked`."""
    contexts = []

    def show(file: Path, address: str = "", **settings):
        contexts.append(browser.new_context(accept_downloads=True, **settings))
        page = contexts[-1].new_page()
        page.problems, page.asked = [], []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(file.as_uri() + address)
        page.wait_for_selector("html[data-ready]", state="attached", timeout=10_000)
        return page

    yield show
    for context in contexts:
        context.close()
