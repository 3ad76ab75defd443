from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path

import pytest

from pipelines.config import (
    AttentionConfig,
    Config,
    FamilyConfig,
    SamplingConfig,
    TasksConfig,
    TrainingConfig,
    load_config,
)
from pipelines.errors import ConfigError, DataError
from pipelines.records import Task
from pipelines.tasks import build_prompt, build_tasks, few_shot_examples
from pipelines.tasks.families import FAMILIES
from tests.made import make_task

ROOT = Path(__file__).resolve().parent.parent.parent
HANDOUT = str(ROOT / "data" / "handout.yaml")
HANDED_OUT = AttentionConfig(handout=HANDOUT)
DRAWN = "87e4b40aec78a5ba559ed1f177f103ddd96a70944de14f07f8958a4dd937d62c"
"""SHA-256 of the default tasks, computed with version 0.1."""


def tasks_of(*, seed: int = 0, files: tuple[str, ...] = (), **counts: tuple[int, int]) -> list[Task]:
    families = {name: FamilyConfig(train=train, test=test) for name, (train, test) in counts.items()}
    return build_tasks(Config(seed=seed, tasks=TasksConfig(families=families, files=files), attention=HANDED_OUT))


def keys(tasks: list[Task], split: str) -> set[str]:
    return {task.key for task in tasks if task.split == split}


@pytest.mark.parametrize("seed", range(5))
def test_no_target_is_on_two_sides_of_the_split(seed: int):
    tasks = tasks_of(seed=seed, **dict.fromkeys(FAMILIES, (12, 8)))
    train, test, example = (
        {task.target for task in tasks if task.split == split} for split in ("train", "test", "example")
    )
    assert not train & test
    assert not train & example
    assert not test & example


def test_every_family_gives_the_tasks_asked_for_and_no_more():
    tasks = tasks_of(**dict.fromkeys(FAMILIES, (5, 3)))
    for family in FAMILIES:
        splits = [task.split for task in tasks if task.family == family]
        assert (splits.count("train"), splits.count("test"), splits.count("example")) == (5, 3, 8)


def test_the_handouts_request_is_for_test():
    handout = next(task for task in tasks_of(range=(40, 24)) if task.target == "[1, 2, 3]")
    assert (handout.split, handout.prompt) == ("test", "Write a JSON list of 1 through 3.")


def test_more_training_tasks_leave_the_test_ones_as_they_are():
    few, many = tasks_of(range=(5, 10), words=(5, 10)), tasks_of(range=(30, 10), words=(9, 10))
    assert keys(few, "test") == keys(many, "test")


def test_the_same_seed_gives_the_same_tasks_and_another_gives_others():
    assert tasks_of(words=(9, 9)) == tasks_of(words=(9, 9))
    assert tasks_of(words=(9, 9)) != tasks_of(seed=1, words=(9, 9))


def test_a_family_that_runs_out_says_how_many_there_are():
    with pytest.raises(ConfigError, match=r"tasks.families.range: only \d+ of 5000 distinct train tasks exist"):
        tasks_of(range=(5000, 1))


def test_an_unknown_family_is_named_with_the_nearest():
    with pytest.raises(ConfigError, match="unknown family 'rang'; did you mean 'range'"):
        tasks_of(rang=(1, 1))


@pytest.mark.parametrize("family", FAMILIES)
def test_every_target_obeys_its_schema(family: str):
    import jsonschema_rs

    for task in tasks_of(**{family: (20, 1)}):
        if task.family == family and task.schema and task.target:
            assert jsonschema_rs.is_valid(json.loads(task.schema), json.loads(task.target)), task


def test_few_shot_examples_are_solved_requests_of_the_family_before_the_request():
    tasks = tasks_of(range=(4, 1), words=(4, 1))
    task = next(task for task in tasks if task.split == "train" and task.family == "words")
    messages, source = build_prompt(task, tasks, 3)
    assert source == "few_shot"
    assert [message["role"] for message in messages] == ["user", "assistant"] * 3 + ["user"]
    assert messages[-1]["content"] == task.prompt
    solved = {other.prompt: other.target for other in tasks if other.split == "example" and other.family == "words"}
    assert all(
        solved[ask["content"]] == answer["content"] for ask, answer in zip(messages[:-1:2], messages[1::2], strict=True)
    )


def test_without_examples_the_prompt_is_zero_shot():
    tasks = tasks_of(range=(1, 1))
    assert build_prompt(tasks[0], tasks, 0) == (({"role": "user", "content": tasks[0].prompt},), "zero_shot")


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_a_share_of_the_tasks_is_few_shot(share: float):
    tasks = tasks_of(range=(60, 1), words=(200, 1))
    settings = TrainingConfig(few_shot=3, few_shot_share=share)
    shown = Counter(few_shot_examples(task, settings, seed=0) for task in tasks)
    assert shown[3] + shown[0] == len(tasks)
    assert shown[3] / len(tasks) == pytest.approx(share, abs=0.1)


def test_tasks_sampled_with_examples_are_those_trained_with_them():
    tasks = tasks_of(range=(60, 1))

    def taken(settings: SamplingConfig | TrainingConfig) -> set[str]:
        return {task.id for task in tasks if few_shot_examples(task, settings, seed=4)}

    sampled = taken(SamplingConfig(few_shot=8, few_shot_share=0.5))
    assert sampled == taken(TrainingConfig(few_shot=3, few_shot_share=0.5))
    assert set() < taken(TrainingConfig(few_shot=3, few_shot_share=0.2)) < sampled
    assert taken(SamplingConfig(few_shot=8)) == {task.id for task in tasks}


def test_a_task_file_is_split_by_key(tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Ask {index}", "target": [index % 20]} for index in range(60)]
    file.write_text("\n".join(map(json.dumps, rows)))
    mine = [task for task in tasks_of(range=(1, 1), files=(str(file),)) if task.family == "mine"]
    assert len(mine) == 60
    assert not keys(mine, "train") & keys(mine, "test")
    assert {"train", "test", "example"} == {task.split for task in mine}


def file_of(tmp_path: Path, rows: list[dict], group_by: str | None = None) -> list[Task]:
    file = tmp_path / "mine.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    tasks = TasksConfig(files=(str(file),), group_by=group_by)
    return [task for task in build_tasks(Config(tasks=tasks, attention=HANDED_OUT)) if task.family == "mine"]


TICKETS = [
    {
        "prompt": f"Ticket {n}",
        "target": {"label": ["bug", "feature", "question"][n % 3]},
        "group": f"customer {n // 10}",
    }
    for n in range(60)
]


def test_requests_with_few_labels_are_split_by_request(tmp_path: Path):
    mine = file_of(tmp_path, TICKETS)
    assert len({task.key for task in mine}) == 60
    for label in {task.target for task in mine}:
        assert {task.split for task in mine if task.target == label} == {"train", "test", "example"}


@pytest.mark.parametrize(("group_by", "groups"), [("target", 3), ("group", 6)])
def test_what_the_config_groups_by_stays_on_one_side(tmp_path: Path, group_by: str, groups: int):
    mine = file_of(tmp_path, TICKETS, group_by)
    splits: dict[str, set[str]] = {}
    for task in mine:
        row = TICKETS[int(task.prompt.removeprefix("Ticket "))]
        splits.setdefault(json.dumps(row[group_by]), set()).add(task.split)
    assert len(splits) == groups
    assert all(len(found) == 1 for found in splits.values())


def test_a_field_of_the_users_own_may_be_grouped_by(tmp_path: Path):
    rows = [{"prompt": f"Ask {n}", "customer": n // 10} for n in range(40)]
    assert len({task.key for task in file_of(tmp_path, rows, "customer")}) == 4


def test_a_line_without_the_field_to_group_by_is_named(tmp_path: Path):
    with pytest.raises(DataError, match=r"mine.jsonl:2: has no field 'group'"):
        file_of(tmp_path, [TICKETS[0], {"prompt": "p"}], "group")


def test_one_prompt_with_many_targets_stays_on_one_side(tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": f"Ask {index % 5}", "target": index} for index in range(40)]
    file.write_text("\n".join(map(json.dumps, rows)))
    mine = [task for task in tasks_of(range=(1, 1), files=(str(file),)) if task.family == "mine"]
    for prompt in {task.prompt for task in mine}:
        assert len({task.split for task in mine if task.prompt == prompt}) == 1


def test_the_handouts_prompt_is_for_test_also_when_a_file_repeats_it(tmp_path: Path):
    file = tmp_path / "mine.jsonl"
    rows = [{"prompt": "Write a JSON list of 1 through 3.", "schema": {}}, *({"prompt": f"p{n}"} for n in range(9))]
    file.write_text("\n".join(map(json.dumps, rows)))
    mine = [task for task in tasks_of(range=(1, 1), files=(str(file),)) if task.family == "mine"]
    assert next(task.split for task in mine if task.prompt.endswith("3.")) == "test"


def test_the_same_task_twice_is_refused(tmp_path: Path):
    with pytest.raises(DataError, match="mine.jsonl: holds the task 'Ticket 0' twice, word for word"):
        file_of(tmp_path, [TICKETS[0], TICKETS[1], TICKETS[0]])


def test_one_task_in_two_files_of_one_name_is_refused(tmp_path: Path):
    files = [tmp_path / name / "mine.jsonl" for name in "ab"]
    for file in files:
        file.parent.mkdir()
        file.write_text('{"prompt": "p"}')
    with pytest.raises(DataError, match="task 'mine/.*' is in two task files of one name"):
        tasks_of(files=tuple(map(str, files)))


def test_the_default_tasks_are_those_of_every_version_so_far():
    """Their random streams are kept: figures of earlier runs and of later ones are of the same tasks."""
    tasks = build_tasks(load_config(ROOT / "configs" / "default.yaml"))
    drawn = sorted([task.split, task.family, task.request, task.target] for task in tasks)
    assert hashlib.sha256(json.dumps(drawn).encode()).hexdigest() == DRAWN


def test_lines_that_name_their_split_are_there_and_the_others_are_drawn(tmp_path: Path):
    rows = [
        *({"prompt": f"train {n}", "split": "train"} for n in range(9)),
        *({"prompt": f"test {n}", "split": "test"} for n in range(3)),
        *({"prompt": f"shown {n}", "split": "example", "target": n} for n in range(2)),
        *({"prompt": f"drawn {n}"} for n in range(8)),
    ]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tasks = [task for task in tasks_of(files=(str(tmp_path / "mine.jsonl"),)) if task.family == "mine"]
    split = {task.request: task.split for task in tasks}
    assert all(split[row["prompt"]] == row["split"] for row in rows if "split" in row)
    assert Counter(split[f"drawn {n}"] for n in range(8)) == {"train": 6, "test": 2}


def test_a_prompt_that_two_lines_put_on_two_sides_is_for_test(tmp_path: Path):
    rows = [{"prompt": "one", "target": n, "split": split} for n, split in enumerate(["train", "example", "train"])]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tasks = [task for task in tasks_of(files=(str(tmp_path / "mine.jsonl"),)) if task.family == "mine"]
    assert [task.split for task in tasks] == ["test"] * 3


def test_a_few_shot_prompt_shows_solved_tasks_of_the_same_group_first():
    solved = [make_task(f"e{n}", group="ab"[n % 2], split="example", prompt=f"e{n}", targets=("1",)) for n in range(6)]
    shown = {}
    for group in ("a", "b", "new"):
        messages, source = build_prompt(make_task(group=group), solved, 4)
        assert source == "few_shot"
        shown[group] = [message["content"] for message in messages[:-1:2]]
    assert shown["a"][:3] == ["e0", "e2", "e4"]
    assert shown["b"][:3] == ["e1", "e3", "e5"]
    assert len(shown["new"]) == 4
