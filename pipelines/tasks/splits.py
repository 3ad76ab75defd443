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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from pipelines import seeds
from pipelines.config import Config
from pipelines.errors import ConfigError, DataError, nearest
from pipelines.records import Split, Task, dump_lines
from pipelines.run.files import new_file, write_text
from pipelines.run.folder import Run
from pipelines.run.shipped import shipped
from pipelines.tasks.families import FAMILIES, Draft
from pipelines.tasks.handout import Handout, load_handout
from pipelines.tasks.keys import task_key
from pipelines.tasks.task_files import iterate_task_file

EXAMPLES_PER_FAMILY = 8
DRAWS_PER_TASK = 1000
"""Draws without a new key after which a family is taken to be exhausted."""
_STREAMS: dict[Split, str] = {"train": "train", "test": "held_out", "example": "example"}
"""Names of the generators that a family's splits are drawn from: these decide the tasks, whatever a split is called."""


@dataclasses.dataclass(kw_only=True, slots=True)
class _Keys:
    """What splits are decided by: of every task its key, without its texts."""

    of_files: list[Counter[str]]
    """For each task file its keys in order, and how many tasks of each have a target."""
    joined: dict[str, str]
    """Key of a file's task → the one it goes by instead, where keys share a prompt, directly or through others."""
    of_families: dict[str, set[str]]
    """Procedural family → the keys of its tasks, wherever they are from."""
    placed: dict[Split, set[str]]
    """Split → the keys that one source or another has put there."""

    def split_of(self, key: str) -> Split:
        """Where tasks of that key go; one that several sources put into different splits is for test everywhere."""
        splits = [split for split, keys in self.placed.items() if key in keys]
        return splits[0] if len(splits) == 1 else "test"


def build_tasks(config: Config) -> list[Task]:
    """All tasks of a run, in one list."""
    return list(iterate_tasks(config))


def iterate_tasks(config: Config) -> Iterator[Task]:
    """All tasks of a run: the handout's and the files', then those of the families.

    Task files are gone through twice, a line at a time: for what decides the splits, and for the tasks themselves. In
    memory are the families' tasks and, of each task of a file, its key and digests of id and prompt: some 400 bytes.
    """
    families = config.tasks.families
    for name in families:
        if name not in FAMILIES:
            raise ConfigError(
                f"tasks.families: unknown family {name!r}; did you mean {nearest(name, FAMILIES)!r}? "
                f"(known: {', '.join(FAMILIES)})"
            )
    handout = handout_task(load_handout(shipped(config.attention.handout)))
    files = [shipped(file) for file in config.tasks.files]
    keys = _read_keys(handout, files, config.tasks.group_by)
    for own in keys.of_files:
        _split_file(own, keys.placed, config)
    # Test before training: a training draw avoids every key that is already taken on the other side.
    plan: list[tuple[Split, dict[str, int]]] = [
        ("example", dict.fromkeys([*families, *({handout.family} & FAMILIES.keys())], EXAMPLES_PER_FAMILY)),
        ("test", {name: family.test for name, family in families.items()}),
        ("train", {name: family.train for name, family in families.items()}),
    ]
    drawn: list[Task] = []
    for split, counts in plan:
        for family, count in counts.items():
            drawn += _draw(family, split, count - (family == handout.family and split == "test"), config.seed, keys)
    yield handout
    for path in files:
        for task, _ in iterate_task_file(path, config.tasks.group_by):
            key = keys.joined.get(task.key, task.key)
            yield dataclasses.replace(task, key=key, split=keys.split_of(key))
    for task in drawn:
        yield dataclasses.replace(task, split=keys.split_of(task.key))


def _read_keys(handout: Task, files: Sequence[Path], group_by: str | None) -> _Keys:
    """The keys of the handout and the files, those that share a prompt joined; DataError for a task given twice."""
    of_files: list[Counter[str]] = [Counter() for _ in files]
    of_families: dict[str, set[str]] = {name: set() for name in (*FAMILIES, handout.family)}
    of_families[handout.family].add(handout.key)
    by_prompt = {_digest(json.dumps(handout.messages)): handout.key}
    sharing: list[tuple[str, str]] = []
    placed: list[tuple[Split, str]] = [("test", handout.key)]
    ids: dict[int, int] = {}
    for number, path in enumerate(files):
        for task, is_placed in iterate_task_file(path, group_by):
            if (name := _digest(task.id)) in ids:
                raise DataError(
                    f"{path}: holds the task {task.request[:80]!r} twice, word for word; take one out"
                    if ids[name] == number
                    else f"task {task.id!r} is in two task files of one name; take one out or rename a file"
                )
            ids[name] = number
            if is_placed:
                placed.append((task.split, task.key))
            else:
                of_files[number][task.key] += bool(task.targets)
            if task.family in of_families:
                of_families[task.family].add(task.key)
            known = by_prompt.setdefault(_digest(json.dumps(task.messages)), task.key)
            if known != task.key:
                sharing.append((known, task.key))
    joined = _join([Counter([handout.key]), *of_files, Counter(key for _, key in placed)], sharing)

    def under_joined(keys: Counter[str]) -> Counter[str]:
        found: Counter[str] = Counter()
        for key, solved in keys.items():
            found[joined.get(key, key)] += solved
        return found

    return _Keys(
        of_files=[under_joined(keys) for keys in of_files],
        joined=joined,
        of_families={name: {joined.get(key, key) for key in keys} for name, keys in of_families.items()},
        placed={side: {joined.get(key, key) for own, key in placed if own == side} for side in _STREAMS},
    )


def _digest(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big")


def _join(in_order: Sequence[Counter[str]], sharing: Sequence[tuple[str, str]]) -> dict[str, str]:
    """Key → the first key that it shares a prompt with, directly or through others; only those that share one."""
    parent = {key: key for couple in sharing for key in couple}
    first = dict.fromkeys(key for keys in in_order for key in keys if key in parent)
    place = {key: number for number, key in enumerate(first)}

    def root(key: str) -> str:
        while parent[key] != key:
            parent[key] = key = parent[parent[key]]
        return key

    for couple in sharing:
        low, high = sorted(map(root, couple), key=place.__getitem__)
        parent[high] = low
    return {key: root(key) for key in parent}


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


def _draw(family: str, split: Split, count: int, seed: int, keys: _Keys) -> list[Task]:
    """`count` tasks of a family whose keys are new to the family and to every other split; the keys are noted."""
    rng = seeds.rng(seed, f"{family}/{_STREAMS[split]}")
    others = [placed for side, placed in keys.placed.items() if side != split]
    taken = keys.of_families[family].union(*others)
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
    for known in (keys.placed[split], keys.of_families[family]):
        known.update(task.key for task in drawn)
    return drawn


def _task(draft: Draft, family: str, split: Split) -> Task:
    target, schema = json.dumps(draft.target), json.dumps(draft.schema)
    key = task_key(target, draft.prompt, schema)
    return Task(
        id=f"{family}/{key}", family=family, key=key, split=split, prompt=draft.prompt, schema=schema, targets=(target,)
    )


def _split_file(keys: Counter[str], placed: dict[Split, set[str]], config: Config) -> None:
    """Place a task file's keys, ranked by hash: the first with a target serve as examples, the next are for test."""
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{config.seed}/{key}".encode()).digest())
    examples = [key for key in ranked if keys[key]][: min(EXAMPLES_PER_FAMILY, sum(map(bool, keys.values())) // 4)]
    rest = [key for key in ranked if key not in examples]
    tests = max(1, round(config.tasks.test_fraction * len(rest)))
    placed["example"].update(examples)
    placed["test"].update(rest[:tests])
    placed["train"].update(rest[tests:])


def write_tasks(config: Config, run: Run) -> dict[str, Any]:
    """Write the run's tasks and its copy of the handout; returns how many tasks each split has."""
    counts = dict.fromkeys(("train", "test", "example"), 0)
    with new_file(run.tasks_file) as file:
        for task in iterate_tasks(config):
            counts[task.split] += 1
            file.write(dump_lines([task]).encode())
        write_text(run.handout_file, shipped(config.attention.handout).read_text(encoding="utf-8"))
    return counts
