from __future__ import annotations

import pytest

from pipelines.records import Verdict
from pipelines.rewards.rates import Rate, rates, summarise, wilson_interval

NONE = {"count": 0, "total": 0, "rate": None, "low": None, "high": None}


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
    assert Rate.of(0, 0) == Rate(**NONE)


def test_counts_are_kept_per_prompt_and_family_and_overall():
    good, bad = Verdict(parses=True, exact_match=True), Verdict(parses=True, exact_match=False)
    summary = summarise([("zero_shot", "a", good), ("zero_shot", "b", bad), ("few_shot", "a", good)])
    assert summary["zero_shot"]["overall"]["exact_match"]["count"] == 1
    assert summary["zero_shot"]["overall"]["exact_match"]["total"] == 2
    assert summary["zero_shot"]["b"]["exact_match"]["rate"] == 0
    assert summary["few_shot"]["a"]["parses"]["total"] == 1


def test_a_tier_that_no_task_defines_has_no_rate_and_the_pass_rate_counts_all_the_same():
    schema_only = [Verdict(parses=True, schema_valid=True), Verdict(parses=True, schema_valid=False)]
    found = summarise(("zero_shot", "a", verdict) for verdict in schema_only)["zero_shot"]["a"]
    assert found["exact_match"] == NONE
    assert (found["pass_rate"]["count"], found["pass_rate"]["total"]) == (1, 2)


def test_the_pass_rate_is_by_all_that_each_task_defines():
    mixed = [Verdict(parses=True), Verdict(parses=True, schema_valid=True, exact_match=False), Verdict(parses=False)]
    found = rates(mixed)
    assert {name: (rate.count, rate.total) for name, rate in found.items()} == {
        "parses": (2, 3),
        "schema_valid": (1, 1),
        "exact_match": (0, 1),
        "pass_rate": (1, 3),
    }
