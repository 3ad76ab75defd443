from __future__ import annotations

import numpy as np
import pytest

from pipelines.attention.scores import first_token, previous_token, same_class, symbol_class

CLASSES = ["digit", "letter", "digit", "letter", "digit"]
UNIFORM = np.tril(np.ones((5, 5))) / np.arange(1, 6)[:, None]
PREVIOUS = np.eye(5, k=-1) + np.diag([1.0, 0, 0, 0, 0])
SINK = np.zeros((5, 5)) + np.eye(1, 5)
TWO_BACK = np.eye(5, k=-2) + np.diag([1.0, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("pattern", "first", "previous", "same"),
    [
        # Uniform: mean of 1/2, 1/3, 1/4, 1/5; mean of 1/3, 1/4, 1/5; mean of 1/4 and 1/5.
        (UNIFORM, 0.3208333, 0.2611111, 0.225),
        (PREVIOUS, 0.25, 1.0, 0.0),
        (SINK, 1.0, 0.0, 0.0),
        (TWO_BACK, 0.25, 0.0, 1.0),
    ],
    ids=["uniform", "previous", "sink", "two back"],
)
def test_planted_heads_get_their_analytic_scores(pattern: np.ndarray, first: float, previous: float, same: float):
    untouched = pattern.copy()
    assert first_token(pattern) == pytest.approx(first)
    assert previous_token(pattern) == pytest.approx(previous)
    assert same_class(pattern, CLASSES) == pytest.approx(same)
    assert np.array_equal(pattern, untouched)


def test_a_score_without_rows_is_undefined_and_not_zero():
    assert np.isnan(previous_token(UNIFORM[:2, :2]))
    assert np.isnan(same_class(UNIFORM, ["digit", "letter", "other", "other2", "x"]))


def test_symbols_are_classed_by_their_characters():
    assert [symbol_class(symbol) for symbol in ("1", " a", "?", "é")] == ["digit", "letter", "other", "letter"]
