"""Which completion is preferred to which, by verdict alone.

Reads tasks, completions, their verdicts and scores; returns pairs and the fate of every completion, so that what was
not used is counted with its reason. Three strategies, all seeded: each failure with a random success, each failure with
the success most like it, the best with the worst. No model, no files.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from pipelines import seeds
from pipelines.errors import DataError
from pipelines.records import Completion, Pair, Task, Verdict
from pipelines.sections import PreferencesConfig

Judged = tuple[Completion, Verdict]
Couple = tuple[Completion, Completion]
CUT_OFF = "cut off by the token limit"
REPEATED = "same text as another sample of the task"
ONE_KIND = {True: "task has passing samples only", False: "task has no passing sample"}
TIED = "task has no two samples of different score"
SAME_TOKENS = "same tokens as the other side after the chat template"
BEYOND_CAP = "beyond the caps on pairs"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """One task's completions, ready to be paired: distinct texts, none that may not be used."""

    rows: Sequence[Judged]
    scores: Mapping[int, float]
    """Score in [0, 1] by the completion's index."""

    def by_outcome(self, *, passed: bool) -> list[Completion]:
        """Those that pass all tiers of the task, or those that do not."""
        return [row for row, verdict in self.rows if verdict.passed == passed]


def build_pairs(
    tasks: Sequence[Task],
    judged: Mapping[str, Sequence[Judged]],
    scores: Mapping[tuple[str, int], float],
    settings: PreferencesConfig,
    seed: int,
    *,
    same_tokens: Callable[[str, str], bool] = str.__eq__,
) -> tuple[list[Pair], Counter[str]]:
    """Pairs in the order of `tasks`, and how many completions met which fate; the fates add up to all of them.

    `judged` maps a task's id to its completions, `scores` (task id, index) to a score in [0, 1]; `same_tokens` says
    whether two texts become the same tokens when trained on. Of every pair the chosen side scores strictly more, ended
    by itself, and differs as text and as tokens; the rejected side ended by itself unless the settings allow truncated
    ones. DataError, with the histogram of pass rates, when no pair is left.
    """
    pairs: list[Pair] = []
    fates: dict[tuple[str, int], str] = {}
    for task in tasks:
        rng = seeds.rng(seed, f"{task.id}/pairs")
        own = {row.index: scores[task.id, row.index] for row, _ in judged[task.id]}
        candidates = Candidates(rows=_usable(judged[task.id], settings, fates), scores=own)
        made = 0
        for chosen, rejected in STRATEGIES[settings.strategy](candidates, rng):
            if same_tokens(chosen.text, rejected.text):
                fates[task.id, rejected.index] = SAME_TOKENS
            elif made < settings.max_pairs_per_task:
                margin = own[chosen.index] - own[rejected.index]
                pairs.append(_pair(task, chosen, rejected, margin))
                made += 1
        if not made:
            reason = _why_none(candidates)
            for row, _ in candidates.rows:
                fates.setdefault((task.id, row.index), reason)
    pairs = _cap_families(pairs, {task.id: task.family for task in tasks}, settings.max_pairs_per_family, seed)
    if not pairs:
        raise DataError(_why_empty(tasks, judged))
    fates.update({(pair.task_id, pair.rejected_index): "rejected" for pair in pairs})
    fates.update({(pair.task_id, pair.chosen_index): "chosen" for pair in pairs})
    every = [(task.id, row.index) for task in tasks for row, _ in judged[task.id]]
    return pairs, Counter(fates.get(sample, BEYOND_CAP) for sample in every)


def _pair(task: Task, chosen: Completion, rejected: Completion, margin: float) -> Pair:
    assert margin > 0
    assert chosen.finish_reason == "stop"
    assert chosen.text != rejected.text
    return Pair(task_id=task.id, chosen_index=chosen.index, rejected_index=rejected.index, margin=margin)


def _usable(rows: Sequence[Judged], settings: PreferencesConfig, fates: dict[tuple[str, int], str]) -> list[Judged]:
    """The first of each text, without those cut off unless they may be rejected; the fate of the others is noted."""
    usable: list[Judged] = []
    seen: set[str] = set()
    for row, verdict in rows:
        if row.finish_reason == "length" and not settings.allow_truncated_rejected:
            fates[row.task_id, row.index] = CUT_OFF
        elif row.text in seen:
            fates[row.task_id, row.index] = REPEATED
        else:
            seen.add(row.text)
            usable.append((row, verdict))
    return usable


def failure_success(candidates: Candidates, rng: random.Random) -> Iterator[Couple]:
    """Each failure, in random order, with a random success."""
    passing, failing = candidates.by_outcome(passed=True), candidates.by_outcome(passed=False)
    rng.shuffle(failing)
    for rejected in failing if passing else ():
        yield rng.choice(passing), rejected


def nearest_failure(candidates: Candidates, rng: random.Random) -> Iterator[Couple]:
    """Successes and failures by edit distance, nearest first, each failure once. Ties fall by the seed."""
    passing, failing = candidates.by_outcome(passed=True), candidates.by_outcome(passed=False)
    rng.shuffle(failing)
    couples = [(chosen, rejected) for rejected in failing for chosen in passing]
    used: set[int] = set()
    for chosen, rejected in sorted(couples, key=lambda couple: Levenshtein.distance(couple[0].text, couple[1].text)):
        if rejected.index not in used:
            used.add(rejected.index)
            yield chosen, rejected


def best_worst(candidates: Candidates, rng: random.Random) -> Iterator[Couple]:
    """The best score with the worst, the next best with the next worst, while they differ. Ties fall by the seed."""
    ranked = [row for row, _ in candidates.rows]
    rng.shuffle(ranked)
    ranked.sort(key=lambda row: candidates.scores[row.index], reverse=True)
    for chosen, rejected in zip(ranked[: len(ranked) // 2], reversed(ranked), strict=False):
        if candidates.scores[chosen.index] > candidates.scores[rejected.index]:
            yield chosen, rejected


STRATEGIES: dict[str, Callable[[Candidates, random.Random], Iterator[Couple]]] = {
    "failure_success": failure_success,
    "nearest_failure": nearest_failure,
    "best_worst": best_worst,
}


def _why_none(candidates: Candidates) -> str:
    outcomes = {verdict.passed for _, verdict in candidates.rows}
    return ONE_KIND[outcomes.pop()] if len(outcomes) == 1 else TIED


def _cap_families(pairs: list[Pair], family: Mapping[str, str], cap: int | None, seed: int) -> list[Pair]:
    """At most `cap` pairs of a family, a seeded choice among them, in their order."""
    if cap is None:
        return pairs
    rng = seeds.rng(seed, "family cap")
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
    """How many tasks have none of their samples pass, up to a quarter, and so on, and all."""
    names = ("0 %", "up to 25 %", "up to 50 %", "up to 75 %", "below 100 %", "100 %")
    counts = dict.fromkeys(names, 0)
    for rate in rates:
        place = 0 if rate == 0 else 5 if rate == 1 else 1 + sum(rate > edge for edge in (0.25, 0.5, 0.75))
        counts[names[place]] += 1
    return counts


def _why_empty(tasks: Sequence[Task], judged: Mapping[str, Sequence[Judged]]) -> str:
    rates = pass_rates(tasks, judged)
    histogram = pass_rate_histogram(rates).items()
    shown = ", ".join(f"{count} of {len(rates)} at {name}" for name, count in histogram if count)
    if rates and max(rates) == 0:
        finding = "every sample failed"
        remedy = "raise sampling.worked_examples or sampling.max_new_tokens, or use easier tasks"
    elif rates and min(rates) == 1:
        finding, remedy = "every sample passed", "use harder tasks: there is nothing left to prefer"
    else:
        finding = "no task has both a passing and a failing sample"
        remedy = "raise sampling.samples_per_task"
    return f"no pair can be built: {finding}; tasks by share of passing samples: {shown}; {remedy}"
