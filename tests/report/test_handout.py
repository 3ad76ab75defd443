"""Another teacher's handout, on through the stages: the page follows it with no code touched."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from pipelines.attention import encode, probe
from pipelines.attention.scores import most_selective_head
from tests.attention.planted import maps_of, random_rows
from tests.report.conftest import do, make_run, plant, render
from tests.report.oracle import READ_QUOTES, Oracle, stray_digits

HANDOUT = {
    "sequence": ["x", "y", "x", "y", "x"],
    "prompt": "Write a JSON object with the name Ada and the age 36.",
    "target": '{"name": "Ada", "age": 36}',
    "samples": ['{"name": "Ada", "age": 36}', '{"name": "Ada", "age": "36"}'],
    "family": "record",
    "closing_questions": ["What will you try at home?"],
}


@pytest.fixture(scope="module")
def run(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("teacher")
    (folder / "handout.yaml").write_text(yaml.safe_dump(HANDOUT))
    run = make_run(folder, tiny_folder, attention={"handout": str(folder / "handout.yaml")})
    plant(run, 1)
    for verb in ("pair", "probe", "evaluate"):
        do(run, verb)
    render(run)
    return run


@pytest.fixture
def page(show, run: Path):
    return show(run / "report.html")


def test_its_sequence_is_the_matrix(page):
    labels = page.locator("#attention ~ .beside thead").first.locator("th").all_inner_texts()
    assert labels == HANDOUT["sequence"]
    assert page.locator("#attention ~ .beside table").first.locator("td.hidden").all_inner_texts() == ["0"] * 10


def test_its_samples_are_verified_by_the_tier_that_tells_them_apart(page):
    text = page.inner_text("section[aria-labelledby=labels]")
    assert "is it the value asked for?" in text
    assert 'So {"name": "Ada", "age": 36} is better than {"name": "Ada", "age": "36"}' in text


def test_its_request_is_the_first_of_the_completions_side_by_side(page):
    asked = page.locator("section[aria-labelledby=behaviour] .answers q").all_inner_texts()
    assert asked[:2] == [HANDOUT["prompt"]] * 2


def test_its_questions_are_the_closing_ones(page):
    assert page.locator("#closing textarea").count() == 1
    assert page.locator("#closing label").first.inner_text() == HANDOUT["closing_questions"][0]


def test_its_numbers_are_the_stored_ones_too(page, run: Path):
    assert Oracle(run).contradicted(page.evaluate(READ_QUOTES)) == []
    assert stray_digits(page) == []


def test_two_samples_that_are_alike_to_the_parser_are_a_tie(show, begun, shipped: str):
    page = show(begun(shipped.replace('"[1, 2, 3, 4)"', '"[1, 2,3]"')))
    assert "a tie, from which no pair is made" in page.inner_text("section[aria-labelledby=labels]")


def test_samples_in_the_wrong_order_are_told_apart_all_the_same(show, begun, shipped: str):
    swapped = shipped.replace('- "[1, 2, 3]"\n  - "[1, 2, 3, 4)"', '- "[1, 2, 3, 4)"\n  - "[1, 2, 3]"')
    text = show(begun(swapped)).inner_text("section[aria-labelledby=labels]")
    assert "So [1, 2, 3] is better than [1, 2, 3, 4), which the handout names first." in text


def test_the_cat_the_cat_the_is_read_by_the_real_model(show, begun, bundled):
    words = ["the", "cat", "the", "cat", "the"]
    file = begun(yaml.safe_dump({**HANDOUT, "sequence": words}))
    maps = probe(*bundled, encode(bundled[1], " ".join(words), split="symbols"))
    maps.save(file.parent / "attention" / "before")
    told = most_selective_head(maps)
    weights = maps.head(told.layer, told.head)
    table = show(render(file.parent)).locator("#attention ~ .beside table").first
    assert table.locator("thead th").all_inner_texts() == words
    shown = [float(cell) for cell in table.locator("tbody td").all_inner_texts()]
    assert shown == pytest.approx(weights.flatten().tolist(), abs=0.00501)


def test_a_long_sequence_is_a_figure(show, begun):
    symbols = [f"w{place}" for place in range(14)]
    maps = maps_of(random_rows((1, 2, 14, 14)), symbols)
    file = begun(yaml.safe_dump({**HANDOUT, "sequence": symbols}))
    maps.save(file.parent / "attention" / "before")
    (file.parent / "attention" / "before.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    page = show(render(file.parent))
    assert page.locator("#attention ~ .beside img.figure").count() == 1
    assert page.locator(".damaged").count() == 0
