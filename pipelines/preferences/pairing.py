"""Which completion is preferred to which, by verdict alone.

Reads tasks, their samples and scores; returns pairs and the outcome of every sample, so that what was not used is
counted with its reason. Three strategies, all seeded: each failure with a random success, each failure with the
success most like it, the best with the worst. An answer that was repaired is paired with the one it was repaired from
before all else: they share all but the mistake. Where the schema alone decides, and so nearly everything passes that
was drawn under its grammar, only the likeliest answers are preferred. No model, no files.
"""

from __future__ import annotations

import dataclasses
import itertools
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

from rapidfuzz.distance import Levenshtein

from pipelines import seeds
from pipelines.config import PROPOSALS, PreferencesConfig
from pipelines.errors import DataError
from pipelines.records import Pair, Sample, Task

Couple = tuple[Sample, Sample]
"""The preferred, and the other."""
CUT_OFF = "cut off by the token limit"
REPEATED = "same text as another sample of the task"
ONE_KIND = {True: "task has passing samples only", False: "task has no passing sample"}
TIED = "task has no two samples of different score"
SAME_TOKENS = "same tokens as the other side after the chat template"
_LIKELIEST = 2
"""Answers of a task to prefer where the schema alone decides."""
BEYOND_CAP = "beyond the caps on pairs"


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Candidates:
    """One task's samples, ready to be paired: distinct texts, none that may not be used."""

    samples: Sequence[Sample]
    scores: Mapping[int, float]
    """Score in [0, 1] by the sample's index."""

    schema_alone: bool = False
    """Whether nothing but the schema says what is right."""

    def passing(self) -> list[Sample]:
        """Those to prefer: all that pass; where the schema alone decides, of these the likeliest token by token."""
        passed = [sample for sample in self.samples if sample.verdict.passed]
        if not self.schema_alone or any(sample.logprob_nats is None for sample in passed):
            return passed
        return sorted(passed, key=_nats_per_token, reverse=True)[:_LIKELIEST]

    def failing(self) -> list[Sample]:
        """Those that do not pass."""
        return [sample for sample in self.samples if not sample.verdict.passed]


def build_pairs(
    tasks: Iterable[Task],
    samples: Mapping[str, Sequence[Sample]],
    score: Callable[[Sample], float],
    settings: PreferencesConfig,
    seed: int,
    *,
    same_tokens: Callable[[str, str], bool] = str.__eq__,
) -> tuple[list[Pair], Counter[str]]:
    """Pairs in the order of `tasks`, and how many samples met which outcome; the outcomes add up to all of them.

    `samples` maps a task's id to its samples, `score` says what one is worth, in [0, 1]; `same_tokens` says whether two
    texts become the same tokens when trained on. Of every pair the chosen side scores strictly more, ended by itself,
    and differs as text and as tokens; the rejected side ended by itself unless the settings allow truncated ones.
    DataError, with the histogram of pass rates, when fewer are left than the settings ask for. Tasks are gone through
    once, and their samples looked up one task at a time: in memory are the pairs and a number for each task.
    """
    pairs: list[Pair] = []
    by_family: dict[str, list[int]] = {}
    outcomes: Counter[str] = Counter()
    rates: list[float] = []
    for task in tasks:
        own = samples[task.id]
        noted: dict[int, str] = {}
        candidates = Candidates(
            samples=_usable(own, settings, noted),
            scores={one.index: score(one) for one in own},
            schema_alone=only_schema_decides(task) and not any(one.verdict.verified is not None for one in own),
        )
        made = _pair_task(task, candidates, settings, seeds.rng(seed, f"{task.id}/pairs"), same_tokens, noted)
        by_family.setdefault(task.family, []).extend(range(len(pairs), len(pairs) + len(made)))
        pairs += made
        noted |= _sides(made)
        outcomes.update(noted.get(sample.index, BEYOND_CAP) for sample in own)
        rates += [pass_rate(own)] if own else []
    kept = _cap_families(pairs, by_family, settings.max_pairs_per_family, seed)
    if len(kept) < settings.min_pairs:
        raise DataError(_why_too_few(rates, len(kept)))
    if len(kept) < len(pairs):
        beyond = _count_sides(pairs)
        beyond.subtract(_count_sides(kept))
        outcomes.subtract(beyond)
        outcomes[BEYOND_CAP] += beyond.total()
    return kept, +outcomes


def _pair_task(
    task: Task,
    candidates: Candidates,
    settings: PreferencesConfig,
    rng: random.Random,
    same_tokens: Callable[[str, str], bool],
    outcomes: dict[int, str],
) -> list[Pair]:
    """One task's pairs, at most so many as the settings allow; why a sample is in none is noted where it is known."""
    pairs: list[Pair] = []
    repaired = list(_repaired(candidates))
    known = {(chosen.index, rejected.index) for chosen, rejected in repaired}
    others = STRATEGIES[settings.strategy](candidates, rng)
    for chosen, rejected in itertools.chain(repaired, (two for two in others if _indices(two) not in known)):
        if same_tokens(chosen.completion, rejected.completion):
            outcomes[rejected.index] = SAME_TOKENS
        elif len(pairs) < settings.max_pairs_per_task:
            margin = candidates.scores[chosen.index] - candidates.scores[rejected.index]
            pairs.append(_pair(task, chosen, rejected, margin))
    if not pairs:
        reason = _why_none(candidates)
        for sample in candidates.samples:
            outcomes.setdefault(sample.index, reason)
    return pairs


def only_schema_decides(task: Task) -> bool:
    """Whether nothing is known of the right answer but its schema."""
    return task.schema is not None and not task.targets and task.answer_schema is None


def _pair(task: Task, chosen: Sample, rejected: Sample, margin: float) -> Pair:
    assert margin > 0
    assert chosen.finish_reason == "stop"
    assert chosen.completion != rejected.completion
    return Pair(task_id=task.id, chosen_index=chosen.index, rejected_index=rejected.index, margin=margin)


def _sides(pairs: Iterable[Pair]) -> dict[int, str]:
    """Index → side of a task's samples that stand in one of its pairs."""
    rejected = {pair.rejected_index: "rejected" for pair in pairs}
    return rejected | {pair.chosen_index: "chosen" for pair in pairs}


def _count_sides(pairs: Iterable[Pair]) -> Counter[str]:
    """How many samples are a side of pairs that stand together by task."""
    by_task = itertools.groupby(pairs, lambda pair: pair.task_id)
    return Counter(side for _, own in by_task for side in _sides(list(own)).values())


def _usable(samples: Sequence[Sample], settings: PreferencesConfig, outcomes: dict[int, str]) -> list[Sample]:
    """The first of each text, without those cut off unless they may be rejected; the outcome of the others is noted."""
    usable: list[Sample] = []
    seen: set[str] = set()
    for sample in samples:
        if sample.finish_reason == "length" and not settings.allow_truncated_rejected:
            outcomes[sample.index] = CUT_OFF
        elif sample.completion in seen:
            outcomes[sample.index] = REPEATED
        else:
            seen.add(sample.completion)
            usable.append(sample)
    return usable


def _repaired(candidates: Candidates) -> Iterator[Couple]:
    """Each answer that was repaired and passes, with a failure that begins as it did, each failure once."""
    used: set[int] = set()
    for chosen in candidates.passing():
        begun = chosen.token_ids[: chosen.prefix_tokens] if chosen.token_ids and chosen.source == "repair" else ()
        for rejected in candidates.failing() if begun else ():
            if rejected.index not in used and (rejected.token_ids or ())[: len(begun)] == begun:
                used.add(rejected.index)
                yield chosen, rejected
                break


def _indices(couple: Couple) -> tuple[int, int]:
    return couple[0].index, couple[1].index


def _nats_per_token(sample: Sample) -> float:
    assert sample.logprob_nats is not None
    return sample.logprob_nats / max(1, sample.completion_tokens)


def failure_success(candidates: Candidates, rng: random.Random) -> Iterator[Couple]:
    """Each failure with a random success; in random order, those of proposals last."""
    passing, failing = candidates.passing(), candidates.failing()
    rng.shuffle(failing)
    failing.sort(key=lambda one: one.source in PROPOSALS)
    for rejected in failing if passing else ():
        yield rng.choice(passing), rejected


def nearest_failure(candidates: Candidates, rng: random.Random) -> Iterator[Couple]:
    """Successes and failures by edit distance, nearest first, each failure once. Ties fall by the seed."""
    passing, failing = candidates.passing(), candidates.failing()
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


def _cap_families(pairs: list[Pair], by_family: Mapping[str, list[int]], cap: int | None, seed: int) -> list[Pair]:
    """At most `cap` pairs of a family, a seeded choice among them, in their order; `by_family` holds their places."""
    if cap is None:
        return pairs
    rng = seeds.rng(seed, "family cap")
    kept: set[int] = set()
    for members in by_family.values():
        kept |= set(members if len(members) <= cap else rng.sample(members, cap))
    return [pair for index, pair in enumerate(pairs) if index in kept]


def pass_rate(samples: Sequence[Sample]) -> float:
    """Share in [0, 1] of a task's samples, of which there are some, that pass."""
    return sum(sample.verdict.passed for sample in samples) / len(samples)


def pass_rate_histogram(rates: Iterable[float]) -> dict[str, int]:
    """How many tasks have none of their samples pass, up to a quarter, and so on, and all."""
    names = ("0 %", "up to 25 %", "up to 50 %", "up to 75 %", "below 100 %", "100 %")
    counts = dict.fromkeys(names, 0)
    for rate in rates:
        place = 0 if rate == 0 else 5 if rate == 1 else 1 + sum(rate > edge for edge in (0.25, 0.5, 0.75))
        counts[names[place]] += 1
    return counts


def _why_too_few(rates: Sequence[float], made: int) -> str:
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
