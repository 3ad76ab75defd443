from __future__ import annotations

from pipelines.samples.spending import wanted_next

from pipelines.config import AdaptiveConfig, SamplingConfig

FIXED = SamplingConfig(samples_per_task=12)
ADAPTIVE = SamplingConfig(samples_per_task=30, adaptive=AdaptiveConfig(step=4, enough=2, give_up_after=12))


def test_a_fixed_number_is_what_is_missing():
    assert wanted_next([], FIXED) == range(12)
    assert wanted_next([True] * 5, FIXED) == range(5, 12)
    assert not wanted_next([True] * 12, FIXED)


def test_a_task_with_enough_of_both_kinds_is_done():
    assert not wanted_next([True, False, True, False], ADAPTIVE)


def test_a_task_in_between_gets_another_step_until_the_most():
    assert wanted_next([], ADAPTIVE) == range(4)
    assert wanted_next([True, False, False, False], ADAPTIVE) == range(4, 8)
    assert wanted_next([True] + [False] * 27, ADAPTIVE) == range(28, 30)
    assert not wanted_next([True] + [False] * 29, ADAPTIVE)


def test_a_task_of_one_kind_is_given_up():
    assert wanted_next([False] * 8, ADAPTIVE) == range(8, 12)
    assert not wanted_next([False] * 12, ADAPTIVE)
    assert not wanted_next([True] * 12, ADAPTIVE)
