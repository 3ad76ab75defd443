from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.attention.explorer import View, render_explorer
from pipelines.errors import ConfigError, DataError
from tests.attention.planted import HANDOUT, maps_of, random_rows


@pytest.mark.parametrize("field", ["ids", "layers", "heads"])
def test_passes_over_different_tokens_or_heads_are_no_view(field: str):
    maps = maps_of(random_rows((2, 2, 5, 5)), HANDOUT)
    other = dataclasses.replace(maps, **{field: tuple(place + 1 for place in getattr(maps, field))})
    with pytest.raises(DataError, match="after must be of the same ids, layers and heads"):
        View(title="x", before=maps, after=other)


def test_a_leak_into_the_future_is_no_page():
    weights = random_rows((1, 1, 5, 5))
    weights[0, 0, 1, 4] = 1e-6
    with pytest.raises(DataError, match="must be 0 above the diagonal"):
        render_explorer([View(title="x", before=maps_of(weights, HANDOUT))], title="x")


def test_more_weights_than_a_browser_opens_are_refused_with_what_to_do():
    maps = maps_of(np.broadcast_to(np.eye(300, dtype=np.float32), (30, 9, 300, 300)), ["t"] * 300)
    with pytest.raises(ConfigError, match=r"30 layers × 9 heads × 300 tokens.*--layers and --heads.*about 192 tokens"):
        render_explorer([View(title="x", before=maps)], title="x")


def test_a_mask_that_is_neither_causal_nor_a_window_is_refused():
    visible = np.tri(5, dtype=bool)[None].copy()
    visible[0, 4, 2] = False
    maps = maps_of(random_rows((1, 1, 5, 5)), HANDOUT, visible=visible)
    with pytest.raises(DataError, match="causal and sliding-window masks"):
        render_explorer([View(title="x", before=maps)], title="x")
