"""Attention maps made by hand: heads that do one thing only, and random ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from pipelines.attention import AttentionMaps

HANDOUT = ("1", "a", "2", "b", "3")
SCORES = {
    "same_class_sink_free": "shuffled_classes",
    "two_back": "alternating",
    "previous_token": "repeated",
    "duplicate_token": "repeated",
    "induction": "repeated",
}
"""Scores of the ensembles, and the sequences that each is measured on."""


def maps_of(heads, tokens, ids=None, prefix_tokens=0, groups=None, **fields) -> AttentionMaps:
    """Maps of one layer from matrices `[head][query, key]`, or of several from `[layer][head][query, key]`."""
    weights = np.asarray(heads, dtype=np.float32)
    weights = weights[None] if weights.ndim == 3 else weights
    size = len(tokens)
    fields.setdefault("visible", np.broadcast_to(np.tri(size, dtype=bool), (len(weights), size, size)).copy())
    fields.setdefault("info", {"architecture": "Planted", "query_heads": weights.shape[1], "text": " ".join(tokens)})
    fields.setdefault("checks", {"finite": True, "row_sum_error": 0.0, "hidden_max": 0.0, "future_max": 0.0})
    weights.setflags(write=False)
    return AttentionMaps(
        weights=weights,
        layers=tuple(range(len(weights))),
        heads=tuple(range(weights.shape[1])),
        tokens=tuple(tokens),
        ids=tuple(ids or range(10, 10 + size)),
        prefix_tokens=prefix_tokens,
        groups=groups or tuple((place,) for place in range(prefix_tokens, size)),
        **fields,
    )


def random_rows(shape: tuple[int, ...], seed: int = 0) -> np.ndarray:
    """Causal rows that sum to 1, peaked as softmax makes them."""
    scores = np.exp(2 * np.random.default_rng(seed).normal(size=shape)) * np.tri(shape[-1])
    return (scores / scores.sum(-1, keepdims=True)).astype(np.float32)


def looking_at(size: int, key_of) -> np.ndarray:
    """Each row puts all its weight on `key_of(row)`, on the first token where that is None."""
    weights = np.zeros((size, size), dtype=np.float32)
    for row in range(size):
        key = key_of(row)
        weights[row, 0 if key is None else key] = 1
    return weights


def uniform(size: int) -> np.ndarray:
    weights = np.tri(size, dtype=np.float32)
    return weights / weights.sum(-1, keepdims=True)


def planted_findings(layers: int, heads: int, scores: dict[str, str]) -> dict[str, Any]:
    """Findings by phase, as `collect_evidence`, `find_change` and `compare_scale` return them; `scores` → sequences."""
    values = np.random.default_rng(0).random((3, layers, heads)).round(4)
    one = dict(zip(("mean", "margin", "uniform"), values.tolist(), strict=True))
    picked = {"layer": 1, "head": 0, "picked_on": 0.9, "mean": 0.8, "margin": 0.1, "uniform": 0.25}
    ablated = {"layer": 1, "head": 1, "nats_per_token": [-0.5], "mean_nats": -0.5, "other_heads_mean_nats": [-0.125]}
    ensembles = {kind: {name: one for name, used in scores.items() if used == kind} for kind in set(scores.values())}
    ensemble = {"seeds": 8, "layers": list(range(layers)), "ensembles": ensembles, "picked": {"induction": [picked]}}
    change = {
        "most_changed": [],
        "median_jsd_bits": 0.00012,
        "same_model_twice_jsd_bits": 0.0,
        "most_changed_ablated": ablated,
    }
    scale = {
        "median_jsd_bits": 0.00012,
        "other_run_median_jsd_bits": 0.0003,
        "between_runs_median_jsd_bits": 0.0004,
        "rank_correlation": 0.5,
    }
    ablations = {"shown_head": ablated, "induction_head": ablated}
    return {
        "before": {**ensemble, "ablations": ablations},
        "after": {**ensemble, "ablations": ablations, "change": change, "scale": scale},
    }
