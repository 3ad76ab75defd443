from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import PreferencesConfig
from pipelines.errors import DataError
from pipelines.preferences.pairing import STRATEGIES, build_pairs, pass_rate_histogram
from pipelines.records import Sample, Verdict
from tests.made import make_sample, make_task

SAMPLE = st.tuples(st.sampled_from("abcdefg"), st.sampled_from(["pass", "fail", "cut"]))
Sampled = dict[str, list[tuple[str, str]]]


def samples_of(name: str, samples: list[tuple[str, str]]) -> list[Sample]:
    return [
        make_sample(
            f"{text} {kind}",
            index,
            task_id=name,
            finish_reason="length" if kind == "cut" else "stop",
            verdict=Verdict(parses=kind == "pass", exact_match=kind == "pass"),
        )
        for index, (text, kind) in enumerate(samples)
    ]


def pair(sampled: Sampled, same_tokens=str.__eq__, **settings):
    """Pairs, outcomes, and the samples by task and index."""
    samples = {name: samples_of(name, own) for name, own in sampled.items()}
    tasks = [make_task(name, family=name[0], targets=("1",)) for name in sampled]
    known = PreferencesConfig(**{"min_pairs": 1, **settings})
    pairs, outcomes = build_pairs(
        iter(tasks), samples, lambda row: float(row.verdict.passed), known, 0, same_tokens=same_tokens
    )
    return pairs, outcomes, {(row.task_id, row.index): row for rows in samples.values() for row in rows}


@given(
    st.dictionaries(st.sampled_from(["x1", "x2", "y1"]), st.lists(SAMPLE, min_size=1, max_size=12), min_size=1),
    st.sampled_from(list(STRATEGIES)),
)
def test_pairs_keep_their_invariants_and_no_sample_goes_uncounted(sampled: Sampled, strategy: str):
    total = sum(len(samples) for samples in sampled.values())
    try:
        pairs, outcomes, rows = pair(sampled, strategy=strategy, max_pairs_per_task=2, max_pairs_per_family=3)
    except DataError:
        kinds = [{kind for _, kind in samples} for samples in sampled.values()]
        assert not any({"pass", "fail"} <= kind for kind in kinds)
        return
    assert sum(outcomes.values()) == total
    for made in pairs:
        chosen, rejected = rows[made.task_id, made.chosen_index], rows[made.task_id, made.rejected_index]
        assert made.margin > 0
        assert (chosen.verdict.passed, rejected.verdict.passed) == (True, False)
        assert chosen.completion != rejected.completion
        assert "length" not in (chosen.finish_reason, rejected.finish_reason)
    for name in sampled:
        assert sum(made.task_id == name for made in pairs) <= 2
    assert sum(made.task_id[0] == "x" for made in pairs) <= 3


def test_a_truncated_failure_may_be_rejected_only_when_allowed():
    samples = {"x": [("a", "pass"), ("b", "cut")]}
    with pytest.raises(DataError, match="no pair can be built"):
        pair(samples)
    assert len(pair(samples, allow_truncated_rejected=True)[0]) == 1


def test_the_same_failing_text_is_used_once():
    pairs, outcomes, _ = pair({"x": [("a", "pass"), ("b", "fail"), ("b", "fail")]})
    assert len(pairs) == 1
    assert outcomes["same text as another sample of the task"] == 1


@pytest.mark.parametrize(
    ("kind", "finding"),
    [("pass", "most tasks are always right; .* 1 of 1 at 100 %"), ("fail", "every sample failed; .* 1 of 1 at 0 %")],
)
def test_an_empty_pair_set_says_why_with_the_histogram(kind: str, finding: str):
    with pytest.raises(DataError, match=finding):
        pair({"x": [("a", kind), ("b", kind)]})


def test_too_few_pairs_to_learn_from_are_refused_with_the_histogram_and_a_way_to_insist():
    """One task in seven went right: one pair is no success, it is a finding."""
    samples = {f"x{n}": [("a", "pass" if n == 0 else "fail"), ("b", "fail")] for n in range(7)}
    said = "only 1 pair can be built: 6 of 7 tasks were never right; .* 6 of 7 at 0 %.*preferences.min_pairs=1"
    with pytest.raises(DataError, match=said):
        pair(samples, min_pairs=16)
    assert len(pair(samples, min_pairs=1)[0]) == 1


def test_the_histogram_counts_every_task_once():
    assert list(pass_rate_histogram([0.0, 0.1, 0.25, 0.5, 0.6, 0.99, 1.0]).values()) == [1, 2, 1, 1, 1, 1]


@pytest.mark.parametrize(
    ("strategy", "samples", "couple"),
    [
        ("nearest_failure", [("abcd", "pass"), ("zzzz", "fail"), ("abcx", "fail")], ("abcd pass", "abcx fail")),
        ("best_worst", [("a", "pass"), ("b", "fail")], ("a pass", "b fail")),
    ],
)
def test_the_strategy_says_who_meets_whom(strategy: str, samples: list[tuple[str, str]], couple: tuple[str, str]):
    ((made,), _, rows) = pair({"x": samples}, strategy=strategy, max_pairs_per_task=1)
    assert tuple(rows["x", index].completion for index in (made.chosen_index, made.rejected_index)) == couple


def test_sides_that_become_the_same_tokens_are_no_pair():
    samples = {"x": [("a", "pass"), ("b", "fail"), ("c", "fail")]}
    pairs, outcomes, _ = pair(samples, same_tokens=lambda _, other: other.startswith("b"))
    assert [made.rejected_index for made in pairs] == [2]
    assert outcomes["same tokens as the other side after the chat template"] == 1


def test_where_only_the_schema_decides_the_likeliest_answers_are_preferred():
    """Under a grammar everything is valid; that alone makes no answer worth learning."""
    task = make_task(schema='{"type": "object"}')
    right = Verdict(parses=True, schema_valid=True)
    drawn = [
        make_sample(text, index, source="grammar", verdict=right, completion_tokens=tokens, logprob_nats=nats)
        for index, (text, tokens, nats) in enumerate([("{}", 2, -9.0), ("long", 20, -10.0), ("so-so", 4, -8.0)])
    ]
    failures = [make_sample(f"no {index}", 10 + index, verdict=Verdict(parses=False)) for index in range(6)]
    settings = PreferencesConfig(min_pairs=1, max_pairs_per_task=6)
    for fields, preferred in (({}, {1, 2}), ({"targets": ('{"a": 1}', "{}")}, {0, 1, 2})):
        asked = make_task(schema=task.schema, **fields)
        own = {asked.id: [*drawn, *failures]}
        pairs, _ = build_pairs([asked], own, lambda row: float(row.verdict.passed), settings, 0)
        assert {pair.chosen_index for pair in pairs} == preferred


def test_the_policys_own_failures_are_rejected_before_those_of_proposals():
    samples = [
        make_sample("right", 2000, source="grammar", verdict=Verdict(parses=True)),
        *(make_sample(f"near {n}", 2001 + n, source="grammar", verdict=Verdict(parses=False)) for n in range(4)),
        *(make_sample(f"own {n}", n, verdict=Verdict(parses=False)) for n in range(2)),
    ]
    settings = PreferencesConfig(min_pairs=1, max_pairs_per_task=3)
    pairs, _ = build_pairs([make_task()], {"t": samples}, lambda row: float(row.verdict.passed), settings, 0)
    assert {0, 1} < {pair.rejected_index for pair in pairs}
