"""The closing questions on the report page, in a real browser, and on to the class's collector."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from axe_playwright_python.sync_playwright import Axe

from pipelines.config import config_from_dict
from pipelines.report.page import render_report
from pipelines.rundir import RunDir
from tests.stages.conftest import load_script

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page of a run in which nothing has been done yet."""
    config = config_from_dict({"attention": {"handout": str(ROOT / "data" / "handout.yaml")}})
    run = RunDir.open(tmp_path_factory.mktemp("runs") / "class<script>", config)
    render_report(config, run)
    return run.report_file


@pytest.fixture
def context(browser):
    context = browser.new_context(accept_downloads=True)
    yield context
    context.close()


def opened(context, file: Path):
    page = context.new_page()
    page.problems, page.asked = [], []
    page.on("console", lambda message: page.problems.append(message.text))
    page.on("pageerror", lambda error: page.problems.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=10_000)
    return page


def saved(page, button: str, folder: Path) -> Path:
    with page.expect_download() as download:
        page.click(button)
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path


def test_answers_survive_a_reload_and_stay_with_their_run(context, file: Path, tmp_path: Path):
    page = opened(context, file)
    page.fill("#closing-2", "why the zeros")
    page.reload()
    assert page.input_value("#closing-2") == "why the zeros"
    assert page.input_value("#closing-1") == ""
    other = tmp_path / "other.html"
    key = page.get_attribute("#closing", "data-key")
    other.write_text(file.read_text().replace(key, "0" * 16))
    assert opened(context, other).input_value("#closing-2") == ""


def test_the_saved_file_is_what_the_collector_reads(context, file: Path, tmp_path: Path):
    page = opened(context, file)
    page.fill("#closing-1", "</textarea><script>alert(1)</script>")
    path = saved(page, "#closing-json", tmp_path)
    assert load_script("collect_reflections")([str(path), "--output", str(tmp_path / "out")]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out" / "reflections.jsonl").read_text().splitlines()]
    answered = [row for row in rows if row["answer"]]
    assert [row["answer"] for row in answered] == ["</textarea><script>alert(1)</script>"]
    assert (answered[0]["name"], answered[0]["run"]) == (None, "class<script>")


def test_markdown_holds_the_answered_questions_alone(context, file: Path, tmp_path: Path):
    page = opened(context, file)
    page.fill("#closing-5", "more heads")
    page.fill("#closing-name", "Ada")
    text = saved(page, "#closing-markdown", tmp_path).read_text()
    question = "What are you curious, hopeful, or excited about?"
    assert text == f"# Closing questions\n\nAda\n\n## {question}\n\nmore heads\n"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_asks_for_nothing_complains_of_nothing_and_is_accessible(browser, file: Path, scheme: str):
    context = browser.new_context(color_scheme=scheme)
    page = opened(context, file)
    found = Axe().run(page).response["violations"]
    assert not [rule["id"] for rule in found if rule["impact"] in ("serious", "critical")]
    assert (page.problems, page.asked) == ([], [file.as_uri()])
    context.close()
