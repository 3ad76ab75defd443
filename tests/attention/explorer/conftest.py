"""One page over real maps of the bundled model and planted ones of a trained one, and a browser that opens it."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.attention import Selection, encode, probe
from pipelines.attention.explorer import Explorer, View, build_view
from tests.attention.planted import SCORES, maps_of, planted_findings, random_rows


def view_of(model, tokenizer, text: str, split, *, unmasked: bool) -> View:
    sequence = encode(tokenizer, text, split=split)
    before = probe(model, tokenizer, sequence)
    bare = probe(model, tokenizer, sequence, Selection(masked=False)) if unmasked else None
    return build_view(before, title=split, after=maps_like(before, seed=1), unmasked=bare)


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
