from __future__ import annotations

import pytest

from pipelines.evaluation import Rate, summarise, wilson_interval
from pipelines.records import Verdict


@pytest.mark.parametrize(
    ("count", "total", "low", "high"),
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0000, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_intervals_match_the_published_ones(count: int, total: int, low: float, high: float):
    assert wilson_interval(count, total) == pytest.approx((low, high), abs=5e-5)


def test_the_rate_lies_inside_its_interval_at_the_ends():
    for count in (0, 64):
        rate = Rate.of(count, 64)
        assert rate.low <= rate.rate <= rate.high


def test_no_trials_give_no_rate():
    assert Rate.of(0, 0) == Rate(count=0, total=0, rate=None, low=None, high=None)


def test_counts_are_kept_per_prompting_and_family_and_overall():
    good, bad = Verdict(parses=True, exact=True), Verdict(parses=True, exact=False)
    summary = summarise([("bare", "a", good), ("bare", "b", bad), ("worked_examples", "a", good)])
    assert summary["bare"]["overall"]["exact"]["count"] == 1
    assert summary["bare"]["overall"]["exact"]["total"] == 2
    assert summary["bare"]["b"]["exact"]["rate"] == 0
    assert summary["worked_examples"]["a"]["valid"]["total"] == 1


def test_an_undefined_tier_is_not_counted():
    summary = summarise([("bare", "a", Verdict(parses=True))])
    assert summary["bare"]["a"]["exact"]["total"] == 0
