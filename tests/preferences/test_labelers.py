"""What is compared, how labels are kept, and the verifier as a labeler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError, RunError
from pipelines.preferences.labelers.labels import (
    Comparison,
    Decision,
    IndexPair,
    choose_couples,
    compare,
    current_labels,
    label_missing,
    label_path,
    name_after,
    open_labels,
    read_labels,
)
from pipelines.preferences.labelers.verifier import VerifierLabeler
from pipelines.records import Sample, Task
from pipelines.run.folder import Run
from tests.made import make_sample, make_task

TEXTS = ("[1, 2]", "[1, 2", "[2, 1]", "[1, 2]", '{"a": 1}')


def task(name: str = "t") -> Task:
    return make_task(name, family="range", prompt="1 to 2", schema='{"type": "array"}', targets=("[1, 2]",))


def completion(index: int, text: str, *, name: str = "t", finish_reason: str = "stop") -> Sample:
    return make_sample(text, index, task_id=name, finish_reason=finish_reason)


def rows(names: Sequence[str] = ("t",), texts: Sequence[str] = TEXTS) -> list[Sample]:
    return [completion(index, text, name=name) for name in names for index, text in enumerate(texts)]


def chosen_of(rows: Sequence[Sample], pairs: Sequence[IndexPair], seed: int = 0) -> list[Comparison]:
    """The comparisons of a run that holds these samples and pairs."""
    samples = {
        name: [row for row in rows if row.task_id == name] for name in dict.fromkeys(row.task_id for row in rows)
    }
    couples = choose_couples(samples, samples, pairs, seed)
    return [compare(task(couple[0]), samples[couple[0]], couple, seed) for couple in couples]


def comparison(first: str, second: str, **settings: str) -> Comparison:
    return Comparison(task=task(), first=completion(0, first), second=completion(1, second, **settings))


def many(count: int) -> list[Comparison]:
    return [comparison("[1, 2]", f"[{number}]") for number in range(count)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run.open(tmp_path / "run", Config())


def test_the_run_s_pairs_alternate_with_drawn_couples():
    names = ["a", "b", "c"]
    chosen = chosen_of(rows(names), [("a", 0, 1), ("b", 1, 3)])
    paired = [{one.first.index, one.second.index} in ({0, 1}, {1, 3}) for one in chosen[:4]]
    assert len(chosen) == 5
    assert paired == [True, False, True, False]


def test_drawn_couples_differ_in_text_and_ended_by_themselves():
    texts = ["[1]", "[1]", "[2]"]
    cut = completion(3, "[1, 2", finish_reason="length")
    for seed in range(20):
        (drawn,) = chosen_of([*rows(texts=texts), cut], [], seed)
        assert {drawn.first.completion, drawn.second.completion} == {"[1]", "[2]"}


def test_the_same_seed_gives_the_same_comparisons_and_ids():
    one, other = (chosen_of(rows(), [("t", 0, 1)], seed=7) for _ in range(2))
    assert [each.id for each in one] == [each.id for each in other]


def test_the_side_a_pair_s_better_completion_stands_on_varies():
    names = [f"t{number}" for number in range(40)]
    chosen = chosen_of(rows(names, TEXTS[:2]), [(name, 0, 1) for name in names])
    assert 8 <= sum(each.first.index == 0 for each in chosen) <= 32


def test_another_text_is_another_id():
    assert comparison("[1]", "[2]").id != comparison("[1]", "[3]").id


def test_a_pair_of_other_samples_is_refused():
    with pytest.raises(DataError, match=r"a completion \[0, 9\] of 't'.*attend-and-prefer pair. again"):
        chosen_of(rows(), [("t", 0, 9)])


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("[1, 2]", "[2, 1]", "first"),
        ("[1, 2", '{"a": 1}', "second"),
        ("nonsense", "[1, 2", "tie"),
        ("[2, 1]", "[3]", "tie"),
    ],
)
def test_the_verifier_prefers_the_higher_tiers(first: str, second: str, expected: str):
    (decision,) = VerifierLabeler().decide([comparison(first, second)])
    assert decision.label == expected


def test_the_verifier_knows_what_was_cut_off():
    (decision,) = VerifierLabeler().decide([comparison("[2]", "[1, 2]", finish_reason="length")])
    assert decision.label == "first"


def test_a_second_call_labels_only_what_is_missing(run: Run):
    comparisons = many(5)
    assert label_missing(run, VerifierLabeler(), comparisons[:2])["new"] == 2
    assert label_missing(run, VerifierLabeler(), comparisons)["new"] == 3
    labels = read_labels(label_path(run, "verifier"))
    assert [each.comparison for each in labels] == [each.id for each in comparisons]


def test_a_label_is_on_disk_before_the_next_is_asked_for(run: Run):
    class Watching:
        name, settings = "watching", {}

        def decide(self, comparisons):
            for number, each in enumerate(comparisons):
                assert len(read_labels(label_path(run, "watching"))) == number
                yield Decision(comparison=each, label="tie", seconds=0.0)

    assert label_missing(run, Watching(), many(3))["tie"] == 3


@pytest.mark.parametrize("kept", range(0, 400, 37))
def test_a_file_cut_anywhere_is_repaired_and_completed(run: Run, kept: int):
    path, comparisons = label_path(run, "verifier"), many(3)
    label_missing(run, VerifierLabeler(), comparisons)
    path.write_bytes(path.read_bytes()[: -1 - kept])
    label_missing(run, VerifierLabeler(), comparisons)
    assert [each.comparison for each in read_labels(path)] == [each.id for each in comparisons]


def test_a_bad_line_in_the_middle_is_named(run: Run):
    path = label_path(run, "verifier")
    label_missing(run, VerifierLabeler(), many(3))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([lines[0], lines[1][:50] + "\n", lines[2]]))
    with pytest.raises(DataError, match=r"verifier.jsonl:2: not a label .*remove the line"):
        label_missing(run, VerifierLabeler(), many(3))


def test_a_label_nobody_knows_is_a_bad_line(run: Run):
    path = label_path(run, "verifier")
    label_missing(run, VerifierLabeler(), many(1))
    path.write_text(json.dumps({**json.loads(path.read_text()), "label": "third"}) + "\n")
    with pytest.raises(DataError, match=r"verifier.jsonl:1: not a label"):
        read_labels(path)


def test_labels_of_other_settings_are_not_mixed(run: Run):
    label_missing(run, VerifierLabeler(), many(1))
    with pytest.raises(RunError, match=r"made with assert_formats False, not True; choose another --name"):
        label_missing(run, VerifierLabeler(assert_formats=True), many(2))


def test_two_may_not_write_one_file_at_once(run: Run):
    with open_labels(label_path(run, "verifier")), pytest.raises(RunError, match="written by another process"):
        label_missing(run, VerifierLabeler(), many(1))


def test_a_retraction_leaves_no_label(run: Run):
    class Wavering:
        name, settings = "wavering", {}

        def decide(self, comparisons):
            for outcome in ("first", "retracted", "tie", "retracted"):
                yield Decision(comparison=comparisons[0], label=outcome, seconds=0.0)

    facts = label_missing(run, Wavering(), many(1))
    labels = read_labels(label_path(run, "wavering"))
    assert (len(labels), current_labels(labels), facts["new"]) == (4, {}, 0)


def test_a_label_says_who_when_and_what(run: Run):
    label_missing(run, VerifierLabeler(), many(1))
    (line,) = label_path(run, "verifier").read_text().splitlines()
    label = json.loads(line)
    assert (label["task_id"], label["first_index"], label["second_index"]) == ("t", 0, 1)
    assert (label["labeler"], label["label"], label["settings"]) == ("verifier", "first", {"assert_formats": False})
    assert label["when"].endswith("+00:00")


@pytest.mark.parametrize("name", ["../up", "", "a/b", ".hidden"])
def test_a_name_that_is_no_file_name_is_refused(run: Run, name: str):
    with pytest.raises(ConfigError, match="--name must be letters, digits"):
        label_path(run, name)


def test_any_model_s_name_becomes_a_file_name(run: Run):
    assert name_after("judge", "Qwen/Qwen3 8B") == "judge-Qwen-Qwen3-8B"
    assert label_path(run, name_after("human", "../Ünal")).parent == run.labels
