"""Which completion is preferred to which: each failure beside a random success of the same task.

Takes tasks, completions and their verdicts; leaves pairs and the fate of every completion, so that what was not used is
counted with its reason. Seeded; no model, no files.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Mapping, Sequence

from pipelines.config import PreferencesConfig
from pipelines.errors import DataError
from pipelines.records import Completion, Pair, Task, Verdict

Judged = tuple[Completion, Verdict]


def build_pairs(
    tasks: Sequence[Task],
    judged: Mapping[str, Sequence[Judged]],
    scores: Mapping[tuple[str, int], float],
    settings: PreferencesConfig,
    seed: int,
) -> tuple[list[Pair], Counter[str]]:
    """Pairs in the order of `tasks`, and how many completions met which fate; the fates add up to all of them.

    `judged` maps a task's id to its completions, `scores` (task id, index) to a score in [0, 1]. A chosen completion
    passes every tier its task defines; a rejected one fails one, ended by itself (unless the settings allow truncated
    ones), differs from every other rejected one of its task, and scores strictly less. DataError when no pair is left.
    """
    pairs: list[Pair] = []
    fates: dict[tuple[str, int], str] = {}
    for task in tasks:
        rng = random.Random(f"{seed}/{task.id}/pairs")  # noqa: S311 - reproducible, not secret
        passing, failing = _sort(judged[task.id], settings, fates)
        if not passing or not failing:
            reason = "no passing sample for the task" if failing else "no failing sample for the task"
            fates.update({(task.id, row.index): reason for row in [*passing, *failing]})
            continue
        rng.shuffle(failing)
        for rejected in failing[: settings.max_pairs_per_task]:
            chosen = rng.choice(passing)
            margin = scores[task.id, chosen.index] - scores[task.id, rejected.index]
            if margin > 0:
                pairs.append(
                    Pair(task_id=task.id, chosen_index=chosen.index, rejected_index=rejected.index, margin=margin)
                )
    pairs = _cap_families(pairs, {task.id: task.family for task in tasks}, settings.max_pairs_per_family, seed)
    if not pairs:
        raise DataError(_why_empty(tasks, judged))
    fates.update({(pair.task_id, pair.chosen_index): "chosen" for pair in pairs})
    fates.update({(pair.task_id, pair.rejected_index): "rejected" for pair in pairs})
    every = [(task.id, row.index) for task in tasks for row, _ in judged[task.id]]
    return pairs, Counter(fates.get(sample, "beyond the caps on pairs") for sample in every)


def _sort(
    rows: Sequence[Judged], settings: PreferencesConfig, fates: dict[tuple[str, int], str]
) -> tuple[list[Completion], list[Completion]]:
    """The completions that may be chosen and those that may be rejected; the fate of the others is noted."""
    passing: list[Completion] = []
    failing: list[Completion] = []
    seen: set[str] = set()
    for row, verdict in rows:
        if row.finish_reason == "length" and not settings.allow_truncated_rejected:
            fates[row.task_id, row.index] = "cut off by the token limit"
        elif verdict.passed:
            passing.append(row)
        elif row.text in seen:
            fates[row.task_id, row.index] = "same text as another failing sample"
        else:
            seen.add(row.text)
            failing.append(row)
    return passing, failing


def _cap_families(pairs: list[Pair], family: Mapping[str, str], cap: int | None, seed: int) -> list[Pair]:
    """At most `cap` pairs of a family, a seeded choice among them, in their order."""
    if cap is None:
        return pairs
    rng = random.Random(f"{seed}/family cap")  # noqa: S311 - reproducible, not secret
    kept: set[int] = set()
    for name in dict.fromkeys(family.values()):
        members = [index for index, pair in enumerate(pairs) if family[pair.task_id] == name]
        kept |= set(members if len(members) <= cap else rng.sample(members, cap))
    return [pair for index, pair in enumerate(pairs) if index in kept]


def pass_rates(tasks: Sequence[Task], judged: Mapping[str, Sequence[Judged]]) -> list[float]:
    """Share in [0, 1] of each task's completions that pass, in the order of `tasks`; tasks without any are left out."""
    return [
        sum(verdict.passed for _, verdict in judged[task.id]) / len(judged[task.id])
        for task in tasks
        if judged[task.id]
    ]


def pass_rate_histogram(rates: Sequence[float]) -> dict[str, int]:
    """How many tasks never pass, pass sometimes (by quarter), and always pass."""
    names = ("0", "(0, ¼]", "(¼, ½]", "(½, ¾]", "(¾, 1)", "1")
    counts = dict.fromkeys(names, 0)
    for rate in rates:
        place = 0 if rate == 0 else 5 if rate == 1 else 1 + sum(rate > edge for edge in (0.25, 0.5, 0.75))
        counts[names[place]] += 1
    return counts


def _why_empty(tasks: Sequence[Task], judged: Mapping[str, Sequence[Judged]]) -> str:
    rates = pass_rates(tasks, judged)
    shown = ", ".join(f"{name}: {count}" for name, count in pass_rate_histogram(rates).items())
    if rates and max(rates) == 0:
        finding = "every sample failed"
        remedy = "raise sampling.worked_examples or sampling.max_new_tokens, or use easier tasks"
    elif rates and min(rates) == 1:
        finding, remedy = "every sample passed", "use harder tasks: there is nothing left to prefer"
    else:
        finding = "no task has both a passing and a failing sample"
        remedy = "raise sampling.samples_per_task"
    return f"no pair can be built: {finding}; tasks by pass rate: {shown}; {remedy}"
