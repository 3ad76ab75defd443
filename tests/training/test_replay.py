"""Which pairs of earlier rounds a later one goes over again."""

from __future__ import annotations

from collections import Counter

from datasets import Dataset

from pipelines.training.replay import replayed_pairs


def table(**pairs_of_task: int) -> Dataset:
    """Rows of tasks named like `range_1`, of the family before the underscore."""
    rows = [
        {"task_id": task, "family": task.partition("_")[0], "chosen": f"{task}, {number}"}
        for task, count in pairs_of_task.items()
        for number in range(count)
    ]
    return Dataset.from_list(rows)


NOW = table(range_1=2, words_1=3)
BEFORE = table(range_1=4, range_2=4, range_3=4, words_2=1, flags_1=4)
SAMPLED = ["range_1", "range_2", "range_3", "words_1", "words_2", "flags_1"]


def test_each_family_is_filled_up_with_pairs_of_tasks_that_have_none_now():
    replayed = replayed_pairs(NOW, SAMPLED, [BEFORE], 5, seed=0)
    assert Counter(replayed["family"]) == {"range": 3, "words": 1, "flags": 4}
    assert set(replayed["task_id"]) <= {"range_2", "range_3", "words_2", "flags_1"}


def test_no_family_loses_pairs_of_its_own_and_a_full_one_gets_none():
    replayed = replayed_pairs(NOW, SAMPLED, [BEFORE], 2, seed=0)
    assert Counter(replayed["family"]) == {"flags": 2}


def test_a_task_that_this_round_did_not_train_on_stays_out():
    replayed = replayed_pairs(NOW, ["range_1", "range_2", "words_1"], [BEFORE], 9, seed=0)
    assert set(replayed["task_id"]) == {"range_2"}


def test_the_latest_round_comes_first_and_none_comes_twice():
    latest = table(range_2=2, range_3=1)
    replayed = replayed_pairs(NOW, SAMPLED, [latest, BEFORE], 5, seed=0)
    of_range = [row["chosen"] for row in replayed if row["family"] == "range"]
    assert sorted(of_range) == ["range_2, 0", "range_2, 1", "range_3, 0"]


def test_the_choice_falls_by_the_seed_alone():
    chosen = {seed: replayed_pairs(NOW, SAMPLED, [BEFORE], 5, seed)["chosen"] for seed in range(8)}
    assert chosen[0] == replayed_pairs(NOW, SAMPLED, [BEFORE], 5, seed=0)["chosen"]
    assert len({tuple(one) for one in chosen.values()}) > 1


def test_where_nothing_is_to_be_filled_the_table_is_empty():
    assert len(replayed_pairs(NOW, ["range_1", "words_1"], [BEFORE], 9, seed=0)) == 0
