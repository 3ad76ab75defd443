"""Scores over many seeded sequences: five tokens are an anecdote, and the best of 270 heads on them is partly luck.

Reads a function from token ids to scores; returns each head's mean with a 95 % interval over seeds, and the best heads
picked on one half of the seeds and reported on the other. Needs no model itself. NumPy only.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float

from pipelines.errors import DataError

ScoresOf = Callable[[tuple[int, ...]], dict[str, Float[np.ndarray, "layer head"]]]
REPEATED = 50
"""Random tokens that are repeated once: long enough that a copy is no neighbour."""
ALTERNATING = 33
"""Symbols of an alternating sequence; odd, so that it ends as it began, as the handout's does."""
# Two-sided 95 % quantiles of Student's t for 1 to 30 degrees of freedom; beyond, the normal's.
_T95 = [
    float(quantile)
    for quantile in (
        "12.706 4.303 3.182 2.776 2.571 2.447 2.365 2.306 2.262 2.228 2.201 2.179 2.160 2.145 2.131 "
        "2.120 2.110 2.101 2.093 2.086 2.080 2.074 2.069 2.064 2.060 2.056 2.052 2.048 2.045 2.042"
    ).split()
]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Ensemble:
    """One score of every head over seeded sequences."""

    mean: Float[np.ndarray, "layer head"]
    margin: Float[np.ndarray, "layer head"]
    """Half the width of the 95 % interval of the mean over seeds (Student's t)."""
    seeds: int


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PickedHead:
    """A head chosen for a score on the even seeds, and its score on the odd ones."""

    layer: int
    head: int
    picked_on: float
    mean: float
    """Over the seeds that had no part in the choice."""
    margin: float


def alternating(digits: Sequence[int], letters: Sequence[int], seed: int) -> tuple[int, ...]:
    """`1 a 2 b …` with random symbols: ids of a digit and of a letter in turn, 33 in all."""
    random = np.random.default_rng(seed)
    drawn = [random.choice(kind, ALTERNATING // 2 + 1) for kind in (digits, letters)]
    return tuple(int(drawn[place % 2][place // 2]) for place in range(ALTERNATING))


def shuffled_classes(digits: Sequence[int], letters: Sequence[int], seed: int) -> tuple[int, ...]:
    """The control: the symbols of `alternating` in random order, so that class and distance come apart."""
    ids = np.array(alternating(digits, letters, seed))
    return tuple(int(token) for token in np.random.default_rng([seed, 1]).permutation(ids))


def repeated(candidates: Sequence[int], seed: int, prefix: Sequence[int] = ()) -> tuple[int, ...]:
    """`[prefix] r r` with r of 50 distinct random tokens: what induction and duplicate-token heads are found on."""
    if len(candidates) < REPEATED:
        raise DataError(f"repeated sequences need {REPEATED} different tokens, got {len(candidates)}; name more")
    once = np.random.default_rng(seed).choice(np.asarray(candidates), REPEATED, replace=False)
    return (*prefix, *(int(token) for token in once), *(int(token) for token in once))


def measure(scores_of: ScoresOf, sequences: Iterable[tuple[int, ...]], names: Sequence[str]) -> dict[str, Ensemble]:
    """The named scores over the sequences, one a seed. Raises DataError for fewer than two sequences."""
    runs = [scores_of(ids) for ids in sequences]
    return {name: _ensemble(np.stack([run[name] for run in runs])) for name in names}


def pick_heads(
    scores_of: ScoresOf, sequences: Sequence[tuple[int, ...]], name: str, count: int = 3
) -> list[PickedHead]:
    """The `count` best heads of a score on the even sequences, with their scores on the odd ones.

    Layer and head are places in the scores' arrays. A head whose score is undefined on any sequence (all its weight on
    the first token, say) is not picked, so there may be fewer. Raises DataError for fewer than four sequences.
    """
    if len(sequences) < 4:
        raise DataError(f"heads are picked on one half and reported on the other, got {len(sequences)} sequences")
    runs = np.stack([scores_of(ids)[name] for ids in sequences])
    picking, reporting = _ensemble(runs[::2]), _ensemble(runs[1::2])
    defined = np.isfinite(runs).all(0)
    order = np.argsort(-np.where(defined, picking.mean, -np.inf), axis=None, kind="stable")[: min(count, defined.sum())]
    picked = [np.unravel_index(int(place), picking.mean.shape) for place in order]
    return [
        PickedHead(
            layer=int(layer),
            head=int(head),
            picked_on=float(picking.mean[layer, head]),
            mean=float(reporting.mean[layer, head]),
            margin=float(reporting.margin[layer, head]),
        )
        for layer, head in picked
    ]


def _ensemble(runs: Float[np.ndarray, "seed layer head"]) -> Ensemble:
    seeds = len(runs)
    if seeds < 2:
        raise DataError(f"an interval needs at least two sequences, got {seeds}; take more seeds")
    quantile = _T95[seeds - 2] if seeds - 2 < len(_T95) else 1.96
    return Ensemble(mean=runs.mean(0), margin=quantile * runs.std(0, ddof=1) / math.sqrt(seeds), seeds=seeds)
