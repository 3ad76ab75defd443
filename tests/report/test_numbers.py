"""Page and files side by side: every number and every quoted text on the page is the stored one."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.attention import AttentionMaps
from pipelines.attention.scores import most_selective_head
from tests.report.conftest import render
from tests.report.oracle import READ_QUOTES, READ_TEXTS, Oracle, stray_digits


@pytest.fixture
def page(show, finished: Path):
    return show(finished)


def test_every_number_is_the_stored_one(page, built: Path):
    quotes = page.evaluate(READ_QUOTES)
    assert Oracle(built).contradicted(quotes) == []
    assert len(quotes) > 300


def test_no_number_is_typed_in(page):
    assert stray_digits(page) == []


def test_numbers_come_from_every_file_that_has_some(page):
    places = [place for one in page.evaluate(READ_QUOTES) for place in one["source"].split(" ")]
    files = {place.partition("#")[0] for place in places}
    assert files >= {
        "metrics.json", "manifest.json", "comparison.json", "labels/agreement.json", "evaluation/after",
        "rounds/2/training/log.json", "rounds/2/training/worked_pair.json",
        "rounds/1/run-round-1/pairs", "rounds/2/run-round-2/pairs",
        "attention/before.safetensors", "attention/after.safetensors", "attention/before.json",
        "attention/before_findings.json", "attention/after_findings.json",
    }  # fmt: skip


def test_quoted_texts_are_the_stored_ones(page, built: Path):
    oracle, texts = Oracle(built), page.evaluate(READ_TEXTS)
    stored = [(one["text"], oracle.expected(one["source"], None)) for one in texts]
    plain = [(shown, text) for shown, text in stored if text.isprintable() and len(text) <= 200]
    assert plain
    assert all(shown == text for shown, text in plain)


def test_colour_begins_where_the_two_of_a_pair_part(page, built: Path):
    oracle, marked = Oracle(built), page.locator(".pairs ins")
    for place, source in enumerate(marked.evaluate_all("(all) => all.map((one) => one.parentElement.dataset.text)")):
        chosen, rejected = (oracle.expected(source.replace("chosen", side), None) for side in ("chosen", "rejected"))
        rest = marked.nth(place).inner_text()
        same = len(chosen) - len(rest)
        assert chosen[:same] == rejected[:same]
        assert chosen[same] != rejected[same]


def test_the_shown_heads_are_the_most_selective_one_and_the_one_that_moved_most(page, built: Path):
    told = most_selective_head(AttentionMaps.load(built / "attention" / "before"))
    moved = Oracle(built).at("attention/after_findings.json", ["change", "most_changed", "0"])
    heads = [(told.layer, told.head), (moved["layer"], moved["head"])]
    assert page.locator("#attention ~ .beside figcaption").all_inner_texts() == [
        f"Layer {layer}, head {head}, {phase} training" for layer, head in heads for phase in ("before", "after")
    ]


def test_a_rerendered_page_has_the_same_bytes(changed: Path):
    first = render(changed).read_bytes()
    assert render(changed).read_bytes() == first
