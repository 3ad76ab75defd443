from __future__ import annotations

import itertools
import math
import subprocess
import sys

import pytest

from pipelines.preferences.agreement import agree, cohen_kappa, confuse, describe, render_agreement
from pipelines.preferences.labelers.labels import Label


def label(comparison: str, choice: str, *, seconds: float = 1.0, tokens: int | None = None) -> Label:
    return Label(
        comparison=comparison,
        task_id="t",
        first_index=0,
        second_index=1,
        label=choice,
        labeler="x",
        settings={},
        when="2026-11-23T12:00:00+00:00",
        seconds=seconds,
        tokens=tokens,
        detail={},
    )


def held(*choices: str) -> dict[str, Label]:
    return {str(number): label(str(number), choice) for number, choice in enumerate(choices)}


def test_kappa_and_its_interval_are_those_published_for_the_r_package_statpsych():
    # ci.kappa(.05, 31, 12, 4, 58), https://dgbonett.github.io/statpsych/reference/ci.kappa.html
    found = cohen_kappa([[31, 12], [4, 58]])
    assert (found.kappa, found.standard_error) == (pytest.approx(0.6756757), pytest.approx(0.07344761, rel=1e-6))
    assert (found.low, found.high) == (pytest.approx(0.5317210), pytest.approx(0.8196303))


def test_kappa_of_three_categories_is_the_one_worked_out_by_hand():
    # Agree on 2 + 2 + 1 of 8; rows 3, 3, 2; columns 4, 2, 2: expected (12 + 6 + 4) / 64.
    found = cohen_kappa([[2, 0, 1], [1, 2, 0], [1, 0, 1]])
    assert found.observed == pytest.approx(5 / 8)
    assert found.expected == pytest.approx(22 / 64)
    assert found.kappa == pytest.approx((40 - 22) / (64 - 22))


def test_the_standard_error_is_the_delta_method_s():
    counts = [[20, 5, 3], [2, 15, 4], [6, 1, 10]]
    cells, many, step = list(itertools.product(range(3), repeat=2)), 10**6, 10**3

    def slope(i: int, j: int) -> float:
        """Derivative of kappa by the share of one cell, as a difference."""
        more, less = (
            [[many * n + sign * step * ((r, c) == (i, j)) for c, n in enumerate(row)] for r, row in enumerate(counts)]
            for sign in (1, -1)
        )
        return (cohen_kappa(more).kappa - cohen_kappa(less).kappa) / (2 * step / (66 * many))

    weighted = [(counts[i][j] / 66, slope(i, j)) for i, j in cells]
    mean = sum(share * one for share, one in weighted)
    variance = sum(share * (one - mean) ** 2 for share, one in weighted) / 66
    assert cohen_kappa(counts).standard_error == pytest.approx(math.sqrt(variance), rel=1e-4)


def test_two_labelers_who_always_say_the_same_one_thing_have_no_kappa():
    found = cohen_kappa([[9, 0], [0, 0]])
    assert found.observed == 1.0
    assert (found.kappa, found.low, found.high) == (None, None, None)


def test_perfect_agreement_claims_no_interval():
    found = cohen_kappa([[5, 0, 0], [0, 4, 0], [0, 0, 3]])
    assert found.kappa == pytest.approx(1.0)
    assert (found.standard_error, found.low, found.high) == (None, None, None)


def test_a_labeler_who_never_varies_agrees_by_chance_only():
    found = cohen_kappa([[0, 0, 0], [0, 0, 0], [10, 16, 14]])
    assert found.kappa == pytest.approx(0.0)
    assert (found.low, found.high) == (None, None)


def test_without_common_comparisons_nothing_is_known():
    assert cohen_kappa([[0, 0], [0, 0]]).observed is None


def test_the_confusion_counts_what_both_labelled():
    one, other = held("first", "first", "tie", "second"), held("first", "second", "abstain")
    confusion = confuse(one, other)
    assert confusion["first"] == {"first": 1, "second": 1, "tie": 0, "abstain": 0}
    assert confusion["tie"]["abstain"] == 1
    assert sum(sum(row.values()) for row in confusion.values()) == 3


def test_an_abstention_counts_for_no_kappa():
    (couple,) = agree({"a": held("first", "second", "abstain"), "b": held("first", "second", "first")})["agreement"]
    assert (couple["common"], couple["decided"], couple["kappa"]) == (3, 2, 1.0)


def test_rates_and_medians_are_of_the_labeler_s_own_labels():
    labels = [
        label("a", "tie", seconds=1.0, tokens=10),
        label("b", "first", seconds=2.0, tokens=30),
        label("c", "abstain", seconds=9.0),
        label("d", "first", seconds=3.0),
    ]
    facts = describe({each.comparison: each for each in labels})
    assert (facts["tie_rate"], facts["abstain_rate"]) == (0.25, 0.25)
    assert (facts["median_seconds"], facts["median_tokens"]) == (2.5, 20)


def test_a_labeler_without_labels_has_rates_of_none():
    facts = describe({})
    assert (facts["tie_rate"], facts["median_seconds"], facts["median_tokens"]) == (None, None, None)


def test_the_tables_show_kappa_with_its_interval():
    report = agree({"a": held(*["first"] * 3, "second", "tie"), "b": held(*["first"] * 2, "second", "second", "tie")})
    # Agree on 4 of 5; expected (3·2 + 1·2 + 1·1) / 25: kappa = (20 - 9) / 16.
    assert "| a and b | 5 | 5 | 80% | 0.688 |" in render_agreement(report)


def test_agreement_is_computed_without_torch():
    code = "import sys, pipelines.preferences.agreement; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
