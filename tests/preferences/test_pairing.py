from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import PreferencesConfig
from pipelines.errors import DataError
from pipelines.preferences import build_pairs
from pipelines.preferences.pairing import STRATEGIES, pass_rate_histogram
from pipelines.records import Completion, Task, Verdict

SAMPLE = st.tuples(st.sampled_from("abcdefg"), st.sampled_from(["pass", "fail", "cut"]))


def task_of(name: str) -> Task:
    return Task(id=name, family=name[0], key=name, split="train", prompt="p", target="1")


def judged_of(name: str, samples: list[tuple[str, str]]) -> list[tuple[Completion, Verdict]]:
    rows = []
    for index, (text, kind) in enumerate(samples):
        completion = Completion(
            task_id=name,
            index=index,
            prompting="bare",
            text=f"{text} {kind}",
            finish_reason="length" if kind == "cut" else "stop",
            prompt_tokens=1,
            completion_tokens=1,
            logprob_nats=-1.0,
            seed=0,
        )
        rows.append((completion, Verdict(parses=kind == "pass", exact=kind == "pass")))
    return rows


def pair(samples_by_task: dict[str, list[tuple[str, str]]], **settings):
    judged = {name: judged_of(name, samples) for name, samples in samples_by_task.items()}
    scores = {(row.task_id, row.index): float(verdict.passed) for rows in judged.values() for row, verdict in rows}
    tasks = [task_of(name) for name in samples_by_task]
    pairs, fates = build_pairs(tasks, judged, scores, PreferencesConfig(**{"min_pairs": 1, **settings}), seed=0)
    return pairs, fates, {(row.task_id, row.index): (row, verdict) for rows in judged.values() for row, verdict in rows}


@given(
    st.dictionaries(st.sampled_from(["x1", "x2", "y1"]), st.lists(SAMPLE, min_size=1, max_size=12), min_size=1),
    st.sampled_from(list(STRATEGIES)),
)
def test_pairs_keep_their_invariants_and_no_sample_goes_uncounted(
    samples_by_task: dict[str, list[tuple[str, str]]], strategy: str
):
    total = sum(len(samples) for samples in samples_by_task.values())
    try:
        pairs, fates, rows = pair(samples_by_task, strategy=strategy, max_pairs_per_task=2, max_pairs_per_family=3)
    except DataError:
        kinds = [{kind for _, kind in samples} for samples in samples_by_task.values()]
        assert not any({"pass", "fail"} <= kind for kind in kinds)
        return
    assert sum(fates.values()) == total
    for made in pairs:
        chosen, good = rows[made.task_id, made.chosen_index]
        rejected, bad = rows[made.task_id, made.rejected_index]
        assert made.margin > 0
        assert good.passed
        assert not bad.passed
        assert chosen.text != rejected.text
        assert "length" not in (chosen.finish_reason, rejected.finish_reason)
    for name in samples_by_task:
        assert sum(made.task_id == name for made in pairs) <= 2
    assert sum(made.task_id[0] == "x" for made in pairs) <= 3


def test_a_truncated_failure_may_be_rejected_only_when_allowed():
    samples = {"x": [("a", "pass"), ("b", "cut")]}
    with pytest.raises(DataError, match="no pair can be built"):
        pair(samples)
    assert len(pair(samples, allow_truncated_rejected=True)[0]) == 1


def test_the_same_failing_text_is_used_once():
    pairs, fates, _ = pair({"x": [("a", "pass"), ("b", "fail"), ("b", "fail")]})
    assert len(pairs) == 1
    assert fates["same text as another sample of the task"] == 1


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


def texts(made, rows) -> list[tuple[str, str]]:
    return [
        (rows[pair.task_id, pair.chosen_index][0].text, rows[pair.task_id, pair.rejected_index][0].text)
        for pair in made
    ]


def test_the_nearest_failure_comes_first():
    samples = {"x": [("abcd", "pass"), ("zzzz", "fail"), ("abcx", "fail")]}
    pairs, _, rows = pair(samples, strategy="nearest_failure", max_pairs_per_task=1)
    assert texts(pairs, rows) == [("abcd pass", "abcx fail")]


def test_the_best_meets_the_worst():
    samples = {"x": [("a", "pass"), ("b", "fail")]}
    pairs, _, rows = pair(samples, strategy="best_worst")
    assert texts(pairs, rows) == [("a pass", "b fail")]


def test_sides_that_become_the_same_tokens_are_no_pair():
    judged = {"x": judged_of("x", [("a", "pass"), ("b", "fail"), ("c", "fail")])}
    scores = {("x", 0): 1.0, ("x", 1): 0.0, ("x", 2): 0.0}
    pairs, fates = build_pairs(
        [task_of("x")],
        judged,
        scores,
        PreferencesConfig(min_pairs=1),
        0,
        same_tokens=lambda _, other: other.startswith("b"),
    )
    assert [pair.rejected_index for pair in pairs] == [2]
    assert fates["same tokens as the other side after the chat template"] == 1
