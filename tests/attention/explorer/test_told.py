"""What the page says beside the maps: evidence, provenance, rules; and what it makes of odd maps and hostile text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.attention.explorer import Explorer, View, render_explorer
from pipelines.attention.scores import HeadChoice, score_maps
from tests.attention.architectures import build, probe_ids
from tests.attention.explorer.screen import exported, printed, shown_numbers
from tests.attention.planted import SCORES, maps_of, planted_findings, random_rows, uniform


def test_evidence_tells_intervals_baselines_floor_scale_and_ablation(open_page):
    page = open_page(address="#layer=6&head=1")
    found = planted_findings(30, 9, SCORES)["before"]["ensembles"]["repeated"]["induction"]
    mean, margin, uniform = (found[part][6][1] for part in ("mean", "margin", "uniform"))
    row = page.locator("[data-evidence=induction] td.number").all_inner_texts()
    assert row[0] == row[1] == f"{mean:.2f} ± {margin:.2f}"
    assert row[2] == f"{uniform:.2f}"
    told = page.inner_text("#evidence-told")
    assert "median head 0.00012 bits; noise floor, the same model twice, 0 bits" in told
    assert "between the two runs 0.0004 bits" in told
    assert "by −0.500 nats a token; without another head of that layer by −0.125" in told
    page.locator("#picked button").first.click()
    assert page.inner_text("#head-title") == "Layer 1, head 0"


def test_without_findings_the_page_says_how_to_get_them(open_page, views: list[View], tmp_path: Path):
    Explorer(views[:1], title="x").save(tmp_path / "bare.html")
    assert "--seeds 8" in open_page(tmp_path / "bare.html").inner_text("#evidence-none")


def test_rollout_after_the_chosen_layer_is_on_the_page(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    assert shown_numbers(page, "#rollout", 0) == printed(views[0].rollout[0][6])
    assert shown_numbers(page, "#rollout", 1) == printed(views[0].rollout[1][6])


def test_the_page_says_what_was_run(open_page, tmp_path: Path):
    info = {"architecture": "Planted", "query_heads": 1, "model": {"name": "mine", "sha256": "ab12"}, "prefix": "bos"}
    before = maps_of([uniform(2)], ("1", "a"), info={**info, "text_tokens": ["1", " ", "a"]})
    after = dataclasses.replace(before, info={**info, "adapter": {"name": "run7", "sha256": "cd34"}})
    Explorer([View(title="x", before=before, after=after)], title="x").save(tmp_path / "told.html")
    page = open_page(tmp_path / "told.html")
    told = page.inner_text("#provenance")
    for part in ("Model mine, weights SHA-256 ab12", "Adapter run7, weights SHA-256 cd34", "Prefix bos"):
        assert part in told
    assert page.inner_text("#running").startswith("As running text: 3 tokens (1 · ␣ · a)")


@pytest.mark.parametrize(
    ("rule", "told"), [("most weight on x", "opened first by this rule: most weight on x"), (None, "")]
)
def test_why_a_head_is_opened_first_is_the_rule_that_chose_it(open_page, tmp_path: Path, rule: str | None, told: str):
    shown = HeadChoice(layer=0, head=0, rule=rule) if rule else None
    maps = maps_of([uniform(2)], ("1", "a"))
    Explorer([View(title="x", before=maps, shown=shown)], title="x").save(tmp_path / "rule.html")
    note = open_page(tmp_path / "rule.html").inner_text("#head-note")
    assert told.lower() in note.lower()
    assert ("opened first" in note.lower()) == bool(rule)


def test_a_single_phase_is_not_called_before(open_page, tmp_path: Path):
    maps = maps_of([uniform(2)], ("1", "a"))
    view = View(title="x", before=maps, unmasked=dataclasses.replace(maps, masked=False))
    Explorer([view], title="x").save(tmp_path / "one.html")
    assert open_page(tmp_path / "one.html").locator("#phases button").all_inner_texts() == ["with mask", "no mask"]


HOSTILE = (
    "</script><script>document.title='owned'</script>",
    '"><img src=x onerror="document.title=1">',
    "\u202eabc",
    "=cmd()",
    "<!--",
)


def test_hostile_tokens_stay_text(open_page, tmp_path: Path):
    maps = maps_of(random_rows((2, 2, 5, 5)), HOSTILE)
    path = tmp_path / "hostile.html"
    title = "\u202e</title><script>document.title='owned'</script>"
    Explorer([View(title=HOSTILE[0], before=maps, scores=score_maps(maps))], title=title).save(path)
    page = open_page(path)
    assert page.title() == page.inner_text("h1") == title.replace("\u202e", "\\u202e")
    assert page.locator("script").count() == 2
    assert page.locator("img").count() == 0
    assert page.problems == []
    shown = page.locator("#tokens b").all_inner_texts()
    assert shown[0].startswith("</script><script>")
    assert shown[2] == "\\u202eabc"
    table = exported(page, "#export-csv").decode()
    assert "'=cmd()" in table


def test_a_page_of_128_tokens_stays_under_ten_megabytes_and_works(open_page, tmp_path: Path):
    maps = maps_of(random_rows((30, 9, 128, 128)), [f"t{place}" for place in range(128)])
    path = tmp_path / "long.html"
    Explorer([View(title="long", before=maps, scores=score_maps(maps))], title="long").save(path)
    assert path.stat().st_size < 10_000_000
    page = open_page(path)
    assert page.problems == []
    assert "rounded to 2e-5" in page.inner_text("#head-note")
    found = json.loads(exported(page, "#export-json"))["phases"][0]
    np.testing.assert_allclose(found["weights"], maps.weights[0, 0], atol=found["rounded_to"] / 2 + 1e-9)


def test_learned_sinks_and_windows_are_drawn(open_page, tmp_path: Path):
    maps = probe_ids(build("gpt_oss"), tuple(range(20, 28)))
    path = tmp_path / "sinks.html"
    Explorer([View(title="gpt-oss", before=maps, scores=score_maps(maps))], title="gpt-oss").save(path)
    page = open_page(path)
    assert page.locator("#matrices [data-sink]").count() == 8
    hidden = int((~maps.visible[0]).sum())
    assert hidden > 28
    assert page.locator("#matrices rect.hidden").count() == hidden


def test_notebooks_show_it_in_a_sandbox(views: list[View]):
    frame = Explorer(views[:1], title="x")._repr_html_()
    assert 'sandbox="allow-scripts allow-downloads"' in frame
    assert "<script" not in frame  # all of it is inside the srcdoc attribute, escaped


def test_a_sandboxed_frame_works_without_an_address_of_its_own(browser, views: list[View]):
    page = browser.new_page()
    page.set_content(Explorer(views[:1], title="x")._repr_html_())
    frame = page.frame_locator("iframe")
    frame.locator("html[data-ready]").wait_for(state="attached", timeout=10_000)
    frame.locator("#grid button").nth(5).click()
    assert frame.locator("#head-title").inner_text() == "Layer 0, head 5"
    page.close()


def test_the_page_is_the_same_bytes_for_the_same_maps(views: list[View]):
    assert render_explorer(views, title="x") == render_explorer(views, title="x")
