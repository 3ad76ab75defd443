from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from pipelines.attention.scores import (
    NO_RULE,
    PREVIOUS_RULE,
    SAME_CLASS_RULE,
    HeadChoice,
    layer_scores,
    most_selective_head,
    rollout,
    score_maps,
    symbol_class,
    uniform_rollout,
)
from pipelines.errors import DataError
from tests.attention.planted import HANDOUT, looking_at, maps_of, random_rows, uniform

LONG = tuple("1a2b3c4d5e6f7g8h9i")
PREVIOUS = looking_at(18, lambda row: max(row - 1, 0))
SINK = looking_at(18, lambda row: 0)
TWO_BACK = looking_at(18, lambda row: max(row - 2, 0))


def scores_of(pattern, tokens=LONG, **settings) -> dict[str, float]:
    maps = maps_of([pattern], tokens, **settings)
    return {score.definition.name: float(score.values[0, 0]) for score in score_maps(maps)}


def test_a_previous_token_head_scores_one_there_and_nothing_for_class_or_sink():
    scores = scores_of(PREVIOUS)
    assert scores["previous_token"] == 1
    assert scores["same_class_past_first"] == scores["same_class_sink_free"] == scores["two_back"] == 0
    assert scores["first_token"] == pytest.approx(1 / 17)  # row 1, whose previous token is the first


def test_a_sink_head_gets_no_credit_for_anything_else():
    scores = scores_of(SINK)
    assert scores["first_token"] == scores["confidence"] == 1
    for name in ("previous_token", "two_back", "self", "same_class_past_first", "entropy"):
        assert scores[name] == 0, name
    assert np.isnan(scores["same_class_sink_free"])  # nothing is left to renormalise


def test_in_an_alternating_sequence_two_back_and_same_class_are_one():
    scores = scores_of(TWO_BACK)
    assert scores["two_back"] == scores["same_class_past_first"] == scores["same_class_sink_free"] == 1
    assert scores["digit_to_digit"] == scores["letter_to_letter"] == 1


def test_shuffled_classes_tell_two_back_from_same_class():
    scores = scores_of(TWO_BACK, tuple("12ab34cd56ef78gh9i"))
    assert scores["two_back"] == 1
    assert scores["same_class_past_first"] < 0.2


def test_a_uniform_head_is_its_own_baseline():
    maps = maps_of([uniform(18), random_rows((18, 18))], LONG)
    for score in score_maps(maps):
        np.testing.assert_allclose(score.values[0, 0], score.baseline[0], atol=1e-6)
        np.testing.assert_allclose(score.lift[0, 1], score.values[0, 1] - score.baseline[0])
    assert scores_of(uniform(18))["entropy"] == pytest.approx(1, abs=1e-6)


def test_an_induction_head_looks_at_what_followed_the_last_time():
    ids = (1, 2, 3, 4, 5, 1, 2, 3, 4, 5)
    induction = looking_at(10, lambda row: row - 4 if row >= 5 else None)
    duplicate = looking_at(10, lambda row: row - 5 if row >= 5 else None)
    assert scores_of(induction, tuple("abcdeabcde"), ids=ids)["induction"] == 1
    assert scores_of(induction, tuple("abcdeabcde"), ids=ids)["duplicate_token"] == 0
    assert scores_of(duplicate, tuple("abcdeabcde"), ids=ids)["duplicate_token"] == 1
    assert scores_of(duplicate, tuple("abcdeabcde"), ids=ids)["induction"] == 0


def test_what_the_sequence_does_not_define_is_not_a_number():
    scores = scores_of(random_rows((5, 5)), HANDOUT)
    assert np.isnan([scores["duplicate_token"], scores["induction"]]).all()
    assert np.isfinite([scores[name] for name in ("previous_token", "same_class", "same_class_sink_free")]).all()
    assert all(np.isnan(value) for value in scores_of([[1.0]], ("1",)).values())


def test_the_handouts_rows_by_hand():
    """`b` may look at `a`; the last `3` at the first `1` and at `2`."""
    weights = random_rows((5, 5), seed=3)
    scores = scores_of(weights, HANDOUT)
    assert scores["same_class"] == pytest.approx((weights[2, 0] + weights[3, 1] + weights[4, 0] + weights[4, 2]) / 3)
    assert scores["same_class_past_first"] == pytest.approx((weights[3, 1] + weights[4, 2]) / 2)
    shares = weights[3, 1] / weights[3, 1:3].sum(), weights[4, 2] / weights[4, 1:4].sum()
    assert scores["same_class_sink_free"] == pytest.approx(np.mean(shares), abs=1e-6)
    assert scores["distance"] == pytest.approx(
        np.mean([weights[i] @ (i - np.arange(5)) for i in range(1, 5)]), abs=1e-6
    )


def test_with_a_prefix_the_sink_is_its_first_token_and_its_rows_do_not_count():
    pattern = np.zeros((7, 7), np.float32)
    pattern[:, 0] = 1
    scores = scores_of(pattern, ("<s>", "u", *HANDOUT), prefix_tokens=2)
    assert scores["first_token"] == 1
    assert scores["same_class"] == scores["same_class_past_first"] == 0


def test_no_score_changes_its_input():
    maps = maps_of([random_rows((18, 18))], LONG)  # read-only: writing would raise
    before = maps.weights.copy()
    score_maps(maps)
    assert np.array_equal(maps.weights, before)


def test_long_sequences_in_blocks_and_threads_score_as_a_direct_sum_does():
    weights, size = random_rows((3, 700, 700)), 700
    classes = ["digit" if place % 3 else "letter" for place in range(size)]
    scores = layer_scores(weights, np.tri(size, dtype=bool), range(size), classes)
    same = np.equal.outer(np.array(classes), np.array(classes)) & np.tri(size, k=-1, dtype=bool)
    rows = np.arange(1, size)
    safe = np.where(weights > 0, weights, 1)
    entropy = -(weights * np.log(safe)).sum(-1)[:, 1:] / np.log(rows + 1)
    np.testing.assert_allclose(scores["entropy"], entropy.mean(-1), atol=1e-5)
    np.testing.assert_allclose(scores["same_class"], (weights * same).sum(-1)[:, same.any(1)].mean(-1), atol=1e-5)
    np.testing.assert_allclose(scores["confidence"], weights.max(-1)[:, 1:].mean(-1), atol=1e-6)


def test_a_window_lowers_the_baselines_count_of_visible_keys():
    window = np.tri(18, dtype=bool) & ~np.tri(18, k=-4, dtype=bool)
    weights = window / window.sum(-1, keepdims=True)
    maps = maps_of([weights], LONG, visible=window[None])
    scores = {score.definition.name: score for score in score_maps(maps)}
    assert scores["entropy"].values[0, 0] == pytest.approx(1, abs=1e-6)
    np.testing.assert_allclose(scores["previous_token"].lift, 0, atol=1e-6)


def test_an_unmasked_pass_is_not_scored():
    with pytest.raises(DataError, match="unmasked"):
        score_maps(maps_of([random_rows((5, 5))], HANDOUT, masked=False))


def test_the_most_selective_head_puts_most_weight_on_its_own_class_and_not_on_the_sink():
    heads = [SINK[:5, :5], uniform(5), PREVIOUS[:5, :5], TWO_BACK[:5, :5]]
    assert most_selective_head(maps_of(heads, HANDOUT)) == HeadChoice(layer=0, head=3, rule=SAME_CLASS_RULE)
    assert most_selective_head(maps_of(heads[:3], HANDOUT)) == HeadChoice(layer=0, head=1, rule=SAME_CLASS_RULE)


def test_without_two_of_a_class_the_most_selective_head_is_the_previous_token_head_and_says_so():
    heads = [SINK[:3, :3], PREVIOUS[:3, :3], uniform(3)]
    assert most_selective_head(maps_of(heads, ("1", "a", "!"))) == HeadChoice(layer=0, head=1, rule=PREVIOUS_RULE)


@pytest.mark.parametrize("size", [1, 2])
def test_where_no_score_is_defined_the_first_head_is_shown_and_says_so(size: int):
    heads = [uniform(size), PREVIOUS[:size, :size]]
    assert most_selective_head(maps_of(heads, HANDOUT[:size])) == HeadChoice(layer=0, head=0, rule=NO_RULE)


def test_the_most_selective_head_is_named_by_the_models_own_numbers(bundled):
    from pipelines.attention import Selection, probe

    whole = most_selective_head(probe(*bundled, HANDOUT))
    some = Selection(layers=(2, whole.layer), heads=(0, whole.head))
    assert whole == most_selective_head(probe(*bundled, HANDOUT, some))


def test_a_key_whose_value_is_short_gets_no_credit_by_value_length():
    """Half the weight is on a first token whose value is a tenth as long as the others."""
    weights = np.tile(np.float32([0.5, 0.5, 0, 0, 0]), (5, 1))
    weights[0] = (1, 0, 0, 0, 0)
    norms = np.float32([[[0.1, 1, 1, 1, 1]]])
    maps = maps_of([weights], HANDOUT, value_norms=norms)
    by_name = {score.definition.name: score for score in score_maps(maps)}
    assert by_name["first_token"].values[0, 0] == pytest.approx(0.5)
    assert by_name["norm_first_token"].values[0, 0] == pytest.approx(0.05 / 0.55)
    uniform_share = np.mean([0.1 / (0.1 + row) for row in range(1, 5)])
    assert by_name["norm_first_token"].baseline[0, 0] == pytest.approx(uniform_share)
    assert by_name["norm_first_token"].lift[0, 0] == pytest.approx(0.05 / 0.55 - uniform_share)


def test_without_value_lengths_the_scores_that_need_them_are_not_a_number():
    scores = scores_of(uniform(5), HANDOUT)
    assert np.isnan(scores["norm_first_token"])


@pytest.mark.parametrize(("symbol", "kind"), [("7", "digit"), (" a", "letter"), ("é", "letter"), ("[", "other")])
def test_classes_of_symbols(symbol: str, kind: str):
    assert symbol_class(symbol) == kind


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
