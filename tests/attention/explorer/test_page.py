"""The page in a real Chromium: what it shows against the stored maps, in every phase and derivation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from pipelines.attention.explorer import Explorer, View
from tests.attention.explorer.screen import printed, shown_numbers
from tests.attention.planted import HANDOUT, maps_of, random_rows


def test_it_opens_from_a_file_without_a_request_or_an_error(open_page, file: Path):
    page = open_page()
    assert page.problems == []
    assert [address for address in page.asked if not address.startswith("data:")] == [file.as_uri()]


def test_it_is_small(file: Path):
    assert file.stat().st_size < 400_000


def test_the_first_screen_answers_the_handouts_question(open_page, views: list[View]):
    page = open_page(viewport={"width": 1440, "height": 900})
    assert page.inner_text("#head-title") == f"Layer {views[0].shown.layer}, head {views[0].shown.head}"
    assert "all 10 weights above the diagonal must be 0" in page.inner_text("#answer")
    assert page.locator("#matrices svg").first.bounding_box()["y"] < 800


@pytest.mark.parametrize(("layer", "head"), [(0, 0), (6, 1), (29, 8)])
def test_the_numbers_on_screen_are_the_stored_maps(open_page, views: list[View], layer: int, head: int):
    page = open_page(address=f"#view=1&layer={layer}&head={head}")
    assert shown_numbers(page) == printed(views[0].before.weights[layer, head])
    page.click("[data-key=after]")
    assert shown_numbers(page) == printed(views[0].after.weights[layer, head])
    page.click("[data-key=unmasked]")
    assert shown_numbers(page) == printed(views[0].unmasked.weights[layer, head], masked=False)


def test_masked_zeros_look_unlike_small_numbers(open_page):
    page = open_page(address="#layer=6&head=1")
    hidden = page.locator("#matrices rect.hidden")
    assert hidden.count() == 10
    assert all("url(#" in cell.get_attribute("fill") for cell in hidden.all())
    assert {row[j] for i, row in enumerate(shown_numbers(page)) for j in range(i + 1, 5)} == {"0"}


def test_compare_shows_before_after_and_their_difference(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1&phase=compare")
    before, after = (maps.weights[6, 1].astype(float) for maps in (views[0].before, views[0].after))
    assert shown_numbers(page, figure=0) == printed(before)
    assert shown_numbers(page, figure=1) == printed(after)
    told = shown_numbers(page, figure=2)
    assert [float(told[i][j].replace("−", "-")) for i in range(5) for j in range(i + 1)] == pytest.approx(
        [after[i, j] - before[i, j] for i in range(5) for j in range(i + 1)], abs=0.00501
    )
    changes = np.abs(views[0].after.weights - views[0].before.weights)
    told = page.locator("#matrices h3").nth(2).inner_text()
    assert told == f"after − before; full colour at ±{changes.max():.2g}, the largest change of any head"


def test_tokens_merge_to_symbols_as_the_maps_do(open_page, views: list[View]):
    page = open_page(address="#view=2&layer=6&head=1")
    assert page.locator("#tokens li").count() == 7
    page.select_option("#units", "symbols")
    assert shown_numbers(page) == printed(views[1].before.merged()[6, 1])


def test_derived_values_say_that_they_are_derived(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    assert page.locator("#derived-note").is_hidden()
    page.select_option("#derived", "norm")
    assert "not raw attention" in page.inner_text("#derived-note")
    scaled = views[0].before.weights[6, 1] * views[0].before.value_norms[6, 1]
    expected = scaled / scaled.sum(-1, keepdims=True)
    told = shown_numbers(page)
    assert [float(told[i][j]) for i in range(5) for j in range(i + 1)] == pytest.approx(
        [expected[i, j] for i in range(5) for j in range(i + 1)], abs=0.006
    )
    page.select_option("#derived", "nosink")
    weights = views[0].before.weights[6, 1]
    assert shown_numbers(page)[4][1:] == [f"{weight / weights[4, 1:].sum():.2f}" for weight in weights[4, 1:]]


def test_what_is_left_out_is_neither_masked_nor_undefined(open_page):
    page = open_page(address="#layer=6&head=1&values=nosink")
    assert [row[0] for row in shown_numbers(page)] == ["–"] * 5
    assert shown_numbers(page)[0][1:] == ["0"] * 4
    assert page.locator("#matrices rect.hidden").count() == 10
    for cell, told in (("3,0", "left out of this view"), ("0,3", "exactly 0, hidden by the mask")):
        page.locator(f"#matrices [data-cell='{cell}']").hover()
        assert page.inner_text("#cell").endswith(told)


def test_a_row_of_which_nothing_is_left_is_undefined(open_page, tmp_path: Path):
    weights = random_rows((1, 1, 3, 3))
    weights[0, 0, 2] = (1, 0, 0)
    maps = maps_of(weights, HANDOUT[:3])
    Explorer([View(title="x", before=maps)], title="x").save(tmp_path / "sunk.html")
    page = open_page(tmp_path / "sunk.html", "#values=nosink")
    assert shown_numbers(page)[2] == ["–", "n/a", "n/a"]
    assert page.inner_text("#legend") == "n/a on this sequence"


def test_the_steps_lead_from_scores_to_weights(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    scores = [[float(text.replace("−", "-")) for text in row] for row in shown_numbers(page, "#step-matrices", 0)]
    np.testing.assert_allclose(scores, views[0].before.logits[6, 1], atol=0.0051)
    assert shown_numbers(page, "#step-matrices", 1)[0][1:] == ["−∞"] * 4
    assert shown_numbers(page, "#step-matrices", 2) == printed(views[0].before.weights[6, 1])
    page.check("#nomask")
    assert shown_numbers(page, "#step-matrices", 2) == printed(views[0].unmasked.weights[6, 1], masked=False)


def test_the_steps_are_those_of_the_phase_that_is_shown(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1&phase=after")
    assert page.inner_text("#steps-phase") == "After training"
    assert shown_numbers(page, "#step-matrices", 2) == printed(views[0].after.weights[6, 1])
    page.click("[data-key=before]")
    assert page.inner_text("#steps-phase") == "Before training"
    page.click("[data-key=unmasked]")
    assert page.inner_text("#steps-phase").startswith("Before training, without a mask")
    assert open_page(address="#view=2").locator("#steps").is_hidden()  # they are shown in the first view only


def test_the_steps_stand_side_by_side_on_a_laptop(open_page):
    page = open_page(viewport={"width": 1280, "height": 800})
    figures = page.locator("#step-matrices figure").all()
    assert len({round(figure.bounding_box()["y"]) for figure in figures}) == 1
    page.click("[data-key=compare]")
    bottoms = {
        round(box["y"] + box["height"]) for box in (f.bounding_box() for f in page.locator("#matrices figure").all())
    }
    assert len(bottoms) == 1


def test_a_score_that_the_sequence_does_not_define_is_not_zero(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    assert page.inner_text("[data-score=induction] td.number") == "n/a"
    value = next(score for score in views[0].scores if score.definition.name == "same_class").values[6, 1]
    assert page.inner_text("[data-score=same_class] td.number") == f"{value:.2f}"


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("address", ["", "#view=2&layer=3&head=2&phase=compare&values=norm"])
def test_axe_finds_nothing_serious(open_page, scheme: str, address: str):
    results = Axe().run(open_page(address=address, color_scheme=scheme))
    serious = [found for found in results.response["violations"] if found["impact"] in ("serious", "critical")]
    assert serious == []


@pytest.mark.parametrize("address", ["", "#view=2&phase=compare"])
def test_a_phone_scrolls_in_one_direction_only(open_page, address: str):
    page = open_page(address=address, viewport={"width": 360, "height": 740})
    assert page.evaluate("document.documentElement.scrollWidth") == 360


def test_dark_and_light_are_both_drawn(open_page):
    grounds = [
        open_page(color_scheme=scheme).evaluate("getComputedStyle(document.body).backgroundColor")
        for scheme in ("light", "dark")
    ]
    assert grounds[0] != grounds[1]


def test_tokens_are_named_as_the_handout_names_them(open_page):
    assert open_page().locator("#tokens b").all_inner_texts() == list(HANDOUT)
