from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.attention.comparison import compare, jensen_shannon, rollout, total_variation, uniform_rollout
from pipelines.errors import DataError
from tests.attention.planted import HANDOUT, looking_at, maps_of, random_rows, uniform


def test_the_same_maps_twice_differ_by_exactly_nothing():
    maps = maps_of(random_rows((4, 3, 5, 5)), HANDOUT)
    comparison = compare(maps, maps)
    assert comparison.jsd.max() == comparison.total_variation.max() == 0.0
    assert all(np.nan_to_num(change).max() == 0.0 for change in comparison.changes.values())


def test_the_same_model_probed_twice_differs_by_exactly_nothing(bundled):
    from pipelines.attention import probe

    assert compare(probe(*bundled, HANDOUT), probe(*bundled, HANDOUT)).jsd.max() == 0.0


def test_rows_that_share_nothing_are_one_bit_apart():
    one, other = np.array([[[0.5, 0.5, 0, 0]]]), np.array([[[0, 0, 0.25, 0.75]]])
    assert jensen_shannon(one, other)[0, 0] == 1
    assert total_variation(one, other)[0, 0] == 1


def test_jensen_shannon_of_a_coin_by_hand():
    """H(¾, ¼) − ½ H(1, 0) − ½ H(½, ½) = 0.8113 − 0.5 bits."""
    assert jensen_shannon(np.array([[1.0, 0.0]]), np.array([[0.5, 0.5]]))[0] == pytest.approx(0.31128, abs=1e-5)


def test_the_head_that_was_changed_is_ranked_first_with_its_scores():
    before = maps_of([uniform(5)] * 3, HANDOUT)
    changed = [uniform(5), uniform(5), looking_at(5, lambda row: max(row - 1, 0))]
    comparison = compare(before, maps_of(changed, HANDOUT))
    assert comparison.ranked()[0] == (0, 2)
    assert comparison.changes["previous_token"][0].tolist() == pytest.approx([0, 0, 1 - (1 / 3 + 1 / 4 + 1 / 5) / 3])


@pytest.mark.parametrize("field", ["ids", "layers", "heads"])
def test_maps_of_different_tokens_or_heads_are_not_compared(field: str):
    maps = maps_of([uniform(5)], HANDOUT)
    other = dataclasses.replace(maps, **{field: tuple(place + 1 for place in getattr(maps, field))})
    with pytest.raises(DataError, match=f"the same {field}"):
        compare(maps, other)


def test_rollout_of_heads_that_look_at_themselves_changes_nothing():
    own = looking_at(5, lambda row: row)
    np.testing.assert_allclose(rollout(maps_of([[own, own]] * 4, HANDOUT))[-1], np.eye(5))


def test_rollout_stays_causal_and_its_rows_sum_to_one():
    flow = rollout(maps_of(random_rows((6, 3, 5, 5)), HANDOUT))[-1]
    assert np.triu(flow, k=1).max() == 0
    np.testing.assert_allclose(flow.sum(-1), 1)
    assert flow[4, 0] > uniform(5)[4, 0]  # early tokens are favoured


def test_rollout_of_uniform_attention_by_hand():
    """Row 1 keeps ½ of itself and spreads ½ evenly over two: ¼ and ¾; after two layers 1 − ¾² on the first."""
    flows = uniform_rollout(maps_of([[random_rows((2, 2))]] * 2, ("1", "a")))
    np.testing.assert_allclose(flows[:, 1], [[1 / 4, 3 / 4], [7 / 16, 9 / 16]])


def test_rollout_of_a_selection_of_layers_is_refused():
    maps = dataclasses.replace(maps_of([uniform(5)], HANDOUT), layers=(3,))
    with pytest.raises(DataError, match="every layer and head"):
        rollout(maps)
