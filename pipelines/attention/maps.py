"""Attention maps as data: weights, the tokens they belong to, the checks they passed; saved and loaded without a model.

Weights are `[layers, heads, queries, keys]`, float32: row i of a map is how token i spreads its attention over the
tokens up to itself. Holds no torch and computes nothing but its own checks.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from safetensors.numpy import load_file, save

from pipelines.errors import DataError
from pipelines.rundir import write_bytes, write_json

ROW_SUM_TOLERANCE = 1e-5


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class AttentionMaps:
    """One forward pass's attention over one sequence."""

    weights: Float[np.ndarray, "layer head query key"]
    visible: Bool[np.ndarray, "layer query key"]
    """What each layer's own mask lets a query see."""
    tokens: tuple[str, ...]
    """The tokens as text, in order, prefix included."""
    ids: tuple[int, ...]
    prefix_tokens: int
    """How many of the tokens stand before the first symbol."""
    info: dict[str, Any]
    """Model, settings and versions, for provenance."""
    checks: dict[str, float | bool]
    """What `check` measured."""

    def symbols_only(self) -> Float[np.ndarray, "layer head query key"]:
        """The weights among the symbols themselves; with a prefix, rows then sum to less than 1."""
        start = self.prefix_tokens
        return self.weights[:, :, start:, start:]

    def save(self, stem: Path) -> None:
        """Write `<stem>.safetensors` (weights and masks) and `<stem>.json` (everything else)."""
        tensors = {"weights": np.ascontiguousarray(self.weights), "visible": np.ascontiguousarray(self.visible)}
        write_bytes(stem.with_suffix(".safetensors"), save(tensors))
        rest = {
            "tokens": list(self.tokens),
            "ids": list(self.ids),
            "prefix_tokens": self.prefix_tokens,
            "shape": list(self.weights.shape),
            "info": self.info,
            "checks": self.checks,
        }
        write_json(stem.with_suffix(".json"), rest)

    @classmethod
    def load(cls, stem: Path) -> AttentionMaps:
        """The maps that `save` wrote; DataError names a missing or damaged file."""
        try:
            tensors = load_file(stem.with_suffix(".safetensors"))
            rest = json.loads(stem.with_suffix(".json").read_text(encoding="utf-8"))
            return cls(
                weights=tensors["weights"],
                visible=tensors["visible"],
                tokens=tuple(rest["tokens"]),
                ids=tuple(rest["ids"]),
                prefix_tokens=rest["prefix_tokens"],
                info=rest["info"],
                checks=rest["checks"],
            )
        except Exception as error:
            if (
                not isinstance(error, OSError | ValueError | KeyError | TypeError)
                and "safetensors" not in type(error).__module__
            ):
                raise
            raise DataError(f"{stem}.*: cannot be read ({error}); run scripts/probe_attention.py again") from error


def check(
    weights: Float[np.ndarray, "layer head query key"], visible: Bool[np.ndarray, "layer query key"]
) -> dict[str, float | bool]:
    """What must hold of every map, measured: finite, rows sum to 1, hidden weights exactly 0. DataError if not.

    `hidden_max` is the largest weight that a layer's mask hides and `future_max` the largest above the diagonal: both
    must be 0.0 to the bit, because softmax of a masked score underflows to exactly 0 in float32.
    """
    hidden = np.where(visible[:, None], 0.0, weights)
    future = weights[..., *np.triu_indices(weights.shape[-1], k=1)]
    measured: dict[str, float | bool] = {
        "finite": bool(np.isfinite(weights).all()),
        "row_sum_error": float(np.abs(weights.sum(-1, dtype=np.float64) - 1).max()),
        "hidden_max": float(np.abs(hidden).max()),
        "future_max": float(np.abs(future).max(initial=0.0)),
    }
    broken = [
        name
        for name, holds in {
            "finite": measured["finite"],
            "row_sum_error": measured["row_sum_error"] <= ROW_SUM_TOLERANCE,
            "hidden_max": measured["hidden_max"] == 0.0,
            "future_max": measured["future_max"] == 0.0,
        }.items()
        if not holds
    ]
    if broken:
        raise DataError(
            f"attention maps break {', '.join(broken)} ({measured}); the model's attention is not causal softmax"
        )
    return measured
