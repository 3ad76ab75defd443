"""Every control of the page against what it promises: keys, fingers, sorting, the sketch, exports, the address."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from pipelines.attention.explorer import Explorer, View
from tests.attention.explorer.screen import exported, fill


def test_exact_weights_are_told_when_a_cell_is_pointed_at(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    page.locator("#matrices [data-cell='3,1']").hover()
    assert page.inner_text("#cell") == f"b → a: {views[0].before.weights[6, 1, 3, 1]:.6f}"
    page.locator("#matrices [data-cell='1,3']").hover()
    assert page.inner_text("#cell") == "a → b: exactly 0, hidden by the mask"


def test_a_pointed_row_stands_out_in_the_lines_and_the_matrix(open_page):
    page = open_page(address="#layer=6&head=1")
    page.locator("#lines [data-query='3']").focus()
    faint = page.locator("#lines .line[opacity='0.04']")
    assert {line.get_attribute("data-from") for line in faint.all()} == {"0", "1", "2", "4"}
    assert page.locator("#matrices [data-row='3']").get_attribute("font-weight") == "700"


def test_heads_are_coloured_and_sorted_by_any_score(open_page, views: list[View]):
    page = open_page()
    by_name = {score.definition.name: score for score in views[0].scores}
    for name in ("previous_token", "entropy", "change"):
        page.select_option("#colour", name)
        values = views[0].change if name == "change" else by_name[name].values
        best = np.unravel_index(np.argmax(values), values.shape)
        assert page.locator("#top button").first.inner_text().startswith(f"layer {best[0]}, head {best[1]}")
        page.select_option("#order", "score")
        assert page.locator("#grid button").first.get_attribute("data-place") == str(best[0] * 9 + best[1])
        page.select_option("#order", "model")
    assert page.locator("#grid button").count() == 270


def test_scores_are_named_by_phase_with_a_lift_each(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    assert page.locator("#scores thead th").all_inner_texts()[1:6] == [
        "before", "after", "uniform", "lift before", "lift after"
    ]  # fmt: skip
    numbers = page.locator("[data-score=first_token] td.number").all_inner_texts()
    score, after = (next(one for one in scores if one.definition.name == "first_token") for scores in (
        views[0].scores, views[0].scores_after,
    ))  # fmt: skip
    assert float(numbers[1]) == pytest.approx(after.values[6, 1], abs=0.0051)
    assert float(numbers[3].replace("−", "-")) == pytest.approx(score.lift[6, 1], abs=0.0051)
    assert float(numbers[4].replace("−", "-")) == pytest.approx(after.lift[6, 1], abs=0.0051)


def test_small_divergences_keep_their_figures(open_page, views: list[View], tmp_path: Path):
    small = dataclasses.replace(views[0], change=views[0].change * 1e-3)
    Explorer([small], title="x").save(tmp_path / "small.html")
    page = open_page(tmp_path / "small.html", "#colour=change")
    most = float(small.change.max())
    assert float(page.locator("#top button span").nth(1).inner_text()) == pytest.approx(most, rel=0.05)
    assert f"{float(f'{most:.2g}')}" in page.inner_text("#legend")


def test_arrow_keys_walk_the_cells_and_tell_each(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    page.locator("#matrices .walkable").focus()
    for key in ("ArrowDown", "ArrowDown", "ArrowDown", "ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert page.inner_text("#cell") == f"b → a: {views[0].before.weights[6, 1, 3, 1]:.6f}"
    assert page.locator("#cell").get_attribute("aria-live") == "polite"
    assert page.locator("#matrices .cursor").get_attribute("visibility") == "visible"
    page.keyboard.press("Escape")
    assert page.locator("#matrices .cursor").get_attribute("visibility") == "hidden"


def test_a_tapped_cell_keeps_telling_its_weight(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1", has_touch=True, viewport={"width": 390, "height": 800})
    page.locator("#matrices [data-cell='3,1']").tap()
    assert page.inner_text("#cell") == f"b → a: {views[0].before.weights[6, 1, 3, 1]:.6f}"


def test_a_walk_over_the_heads_is_one_step_back(open_page):
    page = open_page(address="#layer=6&head=1")
    page.click("#grid [data-place='20']")
    page.locator("#grid [aria-pressed=true]").focus()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    page.go_back()
    assert page.inner_text("#head-title") == "Layer 6, head 1"


def test_the_sketchs_sums_fit_a_phone(open_page):
    page = open_page(viewport={"width": 390, "height": 800})
    box = page.locator("#sketch [data-sum='0']").bounding_box()
    assert box["x"] + box["width"] <= 390


def test_arrow_keys_walk_the_heads_and_keep_the_focus(open_page):
    page = open_page(address="#layer=6&head=1")
    page.locator("#grid [aria-pressed=true]").focus()
    for key in ("ArrowDown", "ArrowRight"):
        page.keyboard.press(key)
    assert page.inner_text("#head-title") == "Layer 7, head 2"
    assert page.evaluate("document.activeElement.dataset.place") == str(7 * 9 + 2)
    page.keyboard.press("End")
    assert page.inner_text("#head-title") == "Layer 29, head 8"
    assert page.locator("#grid [tabindex='0']").count() == 1


def test_the_address_holds_the_state_and_goes_back(open_page):
    page = open_page(address="#layer=6&head=1")
    page.click("[data-key=compare]")
    page.select_option("#colour", "entropy")
    address = page.evaluate("location.hash")
    assert "phase=compare" in address
    page.go_back()
    assert page.input_value("#colour") == "same_class_past_first"
    again = open_page(address=address)
    assert again.input_value("#colour") == "entropy"
    assert again.locator("[data-key=compare]").get_attribute("aria-pressed") == "true"


@pytest.mark.parametrize("address", ["#layer=99&head=-1", "#view=9&phase=__proto__&colour=%3Cscript%3E", "#%E0%A4%A"])
def test_an_address_that_makes_no_sense_is_ignored(open_page, views: list[View], address: str):
    page = open_page(address=address)
    assert page.inner_text("#head-title") == f"Layer {views[0].shown.layer}, head {views[0].shown.head}"
    assert page.problems == []


def test_a_sketch_is_checked_in_words(open_page):
    page = open_page()
    fill(page, [["1", "", "", "", ""], ["0.5", "0.4", "0", "0", "0"], *[["0.2"] * 5] * 3])
    page.click("#sketch-check")
    told = page.inner_text("#sketch-verdict")
    assert "Row 1, column a is empty" in told
    assert "Row a sums to 0.90; softmax makes every row sum to 1." in told
    assert page.locator("#sketch .wrong").count() == 4 + 3


def test_a_right_sketch_finds_the_heads_it_is_nearest_to(open_page, views: list[View]):
    page = open_page()
    fill(page, [[f"{weight:.3f}" for weight in row] for row in views[0].before.weights[6, 1]])
    page.click("#sketch-zeros")
    page.click("#sketch-check")
    assert "Right: all 10 weights" in page.inner_text("#sketch-verdict")
    assert page.locator("#sketch-verdict .near button").first.inner_text() == "layer 6, head 1: 0.00"
    page.locator("#sketch-verdict .near button").nth(1).click()
    assert (
        page.locator("#sketch-verdict .near button")
        .nth(1)
        .inner_text()
        .startswith(page.inner_text("#head-title").lower())
    )
    page.click("#sketch-reset")
    assert page.input_value("#sketch [data-at='0,0']") == ""


def test_json_and_csv_hold_the_exact_numbers_and_where_they_come_from(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    found = json.loads(exported(page, "#export-json"))
    assert np.array_equal(np.float32(found["phases"][0]["weights"]), views[0].before.weights[6, 1])
    assert (found["layer"], found["ids"]) == (6, list(views[0].before.ids))
    assert found["phases"][0]["checks"]["future_max"] == 0
    rows = list(csv.DictReader(io.StringIO(exported(page, "#export-csv").decode())))
    assert np.array_equal(np.float32([row["weight"] for row in rows]).reshape(5, 5), views[0].before.weights[6, 1])


def test_drawings_export_as_svg_and_png(open_page):
    page = open_page(address="#layer=6&head=1&phase=compare")
    root = ElementTree.fromstring(exported(page, "#export-svg"))  # noqa: S314 - our own page wrote it
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "0.92" in {node.text for node in root.iter()}
    png = exported(page, "#export-png")
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert int.from_bytes(png[16:20]) == 2 * int(root.get("width"))
