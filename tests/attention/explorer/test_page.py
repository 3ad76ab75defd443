"""The page in a real Chromium: what it shows against the stored maps, and every control against what it promises."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import time
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe

from pipelines.attention import Selection, encode, probe
from pipelines.attention.comparison import compare, rollout, uniform_rollout
from pipelines.attention.explorer import Explorer, View, render_explorer
from pipelines.attention.scores import Telling, score_maps, telling_head
from tests.attention.planted import HANDOUT, maps_of, planted_findings, random_rows, uniform

SCORES = {
    "same_class_sink_free": "shuffled_classes",
    "two_back": "alternating",
    "previous_token": "repeated",
    "duplicate_token": "repeated",
    "induction": "repeated",
}


def view_of(model, tokenizer, text: str, split, *, unmasked: bool) -> View:
    sequence = encode(tokenizer, text, split=split)
    before = probe(model, tokenizer, sequence)
    changed = maps_like(before, seed=1)
    return View(
        title=split,
        before=before,
        after=changed,
        unmasked=probe(model, tokenizer, sequence, Selection(masked=False)) if unmasked else None,
        scores=score_maps(before),
        scores_after=score_maps(changed),
        change=compare(before, changed).jsd,
        shown=telling_head(before),
        rollout=(rollout(before), uniform_rollout(before)),
    )


def maps_like(maps, seed: int):
    """Other maps of the same tokens, as training would leave them."""
    return maps_of(
        random_rows(maps.weights.shape, seed), maps.tokens, ids=maps.ids, groups=maps.groups, logits=maps.logits,
        value_norms=maps.value_norms, info=maps.info, checks=maps.checks,
    )  # fmt: skip


@pytest.fixture(scope="module")
def views(bundled) -> list[View]:
    symbols = view_of(*bundled, "1 a 2 b 3", "symbols", unmasked=True)
    return [symbols, view_of(*bundled, "1 a 2 b 3", "text", unmasked=False)]


@pytest.fixture(scope="module")
def file(views: list[View], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("explorer") / "explorer.html"
    findings = planted_findings(30, 9, SCORES)
    Explorer(views, title="Attention on “1 a 2 b 3”", findings=findings).save(path)
    return path


@pytest.fixture
def open_page(browser, file: Path):
    opened = []

    def open_page(path: Path = file, address: str = "", **settings):
        context = browser.new_context(accept_downloads=True, **settings)
        page = context.new_page()
        page.problems, page.asked = [], []
        page.on("console", lambda message: page.problems.append(message.text))
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("request", lambda request: page.asked.append(request.url))
        page.goto(path.as_uri() + address)
        page.wait_for_selector("html[data-ready]", timeout=10_000)
        opened.append(context)
        return page

    yield open_page
    for context in opened:
        context.close()


def shown_numbers(page, box: str = "#matrices", figure: int = 0) -> list[list[str]]:
    cells = page.locator(f"{box} figure").nth(figure).locator("[data-number]")
    found = {tuple(map(int, cell.get_attribute("data-number").split(","))): cell.text_content() for cell in cells.all()}
    size = 1 + max(row for row, _ in found)
    return [[found[row, column] for column in range(size)] for row in range(size)]


def printed(weights: np.ndarray, *, masked: bool = True) -> list[list[str]]:
    return [
        ["0" if masked and j > i else f"{weight:.2f}" for j, weight in enumerate(row)] for i, row in enumerate(weights)
    ]


def test_it_opens_from_a_file_without_a_request_or_an_error(open_page, file: Path):
    page = open_page()
    assert page.problems == []
    assert [address for address in page.asked if not address.startswith("data:")] == [file.as_uri()]


def test_it_is_small_and_ready_within_a_second(open_page, file: Path):
    assert file.stat().st_size < 400_000
    page = open_page()
    seconds = []
    for _ in range(3):
        started = time.perf_counter()
        page.reload()
        page.wait_for_selector("html[data-ready]")
        seconds.append(time.perf_counter() - started)
    assert min(seconds) < 1


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


def test_a_score_that_the_sequence_does_not_define_is_not_zero(open_page, views: list[View]):
    page = open_page(address="#layer=6&head=1")
    assert page.inner_text("[data-score=induction] td.number") == "n/a"
    value = next(score for score in views[0].scores if score.definition.name == "same_class").values[6, 1]
    assert page.inner_text("[data-score=same_class] td.number") == f"{value:.2f}"


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
    shown = Telling(layer=0, head=0, rule=rule) if rule else None
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


def fill(page, rows) -> None:
    for i, row in enumerate(rows):
        for j, value in enumerate(row):
            page.fill(f"#sketch [data-at='{i},{j}']", value)


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


def exported(page, button: str) -> bytes:
    with page.expect_download() as download:
        page.click(button)
    return Path(download.value.path()).read_bytes()


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
    from tests.attention.test_architectures import build
    from tests.attention.test_architectures import maps_of as probe_of

    maps = probe_of(build("gpt_oss"), tuple(range(20, 28)))
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


def test_tokens_are_named_as_the_handout_names_them(open_page):
    assert open_page().locator("#tokens b").all_inner_texts() == list(HANDOUT)
