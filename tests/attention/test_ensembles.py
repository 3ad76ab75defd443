from __future__ import annotations

import numpy as np
import pytest

from pipelines.attention import TokenSequence, probe_scores
from pipelines.attention.ensembles import alternating, measure, pick_heads, repeated, shuffled_classes
from pipelines.errors import DataError

DIGITS, LETTERS = tuple(range(10)), tuple(range(100, 126))


def test_alternating_sequences_begin_and_end_with_a_digit_and_repeat_by_seed():
    ids = alternating(DIGITS, LETTERS, seed=4)
    assert len(ids) == 33
    assert [token in DIGITS for token in ids] == [place % 2 == 0 for place in range(33)]
    assert ids == alternating(DIGITS, LETTERS, seed=4) != alternating(DIGITS, LETTERS, seed=5)


def test_the_control_has_the_same_symbols_in_an_order_that_does_not_alternate():
    ids = shuffled_classes(DIGITS, LETTERS, seed=4)
    assert sorted(ids) == sorted(alternating(DIGITS, LETTERS, seed=4))
    assert [token in DIGITS for token in ids] != [place % 2 == 0 for place in range(33)]


def test_repeated_sequences_are_distinct_tokens_twice():
    ids = repeated(range(1000), seed=0, prefix=(7,))
    assert ids[0] == 7
    assert ids[1:51] == ids[51:]
    assert len(set(ids[1:51])) == 50
    with pytest.raises(DataError, match="50 different tokens"):
        repeated(range(49), seed=0)


def noisy(truth: np.ndarray, spread: float):
    return lambda ids: {"score": truth + spread * np.random.default_rng(ids[0]).normal(size=truth.shape)}


def test_intervals_hold_the_truth_as_often_as_they_say():
    """2,000 means of 8 draws each: about 95 % of the Student intervals cover the mean they were drawn around."""
    result = measure(noisy(np.full((40, 50), 0.3), 0.1), [(seed,) for seed in range(8)], ["score"])["score"]
    assert 0.93 < (np.abs(result.mean - 0.3) <= result.margin).mean() < 0.97


def test_a_head_picked_by_luck_is_reported_without_it():
    sequences = [(seed,) for seed in range(8)]
    lucky = pick_heads(noisy(np.zeros((30, 9)), 1.0), sequences, "score", count=1)[0]
    assert lucky.picked_on > 1
    assert abs(lucky.mean) < lucky.picked_on / 2
    truth = np.zeros((30, 9))
    truth[12, 3] = 5
    found = pick_heads(noisy(truth, 1.0), sequences, "score", count=1)[0]
    assert (found.layer, found.head) == (12, 3)
    assert abs(found.mean - 5) < found.margin


def test_too_few_sequences_are_refused():
    with pytest.raises(DataError, match="at least two sequences, got 1"):
        measure(noisy(np.zeros((1, 1)), 1.0), [(0,)], ["score"])
    with pytest.raises(DataError, match="one half"):
        pick_heads(noisy(np.zeros((1, 1)), 1.0), [(0,), (1,)], "score")


def test_the_bundled_models_induction_heads_hold_on_seeds_that_did_not_pick_them(bundled):
    model, tokenizer = bundled
    sequences = [repeated(range(1000, 20000), seed) for seed in range(4)]

    def scores_of(ids):
        return probe_scores(model, tokenizer, TokenSequence.of_ids(ids))[0]

    best = pick_heads(scores_of, sequences, "induction", count=1)[0]
    assert best.mean > 0.5  # uniform attention would get 0.01


def test_a_head_without_a_score_on_some_sequence_is_not_picked():
    sequences = [(seed,) for seed in range(8)]

    def scores_of(ids: tuple[int, ...]) -> dict[str, np.ndarray]:
        # The best head has none on a sequence of the half that is reported, the next one on one that is picked on.
        return {
            "score": np.array([[np.nan if ids[0] == 3 else 0.9, np.nan if ids[0] == 2 else 0.8, 0.5 + ids[0] / 100]])
        }

    (only,) = pick_heads(scores_of, sequences, "score", count=3)
    assert (only.layer, only.head) == (0, 2)
    assert np.isfinite([only.picked_on, only.mean, only.margin]).all()
