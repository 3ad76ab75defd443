"""Intervals over tasks, ranks and leads, against numbers worked out otherwise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from pipelines.comparison.findings import Measured, interval, rank

TASKS = tuple((seed, f"range/{index}") for seed in (0, 1) for index in range(40))


def measured(rates) -> Measured:
    return Measured(tasks=TASKS, rates=np.asarray(rates, dtype=np.float64))


def test_the_interval_of_many_tasks_is_that_of_the_normal_approximation():
    values = np.tile([0.0, 0.25, 0.5, 1.0], 50)
    found = interval(values)
    reach = 1.96 * float(values.std()) / math.sqrt(len(values))
    assert found["mean"] == pytest.approx(0.4375)
    assert found["high"] - found["mean"] == pytest.approx(reach, rel=0.05)
    assert found["mean"] - found["low"] == pytest.approx(reach, rel=0.05)
    assert found["tasks"] == 200


def test_tasks_that_are_all_alike_leave_no_doubt():
    assert interval(np.full(10, 0.5)) == {"mean": 0.5, "low": 0.5, "high": 0.5, "tasks": 10}


def test_methods_are_ranked_by_their_mean_whatever_their_order():
    found = rank({"low": measured([0.2] * 80), "high": measured([0.9] * 80), "middle": measured([0.5] * 80)})
    assert [row["method"] for row in found["methods"]] == ["high", "middle", "low"]
    assert (found["lead"]["first"], found["lead"]["second"]) == ("high", "middle")
    assert found["lead"]["mean"] == pytest.approx(0.4)
    assert found["lead"]["is_clear"]


def test_a_small_lead_on_every_task_is_clear_though_the_methods_intervals_overlap():
    hard = np.tile([0.0, 0.95], 40)
    one, other = rank({"a": measured(hard + 0.05), "b": measured(hard)})["methods"]
    assert one["right"]["low"] < other["right"]["high"]
    assert rank({"a": measured(hard + 0.05), "b": measured(hard)})["lead"]["is_clear"]


def test_a_lead_that_rests_on_chance_is_not_clear():
    rng = np.random.default_rng(5)
    lead = rank({"a": measured(rng.random(80)), "b": measured(rng.random(80))})["lead"]
    assert lead["low"] < 0 < lead["high"]
    assert not lead["is_clear"]


def test_equal_methods_have_no_clear_lead():
    lead = rank({"a": measured([0.5] * 80), "b": measured([0.5] * 80)})["lead"]
    assert (lead["mean"], lead["is_clear"]) == (0, False)
