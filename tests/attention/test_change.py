from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.attention.change import attention_change, jensen_shannon_bits, total_variation
from pipelines.errors import DataError
from tests.attention.planted import HANDOUT, looking_at, maps_of, random_rows, uniform


def test_the_same_maps_twice_differ_by_exactly_nothing():
    maps = maps_of(random_rows((4, 3, 5, 5)), HANDOUT)
    change = attention_change(maps, maps)
    assert change.jsd_bits.max() == change.total_variation.max() == 0.0
    assert all(np.nan_to_num(moved).max() == 0.0 for moved in change.scores.values())


def test_the_same_model_probed_twice_differs_by_exactly_nothing(bundled):
    from pipelines.attention import probe

    assert attention_change(probe(*bundled, HANDOUT), probe(*bundled, HANDOUT)).jsd_bits.max() == 0.0


def test_rows_that_share_nothing_are_one_bit_apart():
    one, other = np.array([[[0.5, 0.5, 0, 0]]]), np.array([[[0, 0, 0.25, 0.75]]])
    assert jensen_shannon_bits(one, other)[0, 0] == 1
    assert total_variation(one, other)[0, 0] == 1


def test_jensen_shannon_of_a_coin_by_hand():
    """H(¾, ¼) − ½ H(1, 0) − ½ H(½, ½) = 0.8113 − 0.5 bits."""
    assert jensen_shannon_bits(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))[0] == pytest.approx(0.31128, abs=1e-5)


def test_the_head_that_was_changed_is_ranked_first_with_its_scores():
    before = maps_of([uniform(5)] * 3, HANDOUT)
    changed = [uniform(5), uniform(5), looking_at(5, lambda row: max(row - 1, 0))]
    change = attention_change(before, maps_of(changed, HANDOUT))
    assert change.ranked()[0] == (0, 2)
    assert change.scores["previous_token"][0].tolist() == pytest.approx([0, 0, 1 - (1 / 3 + 1 / 4 + 1 / 5) / 3])


@pytest.mark.parametrize("field", ["ids", "layers", "heads"])
def test_maps_of_different_tokens_or_heads_are_not_compared(field: str):
    maps = maps_of([uniform(5)], HANDOUT)
    other = dataclasses.replace(maps, **{field: tuple(place + 1 for place in getattr(maps, field))})
    with pytest.raises(DataError, match=f"the same {field}"):
        attention_change(maps, other)
