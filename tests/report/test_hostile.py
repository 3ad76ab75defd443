"""Text that would like to be more than text: in samples, prompts, tokens, names and the handout."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
from pathlib import Path

import pytest

from pipelines.records import Task, dump_lines, load_lines
from pipelines.samples import store
from tests.report.conftest import do, edit, render

HOSTILE = (
    "</textarea></code></q></style></script><script>alert(1)</script>"
    "<img src=x onerror=alert(2)><a href='javascript:alert(3)'>x</a> &lt;b&gt; {{ 7*7 }} "
    "\x1b[2J\x1b]0;t\x07 \u202eabc \x00"
)
LONG = 100_000
CHANGES = (
    ("evaluation/chat.json", lambda tree: [row.update(after=HOSTILE, prompt=HOSTILE) for row in tree["answers"]]),
    ("rounds/2/training/worked_pair.json", lambda tree: tree.update(chosen=HOSTILE, rejected=HOSTILE[:9] + "x" * LONG)),
    ("manifest.json", lambda tree: tree["stages"]["train_2"].update(alerts=[HOSTILE], parameters_moved=HOSTILE)),
    ("manifest.json", lambda tree: tree["stages"]["pair_2"]["outcomes"].update({HOSTILE: 3})),
    ("labels/agreement.json", lambda tree: tree["agreement"][0].update(one=HOSTILE)),
    ("attention/before.json", lambda tree: tree.update(symbol_texts=[HOSTILE] * 5)),
    ("metrics.json", lambda tree: tree["before"]["zero_shot"].update({HOSTILE: tree["before"]["zero_shot"]["range"]})),
)


@pytest.fixture(scope="module")
def hostile(built: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The finished run with every text in it replaced by a hostile one, on through the stages that read it."""
    run = Path(shutil.copytree(built, tmp_path_factory.mktemp("hostile") / "run<script>alert(9)<∕script>"))
    tasks = load_lines(Task, run / "tasks.jsonl")
    renamed = [dataclasses.replace(task, prompt=HOSTILE, family=HOSTILE) for task in tasks]
    (run / "tasks.jsonl").write_text(dump_lines(renamed))
    say(run / "rounds" / "2" / "samples", lambda sample: (HOSTILE if sample.index else "") + sample.completion)
    for verb in ("verify", "pair"):
        do(run, verb)
    say(run / "evaluation" / "after", lambda sample: HOSTILE if sample.index else "[" + '"x",' * (LONG // 4))
    for file, change in CHANGES:
        edit(run / file, change)
    render(run)
    return run


def say(folder: Path, text_of) -> None:
    """Put other words into stored samples."""
    for _ in store.rewrite(folder, lambda sample: dataclasses.replace(sample, completion=text_of(sample))):
        pass


def test_hostile_text_stays_text(show, hostile: Path):
    page = show(hostile / "report.html")
    assert page.problems == []
    assert page.locator(".damaged").count() == 0
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.locator("img:not([alt]), a[href^=javascript], main b:has-text('look')").count() == 0
    assert "<script>alert(1)</script>" in page.inner_text("#main")
    assert "49" not in page.locator("q").first.inner_text()


def test_no_control_character_reaches_the_page(hostile: Path):
    page = (hostile / "report.html").read_text()
    assert re.findall(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069]", page) == []
    assert r"\u001b[2J" in page


def test_long_texts_are_cut_and_say_how_long_they_were(show, hostile: Path):
    page = show(hostile / "report.html")
    assert "cut; 100,001 characters in all" in page.inner_text("section[aria-labelledby=behaviour]")
    assert page.evaluate("document.body.innerText.length") < 60_000
    assert hostile.joinpath("report.html").stat().st_size < 2_000_000


def test_hostile_text_leaves_no_view_wider_than_its_window(show, hostile: Path):
    page = show(hostile / "report.html", viewport={"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_a_hostile_handout_stays_text_on_page_and_sheet(show, begun, shipped: str):
    nasty = json.dumps(HOSTILE.replace("\x00", "").replace("\x1b", "").replace("\x07", ""))
    handout = shipped.replace('["1", "a", "2", "b", "3"]', f"[{nasty}, {nasty}]").replace('"[1, 2, 3, 4)"', nasty)
    handout = handout.replace("prompt: Write a JSON list of 1 through 3.", f"prompt: {nasty}")
    handout = handout.replace("- What was the muddiest concept today?", f"- {nasty}")
    page = show(begun(handout), "?sheet=answers")
    assert page.problems == []
    assert page.evaluate("document.querySelectorAll('script').length") == 1
    assert page.get_attribute("#closing-2", "data-question").startswith("</textarea>")
