"""What the page embeds: arrays packed into one deflated block, everything else as JSON.

Weights of short sequences are float32, the stored maps to the bit; longer ones and logits are 16-bit steps of their own
range, and the page says how large the step is. Of a masked pass only the lower triangle is kept: that the rest is
exactly 0 was checked when the maps were made, and is checked again here.
"""

from __future__ import annotations

import base64
import dataclasses
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, Shaped

from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import Score
from pipelines.errors import ConfigError, DataError

_EXACT_UP_TO = 32
"""Longest sequence in tokens whose weights are embedded as float32."""
_LARGEST_CELLS = 270 * 256 * 257 // 2
"""Weights of one pass that a browser still opens in a second or two."""
_STEPS = 65534
_UNDEFINED = 65535


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class View:
    """One sequence, and the passes over it that the page sets side by side."""

    title: str
    before: AttentionMaps
    after: AttentionMaps | None = None
    """The same ids after training."""
    unmasked: AttentionMaps | None = None
    """The same ids and weights run without a mask."""
    scores: tuple[Score, ...] = ()
    scores_after: tuple[Score, ...] = ()
    change: Float[np.ndarray, "layer head"] | None = None
    """Jensen–Shannon divergence in bits between before and after."""
    shown: tuple[int, int] | None = None
    """(layer, head) that is opened first, by the model's own numbers; None for the first."""

    def __post_init__(self) -> None:
        for name in ("after", "unmasked"):
            other = getattr(self, name)
            if other is not None and any(getattr(other, key) != getattr(self.before, key) for key in _SAME):
                raise DataError(f"view {self.title!r}: {name} must be of the same ids, layers and heads as before")


_SAME = ("ids", "layers", "heads", "groups")


def build_payload(views: Sequence[View], title: str) -> dict[str, Any]:
    """JSON-ready: the views, and under `block` their arrays, deflated, as base64."""
    packer = _Packer()
    described = [_describe(view, packer, first=view is views[0]) for view in views]
    return {"title": title, "views": described, "block": packer.block()}


def _describe(view: View, packer: _Packer, *, first: bool) -> dict[str, Any]:
    maps = view.before
    tokens = len(maps.ids)
    cells = len(maps.layers) * len(maps.heads) * tokens * (tokens + 1) // 2
    if cells > _LARGEST_CELLS:
        raise ConfigError(
            f"{len(maps.layers)} layers × {len(maps.heads)} heads × {tokens} tokens are too much for a page; "
            "select fewer with --layers and --heads, or a shorter text"
        )
    phases = {"before": maps, "after": view.after, "unmasked": view.unmasked}
    return {
        "title": view.title,
        "tokens": list(maps.tokens),
        "ids": list(maps.ids),
        "prefix": maps.prefix_tokens,
        "groups": [list(group) for group in maps.groups],
        "symbols": list(maps.symbols()),
        "layers": list(maps.layers),
        "heads": list(maps.heads),
        "shown": list(view.shown or (maps.layers[0], maps.heads[0])),
        "masks": _masks(maps),
        "info": maps.info,
        "phases": {
            # Of further sequences the steps are shown before training only: it is a third of their size.
            name: _phase(part, packer, with_logits=first or name == "before")
            for name, part in phases.items()
            if part is not None
        },
        "scores": [_score(score, packer) for score in view.scores],
        "scoresAfter": [packer.quantised(score.values) for score in view.scores_after],
        "change": None if view.change is None else packer.quantised(view.change),
    }


def _phase(maps: AttentionMaps, packer: _Packer, *, with_logits: bool) -> dict[str, Any]:
    size = len(maps.ids)
    rows, keys = np.tril_indices(size) if maps.masked else np.divmod(np.arange(size * size), size)
    if maps.masked and np.triu(maps.weights, k=1).any():
        raise DataError("maps of a masked pass must be 0 above the diagonal; probe again")
    weights = maps.weights[:, :, rows, keys]
    return {
        "triangle": maps.masked,
        "weights": packer.exact(weights) if size <= _EXACT_UP_TO else packer.quantised(weights, 0.0, 1.0),
        "logits": packer.quantised(maps.logits) if with_logits and maps.logits is not None else None,
        "sink": None if maps.sink is None else packer.exact(maps.sink),
        "norms": None if maps.value_norms is None else packer.quantised(maps.value_norms),
        "checks": maps.checks,
        "info": {name: value for name, value in maps.info.items() if value != ""},
    }


def _score(score: Score, packer: _Packer) -> dict[str, Any]:
    baseline = [None if np.isnan(value) else round(float(value), 6) for value in score.baseline]
    return {**dataclasses.asdict(score.definition), "values": packer.quantised(score.values), "baseline": baseline}


def _masks(maps: AttentionMaps) -> list[list[int] | None]:
    """Per layer the first visible key of each row; None where every earlier token is visible."""
    full = np.tri(len(maps.ids), dtype=bool)
    masks: list[list[int] | None] = []
    for visible in maps.visible:
        first = visible.argmax(-1)
        banded = full & (np.arange(len(full)) >= first[:, None])
        if maps.masked and not np.array_equal(visible, banded):
            raise DataError("the page draws causal and sliding-window masks, got another; draw single heads instead")
        masks.append(None if np.array_equal(visible, full) else [int(key) for key in first])
    return masks


class _Packer:
    """Arrays one after the other in one block, each at a multiple of four bytes."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def exact(self, values: Float[np.ndarray, ...]) -> dict[str, Any]:
        """Float32, to the bit."""
        return {"kind": "f32", **self._append(values.astype("<f4"))}

    def quantised(
        self, values: Float[np.ndarray, ...], low: float | None = None, high: float | None = None
    ) -> dict[str, Any]:
        """Steps of a 65,534th of the range; NaN has a code of its own."""
        defined = values[np.isfinite(values)]
        low = float(defined.min()) if low is None and defined.size else low or 0.0
        high = float(defined.max()) if high is None and defined.size else high or 0.0
        step = (high - low) / _STEPS or 1.0
        codes = np.where(np.isfinite(values), np.rint((np.nan_to_num(values) - low) / step), _UNDEFINED)
        return {"kind": "u16", "low": low, "step": step, **self._append(codes.astype("<u2"))}

    def block(self) -> str:
        return base64.b64encode(zlib.compress(bytes(self._bytes), 9)).decode()

    def _append(self, values: Shaped[np.ndarray, ...]) -> dict[str, Any]:
        self._bytes += b"\0" * (-len(self._bytes) % 4)
        place = {"at": len(self._bytes), "count": int(values.size)}
        self._bytes += values.tobytes()
        return place
