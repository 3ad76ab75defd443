"""What training changed inside: the same ids through two models, head by head.

Takes two sets of maps; leaves distances between their rows and changes of their scores. The same model twice gives
exactly 0 everywhere, which is the floor that any claimed change has to be above. NumPy only.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float

from pipelines.attention.maps import AttentionMaps
from pipelines.attention.norms import uniform_rows
from pipelines.attention.scores import score_maps
from pipelines.errors import DataError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Comparison:
    """How far each head's attention is from what it was."""

    layers: tuple[int, ...]
    heads: tuple[int, ...]
    jsd: Float[np.ndarray, "layer head"]
    """Jensen–Shannon divergence in bits, 0 to 1, mean over the rows that see more than one token."""
    total_variation: Float[np.ndarray, "layer head"]
    """Half the sum of absolute differences, 0 to 1, mean over the same rows."""
    changes: dict[str, Float[np.ndarray, "layer head"]]
    """Each score, after less before; NaN where undefined."""

    def ranked(self) -> list[tuple[int, int]]:
        """(layer, head) by the model's own numbers, most changed first; ties keep the model's order."""
        order = np.argsort(-self.jsd, axis=None, kind="stable")
        places = (divmod(int(place), len(self.heads)) for place in order)
        return [(self.layers[layer], self.heads[head]) for layer, head in places]


def compare(before: AttentionMaps, after: AttentionMaps) -> Comparison:
    """`after` against `before`. Raises DataError unless both are of the same ids, layers, heads and masking."""
    for name in ("ids", "layers", "heads", "masked"):
        if getattr(before, name) != getattr(after, name):
            raise DataError(f"maps to compare must have the same {name}; probe both on the same tokens")
    told = {score.definition.name: score.values for score in score_maps(before)}
    rows = slice(max(before.prefix_tokens, 1), None)  # the first row of all has nothing to choose
    return Comparison(
        layers=before.layers,
        heads=before.heads,
        jsd=_mean_of(jensen_shannon(before.weights, after.weights)[..., rows]),
        total_variation=_mean_of(total_variation(before.weights, after.weights)[..., rows]),
        changes={score.definition.name: score.values - told[score.definition.name] for score in score_maps(after)},
    )


def jensen_shannon(
    one: Float[np.ndarray, "*batch query key"], other: Float[np.ndarray, "*batch query key"]
) -> Float[np.ndarray, "*batch query"]:
    """Divergence of each pair of rows in bits: 0 for equal rows, 1 for rows that share nothing (Lin 1991)."""
    middle = (one.astype(np.float64) + other) / 2
    divergence: np.ndarray = np.clip((_relative(one, middle) + _relative(other, middle)) / 2, 0, 1)
    return divergence


def total_variation(
    one: Float[np.ndarray, "*batch query key"], other: Float[np.ndarray, "*batch query key"]
) -> Float[np.ndarray, "*batch query"]:
    """Half the L1 distance of each pair of rows: the mass that would have to move."""
    distance: np.ndarray = np.abs(one.astype(np.float64) - other).sum(-1) / 2
    return distance


def rollout(maps: AttentionMaps) -> Float[np.ndarray, "layer query key"]:
    """After each layer, how much of each token's state comes from each token, if attention and residual weigh the same.

    The product over the layers so far of ½ (mean over heads + identity); it favours early tokens by construction (Abnar
    & Zuidema 2020, arXiv 2005.00928). Raises DataError unless the maps hold every head of every layer up to the last.
    """
    if not is_whole(maps):
        raise DataError("rollout needs every layer and head, got a selection; probe without --layers and --heads")
    return _flow(maps.weights.astype(np.float64).mean(1))


def uniform_rollout(maps: AttentionMaps) -> Float[np.ndarray, "layer query key"]:
    """The rollout of heads that attend to all they see alike, under the same masks: what `rollout` is set beside."""
    return _flow(uniform_rows(maps.visible).astype(np.float64))


def is_whole(maps: AttentionMaps) -> bool:
    """Whether the maps hold every head of each layer from the first to their last."""
    return maps.layers == tuple(range(len(maps.layers))) and len(maps.heads) == maps.info.get("query_heads")


def _flow(layers: Float[np.ndarray, "layer query key"]) -> Float[np.ndarray, "layer query key"]:
    flow, flows = np.eye(layers.shape[-1]), []
    for mixed in layers:
        # A learned sink's share goes nowhere; what is left is what flows.
        flow = (mixed / mixed.sum(-1, keepdims=True) + np.eye(len(flow))) / 2 @ flow
        flows.append(flow)
    return np.stack(flows)


def _relative(
    rows: Float[np.ndarray, "*batch query key"], middle: Float[np.ndarray, "*batch query key"]
) -> Float[np.ndarray, "*batch query"]:
    """Kullback–Leibler divergence in bits; 0 · log 0 is 0."""
    ratio = np.divide(rows, middle, out=np.ones_like(middle), where=rows > 0)
    divergence: np.ndarray = (rows * np.log2(ratio)).sum(-1)
    return divergence


def _mean_of(values: Float[np.ndarray, "*batch query"]) -> Float[np.ndarray, "*batch"]:
    """NaN for a single token, which has no row that could change."""
    if values.shape[-1] == 0:
        return np.full(values.shape[:-1], np.nan)
    mean: np.ndarray = values.mean(-1)
    return mean
