"""One layer's attention over one sequence, copied out of the model: its maps, its value lengths, its checks.

Reads what `capture` hands over; returns NumPy arrays that outlive the pass, padding cut off, and what was measured of
them. Knows no model and no file.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor, nn

from pipelines.attention.capture import LayerAttention
from pipelines.attention.checks import Checks, check_layer, check_recomputed


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class LayerMaps:
    """One layer's maps over one sequence."""

    weights: Float[np.ndarray, "head query key"]
    visible: Bool[np.ndarray, "query key"]
    logits: Float[np.ndarray, "head query key"] | None
    sink: Float[np.ndarray, "head query"] | None
    value_norms: Float[np.ndarray, "head key"] | None = None
    checks: Checks = dataclasses.field(default_factory=dict)

    @classmethod
    def read(
        cls, attention: LayerAttention, row: int, tokens: int, projection: nn.Module | None, *, with_logits: bool
    ) -> LayerMaps:
        """The last `tokens` positions of one row of a batch: what stands before them is padding."""
        own = slice(attention.weights.shape[-1] - tokens, None)
        weights = attention.weights[row, :, own, own].float().cpu().numpy()
        share = attention.sink_share()
        return cls(
            weights=weights,
            visible=attention.visible[row, own, own].cpu().numpy(),
            logits=attention.logits()[row, :, own, own].float().cpu().numpy() if with_logits else None,
            sink=None if share is None else share[row, :, own].float().cpu().numpy(),
            value_norms=None
            if projection is None
            else _value_norms(attention.values[row, :, own], projection, weights),
        )

    def check(self, *, masked: bool, dtype: str) -> None:
        """Measure what must hold of the layer; DataError if it does not."""
        self.checks.update(check_layer(self.weights, self.visible, sink=self.sink, masked=masked, dtype=dtype))
        if self.logits is not None:
            recomputed = check_recomputed(self.weights, self.visible, self.logits, sink=self.sink, dtype=dtype)
            self.checks.update(recomputed)

    def of_heads(self, heads: tuple[int, ...]) -> LayerMaps:
        """The chosen heads, copied out of the model's memory."""
        some = list(heads)
        return dataclasses.replace(
            self,
            weights=self.weights[some],
            logits=None if self.logits is None else self.logits[some],
            sink=None if self.sink is None else self.sink[some],
            value_norms=None if self.value_norms is None else self.value_norms[some],
        )


def stack_layers(layers: Sequence[LayerMaps]) -> dict[str, Any]:
    """The arrays of `AttentionMaps`, layer by layer; a layer without a sink takes nothing."""
    with_sink = any(layer.sink is not None for layer in layers)
    sinks = [np.zeros(layer.weights.shape[:2], np.float32) if layer.sink is None else layer.sink for layer in layers]
    logits = [layer.logits for layer in layers if layer.logits is not None]
    norms = [layer.value_norms for layer in layers if layer.value_norms is not None]
    return {
        "weights": np.stack([layer.weights for layer in layers]),
        "visible": np.stack([layer.visible for layer in layers]),
        "logits": np.stack(logits) if logits else None,
        "sink": np.stack(sinks) if with_sink else None,
        "value_norms": np.stack(norms) if len(norms) == len(layers) else None,
    }


def _value_norms(
    values: Float[Tensor, "key_value_head key size"],
    projection: nn.Module,
    weights: Float[np.ndarray, "head query key"],
) -> Float[np.ndarray, "head key"]:
    """Length of each key's value after the head's part of the output projection, adapters included, bias left out."""
    heads, (kinds, keys, size) = len(weights), values.shape
    alone = values.new_zeros((heads, keys, heads, size))
    for head in range(heads):
        alone[head, :, head] = values[head * kinds // heads]
    nothing = projection(alone.new_zeros((1, heads * size)))
    norms: np.ndarray = (projection(alone.flatten(2)) - nothing).float().norm(dim=-1).cpu().numpy()
    return norms
