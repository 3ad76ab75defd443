"""What is labelled: two completions of one task, the same for every labeler.

Takes a run's tasks, completions and pairs; leaves comparisons in an order that depends on the seed alone. The run's own
pairs alternate with couples drawn from all completions, so that ties can occur and the validator is not right by
construction; any beginning of the list is such a mixture. A comparison's id covers both texts: labels of other samples
never count for it. No model.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import random
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet

from pipelines.errors import DataError
from pipelines.records import Completion, Task, load_lines
from pipelines.run.folder import Run

Couple = tuple[str, int, int]
"""Task id and the indices of two of its completions, the smaller first."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two completions of one task with different texts, in an order that says nothing about which is better."""

    task: Task
    first: Completion
    second: Completion

    @property
    def id(self) -> str:
        """16 hexadecimal digits that change when the request, an index, a text or an ending does."""
        sides = [[side.index, side.text, side.finish_reason] for side in (self.first, self.second)]
        return hashlib.sha256(json.dumps([self.task.id, self.task.prompt, *sides]).encode()).hexdigest()[:16]


def load_comparisons(run: Run, seed: int) -> list[Comparison]:
    """All comparisons of a run, in labelling order; needs the samples and the dataset."""
    tasks = load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))
    completions = load_lines(Completion, run.require(run.completions_file, "sample_completions.py"))
    folder = run.require(run.dataset, "build_preferences.py") / "pairs"
    comparisons = choose_comparisons(tasks, completions, _read_couples(folder), seed)
    if not comparisons:
        raise DataError(f"{run.completions_file}: no task has two different texts to compare; sample more per task")
    return comparisons


def choose_comparisons(
    tasks: Sequence[Task], completions: Iterable[Completion], pairs: Iterable[Couple], seed: int
) -> list[Comparison]:
    """The couples in `pairs` alternating with one drawn couple per task, each kind in random order.

    A drawn couple differs in text from each other and from the task's pairs, and both sides ended by themselves.
    DataError when a pair names a completion that is not there.
    """
    by_task: dict[str, dict[int, Completion]] = {task.id: {} for task in tasks}
    for row in completions:
        by_task.setdefault(row.task_id, {})[row.index] = row
    paired = sorted(set(pairs))
    for task_id, *indices in paired:
        if not set(indices) <= by_task.get(task_id, {}).keys():
            raise DataError(
                f"the dataset's pairs name a completion {indices} of {task_id!r} that is not in the samples; "
                "run scripts/build_preferences.py again"
            )
    texts = {frozenset(by_task[task_id][index].text for index in indices) for task_id, *indices in paired}
    drawn = [couple for task in tasks for couple in _draw(task.id, by_task[task.id], texts, seed)]
    rng = random.Random(f"{seed}/comparisons")  # noqa: S311 - reproducible, not secret
    rng.shuffle(paired)
    rng.shuffle(drawn)
    known = {task.id: task for task in tasks}
    mixed = [couple for two in itertools.zip_longest(paired, drawn) for couple in two if couple]
    return [_compare(known[couple[0]], by_task[couple[0]], couple, seed) for couple in mixed]


def _draw(
    task_id: str, rows: dict[int, Completion], taken: set[frozenset[str]], seed: int
) -> Iterator[tuple[str, int, int]]:
    """One couple of the task, if it has one that is not taken."""
    distinct: dict[str, int] = {}
    for index in sorted(rows):
        if rows[index].finish_reason == "stop":
            distinct.setdefault(rows[index].text, index)
    couples = [
        (task_id, one, other)
        for (text, one), (other_text, other) in itertools.combinations(distinct.items(), 2)
        if frozenset((text, other_text)) not in taken
    ]
    if couples:
        yield random.Random(f"{seed}/{task_id}/comparisons").choice(couples)  # noqa: S311 - reproducible, not secret


def _compare(task: Task, rows: dict[int, Completion], couple: Couple, seed: int) -> Comparison:
    _, one, other = couple
    swap = random.Random(f"{seed}/{couple}/order").random() < 0.5  # noqa: S311 - reproducible, not secret
    first, second = (other, one) if swap else (one, other)
    return Comparison(task=task, first=rows[first], second=rows[second])


def _read_couples(folder: Path) -> Iterator[Couple]:
    """The pairs of a dataset folder, of all splits, without saying which side was chosen."""
    for file in sorted(folder.glob("*.parquet")):
        table = pyarrow.parquet.read_table(file, columns=["task_id", "chosen_index", "rejected_index"])
        for row in table.to_pylist():
            one, other = sorted((row["chosen_index"], row["rejected_index"]))
            yield row["task_id"], one, other
