"""Which completion is preferred to which, by verdict alone.

Reads tasks, their samples and scores; returns pairs and the outcome of every sample, so that what was not used is
counted with its reason. Three strategies, all seeded: each failure with a random success, each failure with the
success most like it, the best with the worst. No model, no files.
"""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from pipelines import seeds
from pipelines.config import PreferencesConfig
from pipelines.errors import DataError
from pipelines.records import Pair, Sample, Task

Couple = tuple[Sample, Sample]
"""The preferred, and the other."""
CUT_OFF = "cut off by the token limit"
REPEATED = "same text as another sample of the task"
ONE_KIND = {True: "task has passing samples only", False: "task has no passing sample"}
TIED = "task has no two samples of different score"
SAME_TOKENS = "same tokens as the other side after the chat template"
BEYOND_CAP = "beyond the caps on pairs"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """One task's samples, ready to be paired: distinct texts, none that may not be used."""

    samples: Sequence[Sample]
    scores: Mapping[int, float]
    """Score in [0, 1] by the sample's index."""

    def by_outcome(self, *, passed: bool) -> list[Sample]:
        """Those that pass all tiers of the task, or those that do not."""
        return [sample for sample in self.samples if sample.verdict.passed == passed]


def build_pairs(
    tasks: Sequence[Task],
    samples: Mapping[str, Sequence[Sample]],
    scores: Mapping[tuple[str, int], float],
    settings: PreferencesConfig,
    seed: int,
    *,
    same_tokens: Callable[[str, str], bool] = str.__eq__,
) -> tuple[list[Pair], Counter[str]]:
    """Pairs in the order of `tasks`, and how many samples met which outcome; the outcomes add up to all of them.

    `samples` maps a task's id to its samples, `scores` (task id, index) to a score in [0, 1]; `same_tokens` says
    whether two texts become the same tokens when trained on. Of every pair the chosen side scores strictly more, ended
    by itself, and differs as text and as tokens; the rejected side ended by itself unless the settings allow truncated
    ones. DataError, with the histogram of pass rates, when fewer are left than the settings ask for.
    """
    pairs: list[Pair] = []
    outcomes: dict[tuple[str, int], str] = {}
    for task in tasks:
        rng = seeds.rng(seed, f"{task.id}/pairs")
        own = {sample.index: scores[task.id, sample.index] for sample in samples[task.id]}
        candidates = Candidates(samples=_usable(samples[task.id], settings, outcomes), scores=own)
        made = 0
        for chosen, rejected in STRATEGIES[settings.strategy](candidates, rng):
            if same_tokens(chosen.completion, rejected.completion):
                outcomes[task.id, rejected.index] = SAME_TOKENS
            elif made < settings.max_pairs_per_task:
                margin = own[chosen.index] - own[rejected.index]
                pairs.append(_pair(task, chosen, rejected, margin))
                made += 1
        if not made:
            reason = _why_none(candidates)
            for sample in candidates.samples:
                outcomes.setdefault((task.id, sample.index), reason)
    pairs = _cap_families(pairs, {task.id: task.family for task in tasks}, settings.max_pairs_per_family, seed)
    if len(pairs) < settings.min_pairs:
        raise DataError(_why_too_few(tasks, samples, len(pairs)))
    outcomes.update({(pair.task_id, pair.rejected_index): "rejected" for pair in pairs})
    outcomes.update({(pair.task_id, pair.chosen_index): "chosen" for pair in pairs})
    every = [(task.id, sample.index) for task in tasks for sample in samples[task.id]]
    return pairs, Counter(outcomes.get(place, BEYOND_CAP) for place in every)


def _pair(task: Task, chosen: Sample, rejected: Sample, margin: float) -> Pair:
    assert margin > 0
    assert chosen.finish_reason == "stop"
    assert chosen.completion != rejected.completion
    return Pair(task_id=task.id, chosen_index=chosen.index, rejected_index=rejected.index, margin=margin)


def _usable(
    samples: Sequence[Sample], settings: PreferencesConfig, outcomes: dict[tuple[str, int], str]
) -> list[Sample]:
    """The first of each text, without those cut off unless they may be rejected; the outcome of the others is noted."""
    usable: list[Sample] = []
    seen: set[str] = set()
    for sample in samples:
        if sample.finish_reason == "length" and not settings.allow_truncated_rejected:
            outcomes[sample.task_id, sample.index] = CUT_OFF
        elif sample.completion in seen:
            outcomes[sample.task_id, sample.index] = REPEATED
        else:
            seen.add(sample.completion)
            usable.append(sample)
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
    for chosen, rejected in sorted(
        couples, key=lambda couple: Levenshtein.distance(couple[0].completion, couple[1].completion)
    ):
        if rejected.index not in used:
            used.add(rejected.index)
            yield chosen, rejected


def best_worst(candidates: Candidates, rng: random.Random) -> Iterator[Couple]:
    """The best score with the worst, the next best with the next worst, while they differ. Ties fall by the seed."""
    ranked = list(candidates.samples)
    rng.shuffle(ranked)
    ranked.sort(key=lambda sample: candidates.scores[sample.index], reverse=True)
    for chosen, rejected in zip(ranked[: len(ranked) // 2], reversed(ranked), strict=False):
        if candidates.scores[chosen.index] > candidates.scores[rejected.index]:
            yield chosen, rejected


STRATEGIES: dict[str, Callable[[Candidates, random.Random], Iterator[Couple]]] = {
    "failure_success": failure_success,
    "nearest_failure": nearest_failure,
    "best_worst": best_worst,
}


def _why_none(candidates: Candidates) -> str:
    passed = {sample.verdict.passed for sample in candidates.samples}
    return ONE_KIND[passed.pop()] if len(passed) == 1 else TIED


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


def pass_rates(tasks: Sequence[Task], samples: Mapping[str, Sequence[Sample]]) -> list[float]:
    """Share in [0, 1] of each task's samples that pass, in the order of `tasks`; tasks without any are left out."""
    return [
        sum(sample.verdict.passed for sample in samples[task.id]) / len(samples[task.id])
        for task in tasks
        if samples[task.id]
    ]


def pass_rate_histogram(rates: Sequence[float]) -> dict[str, int]:
    """How many tasks have none of their samples pass, up to a quarter, and so on, and all."""
    names = ("0 %", "up to 25 %", "up to 50 %", "up to 75 %", "below 100 %", "100 %")
    counts = dict.fromkeys(names, 0)
    for rate in rates:
        place = 0 if rate == 0 else 5 if rate == 1 else 1 + sum(rate > edge for edge in (0.25, 0.5, 0.75))
        counts[names[place]] += 1
    return counts


def _why_too_few(tasks: Sequence[Task], samples: Mapping[str, Sequence[Sample]], made: int) -> str:
    rates = pass_rates(tasks, samples)
    histogram = pass_rate_histogram(rates).items()
    shown = ", ".join(f"{count} of {len(rates)} at {name}" for name, count in histogram if count)
    failing = sum(rate == 0 for rate in rates)
    if rates and failing > len(rates) / 2:
        finding = (
            "every sample failed" if failing == len(rates) else f"{failing} of {len(rates)} tasks were never right"
        )
        remedy = "raise sampling.few_shot or sampling.max_new_tokens, or use easier tasks"
    elif rates and sum(rate == 1 for rate in rates) > len(rates) / 2:
        finding, remedy = "most tasks are always right", "use harder tasks: there is little left to prefer"
    else:
        finding = "too few tasks have both a passing and a failing sample"
        remedy = "raise sampling.samples_per_task, or use more tasks"
    pairs = "no pair can be built" if not made else f"only {made} {'pair' if made == 1 else 'pairs'} can be built"
    insist = f"; --set preferences.min_pairs={made} trains on them all the same" if made else ""
    return f"{pairs}: {finding}; tasks by share of passing samples: {shown}; {remedy}{insist}"
