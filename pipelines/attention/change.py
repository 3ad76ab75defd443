"""What training changed inside: the same ids through two models, head by head.

Reads two sets of maps; returns distances between their rows and changes of their scores. The same model twice gives
exactly 0 everywhere, which is the floor that any claimed change has to be above. NumPy only.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import score_maps
from pipelines.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class AttentionChange:
    """How far each head's attention is from what it was."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    jsd_bits: Float[np.ndarray, "layer head"]
    """Jensen–Shannon divergence, 0 to 1, mean over the rows that see more than one token."""
    total_variation: Float[np.ndarray, "layer head"]
    """Half the sum of absolute differences, 0 to 1, mean over the same rows."""
    scores: dict[str, Float[np.ndarray, "layer head"]]
    """Each score, after less before; NaN where undefined."""

    def ranked(self) -> list[tuple[int, int]]:
        """(layer, head) by the model's own numbers, most changed first; ties keep the model's order."""
        order = np.argsort(-self.jsd_bits, axis=None, kind="stable")
        places = (divmod(int(place), len(self.heads)) for place in order)
        return [(self.layers[layer], self.heads[head]) for layer, head in places]


def attention_change(before: AttentionMaps, after: AttentionMaps) -> AttentionChange:
    """`after` against `before`. Raises DataError unless both are of the same ids, layers, heads and masking."""
    for name in ("ids", "layers", "heads", "masked"):
        if getattr(before, name) != getattr(after, name):
            raise DataError(f"maps to compare must have the same {name}; probe both on the same tokens")
    earlier = {score.definition.name: score.values for score in score_maps(before)}
    rows = slice(max(before.prefix_tokens, 1), None)  # the first row of all has nothing to choose
    return AttentionChange(
        layers=before.layers,
        heads=before.heads,
        jsd_bits=_mean_of(jensen_shannon_bits(before.weights, after.weights)[..., rows]),
        total_variation=_mean_of(total_variation(before.weights, after.weights)[..., rows]),
        scores={score.definition.name: score.values - earlier[score.definition.name] for score in score_maps(after)},
    )


def jensen_shannon_bits(
    one: Float[np.ndarray, "*batch query key"], other: Float[np.ndarray, "*batch query key"]
) -> Float[np.ndarray, "*batch query"]:
    """Divergence of each pair of rows: 0 for equal rows, 1 for rows that share nothing (Lin 1991)."""
    middle = (one.astype(np.float64) + other) / 2
    divergence: np.ndarray = np.clip((_relative_bits(one, middle) + _relative_bits(other, middle)) / 2, 0, 1)
    return divergence


def total_variation(
    one: Float[np.ndarray, "*batch query key"], other: Float[np.ndarray, "*batch query key"]
) -> Float[np.ndarray, "*batch query"]:
    """Half the L1 distance of each pair of rows: the mass that would have to move."""
    distance: np.ndarray = np.abs(one.astype(np.float64) - other).sum(-1) / 2
    return distance


def _relative_bits(
    rows: Float[np.ndarray, "*batch query key"], middle: Float[np.ndarray, "*batch query key"]
) -> Float[np.ndarray, "*batch query"]:
    """Kullback–Leibler divergence; 0 · log 0 is 0."""
    ratio = np.divide(rows, middle, out=np.ones_like(middle), where=rows > 0)
    divergence: np.ndarray = (rows * np.log2(ratio)).sum(-1)
    return divergence


def _mean_of(values: Float[np.ndarray, "*batch query"]) -> Float[np.ndarray, "*batch"]:
    """NaN for a single token, which has no row that could change."""
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    mean: np.ndarray = values.mean(-1)
    return mean
