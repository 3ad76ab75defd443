"""Pairs of earlier rounds that a later round trains on again, for tasks it has no pair of.

A round's pairs come of its failures, so a task that no longer fails has none, and a policy that is trained on the
others alone forgets it; to go over the old ones again is experience replay (as in Rolnick et al. 2019, arXiv
1811.11682). Reads the tables of this round and of those before; returns the rows to add.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from datasets import Dataset, concatenate_datasets

from pipelines import seeds


def replayed_pairs(
    pairs: Dataset, sampled: Iterable[str], earlier: Sequence[Dataset], per_family: int, seed: int
) -> Dataset:
    """Rows of `earlier`, latest round first, that fill each family of `pairs` up to `per_family` rows, in their order.

    Of tasks that were `sampled` for training in this round and left no pair; where there are more such rows of a round
    than there is room, a seeded choice. Every table has columns `task_id` and `family`.
    """
    open_tasks = set(sampled) - set(pairs["task_id"])
    room = {family: per_family - count for family, count in Counter(pairs["family"]).items()}
    rng = seeds.rng(seed, "replay")
    added = []
    for table in earlier:
        rows = list(enumerate(zip(table["task_id"], table["family"], strict=True)))
        rng.shuffle(rows)
        taken = []
        for index, (task, family) in rows:
            if task in open_tasks and room.setdefault(family, per_family) > 0:
                room[family] -= 1
                taken.append(index)
        added.append(table.select(sorted(taken)))
    return concatenate_datasets(added)
