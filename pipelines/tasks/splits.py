"""Which task is trained on, which is for test, which serves as an example: decided by key, never by row.

Reads the config's families, task files and handout; returns tasks whose splits share no key: of procedural families no
target, of a task file no prompt, and no target or group where the config asks for that. Every split is drawn from a
generator of its own, so asking for more training tasks leaves those for test as they were.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from typing import Any

from pipelines import seeds
from pipelines.config import Config
from pipelines.errors import ConfigError, DataError, nearest
from pipelines.records import Split, Task, dump_lines
from pipelines.run.files import write_text
from pipelines.run.folder import Run
from pipelines.run.shipped import shipped
from pipelines.tasks.families import FAMILIES, Draft
from pipelines.tasks.handout import Handout, load_handout
from pipelines.tasks.keys import task_key
from pipelines.tasks.task_files import load_task_file

EXAMPLES_PER_FAMILY = 8
DRAWS_PER_TASK = 1000
"""Draws without a new key after which a family is taken to be exhausted."""
_STREAMS: dict[Split, str] = {"train": "train", "test": "held_out", "example": "example"}
"""Names of the generators that a family's splits are drawn from: these decide the tasks, whatever a split is called."""


def build_tasks(config: Config) -> list[Task]:
    """All tasks of a run: the handout's and the files', then those of the families."""
    families = config.tasks.families
    for name in families:
        if name not in FAMILIES:
            raise ConfigError(
                f"tasks.families: unknown family {name!r}; did you mean {nearest(name, FAMILIES)!r}? "
                f"(known: {', '.join(FAMILIES)})"
            )
    handout = handout_task(load_handout(shipped(config.attention.handout)))
    loaded = [load_task_file(shipped(file), config.tasks.group_by) for file in config.tasks.files]
    grouped = iter(_group([handout, *(task for tasks in loaded for task in tasks)]))
    tasks = [next(grouped)]
    for file in loaded:
        tasks += _split_file([next(grouped) for _ in file], config)
    # Test before training: a training draw avoids every key that is already taken on the other side.
    plan: list[tuple[Split, dict[str, int]]] = [
        ("example", dict.fromkeys([*families, *({handout.family} & FAMILIES.keys())], EXAMPLES_PER_FAMILY)),
        ("test", {name: family.test for name, family in families.items()}),
        ("train", {name: family.train for name, family in families.items()}),
    ]
    for split, counts in plan:
        for family, count in counts.items():
            tasks += _draw(family, split, count - (family == handout.family and split == "test"), config.seed, tasks)
    repeated = [task_id for task_id, count in Counter(task.id for task in tasks).items() if count > 1]
    if repeated:
        raise DataError(f"task {repeated[0]!r} is in two task files of one name; take one out or rename a file")
    return _without_crossing(tasks)


def _group(tasks: list[Task]) -> list[Task]:
    """The same tasks; those that share a key or a prompt, directly or through others, get one key, the first's."""
    parent = list(range(len(tasks)))

    def root(index: int) -> int:
        while parent[index] != index:
            parent[index] = index = parent[parent[index]]
        return index

    first: dict[tuple[str, str], int] = {}
    for index, task in enumerate(tasks):
        for mark in (("key", task.key), ("prompt", json.dumps(task.messages))):
            known = first.setdefault(mark, index)
            low, high = sorted((root(known), root(index)))
            parent[high] = low
    return [dataclasses.replace(task, key=tasks[root(index)].key) for index, task in enumerate(tasks)]


def handout_task(handout: Handout) -> Task:
    """The handout's own request as a task for test."""
    return Task(
        id=f"{handout.family}/handout",
        family=handout.family,
        key=task_key(handout.target, handout.prompt, None),
        split="test",
        prompt=handout.prompt,
        schema=json.dumps(_handout_schema(handout.target)),
        targets=(handout.target,),
    )


def _handout_schema(target: str) -> dict[str, object]:
    """All that is certain of the handout's answer beside its value: the type of its root."""
    kinds = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    return {"type": kinds.get(type(json.loads(target)), "null")}


def _draw(family: str, split: Split, count: int, seed: int, others: list[Task]) -> list[Task]:
    """`count` tasks of a family whose keys are new to the family and to every other split."""
    rng = seeds.rng(seed, f"{family}/{_STREAMS[split]}")
    taken = {task.key for task in others if task.split != split or task.family == family}
    drawn: list[Task] = []
    while len(drawn) < count:
        for _ in range(DRAWS_PER_TASK):
            task = _task(FAMILIES[family](rng), family, split)
            if task.key not in taken:
                break
        else:
            raise ConfigError(
                f"tasks.families.{family}: only {len(drawn)} of {count} distinct {split} tasks exist; ask for fewer"
            )
        taken.add(task.key)
        drawn.append(task)
    return drawn


def _task(draft: Draft, family: str, split: Split) -> Task:
    target, schema = json.dumps(draft.target), json.dumps(draft.schema)
    key = task_key(target, draft.prompt, schema)
    return Task(
        id=f"{family}/{key}", family=family, key=key, split=split, prompt=draft.prompt, schema=schema, targets=(target,)
    )


def _split_file(tasks: list[Task], config: Config) -> list[Task]:
    """A task file's keys ranked by hash: the first with a target serve as examples, the next are for test."""
    ranked = sorted(
        {task.key for task in tasks}, key=lambda key: hashlib.sha256(f"{config.seed}/{key}".encode()).digest()
    )
    solved = {task.key for task in tasks if task.targets}
    examples = [key for key in ranked if key in solved][: min(EXAMPLES_PER_FAMILY, len(solved) // 4)]
    rest = [key for key in ranked if key not in examples]
    test = set(rest[: max(1, round(config.tasks.test_fraction * len(rest)))])

    def split_of(key: str) -> Split:
        return "example" if key in examples else "test" if key in test else "train"

    return [dataclasses.replace(task, split=split_of(task.key)) for task in tasks]


def _without_crossing(tasks: list[Task]) -> list[Task]:
    """The same tasks; a key that several sources put into different splits is for test everywhere."""
    splits: dict[str, set[Split]] = {}
    for task in tasks:
        splits.setdefault(task.key, set()).add(task.split)
    return [dataclasses.replace(task, split="test") if len(splits[task.key]) > 1 else task for task in tasks]


def write_tasks(config: Config, run: Run) -> dict[str, Any]:
    """Write the run's tasks and its copy of the handout; returns how many tasks each split has."""
    tasks = build_tasks(config)
    write_text(run.handout_file, shipped(config.attention.handout).read_text(encoding="utf-8"))
    write_text(run.tasks_file, dump_lines(tasks))
    return {split: sum(task.split == split for task in tasks) for split in ("train", "test", "example")}
