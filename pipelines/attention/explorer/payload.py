"""What the page embeds: arrays packed into one deflated block, everything else as JSON.

Weights of short sequences are float32, the stored maps to the bit; longer ones and logits are 16-bit steps of their own
range, and the page says how large the step is. Of a masked pass only the lower triangle is kept: that the rest is
exactly 0 was checked when the maps were made, and is checked again here.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from pipelines.attention.change import attention_change
from pipelines.attention.explorer.evidence import describe_evidence
from pipelines.attention.explorer.packing import Packer
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import HeadChoice, Score, is_whole, rollout, score_maps, shown_head, uniform_rollout
from pipelines.errors import ConfigError, DataError

_EXACT_UP_TO = 32
"""Longest sequence in tokens whose weights are embedded as float32."""
_STEPS_UP_TO = 12
"""Longest sequence in tokens whose logits are embedded: the page draws them with numbers or not at all."""
_CELLS_UP_TO = 40
"""Longest sequence whose rollout is embedded: the page draws its cells one by one."""
_LARGEST_CELLS = 270 * 192 * 193 // 2
"""Weights of one pass that a browser still opens in a second or two."""


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
    shown: HeadChoice | None = None
    """The head that is opened first, and why; None for the first."""
    rollout: tuple[Float[np.ndarray, "layer query key"], Float[np.ndarray, "layer query key"]] | None = None
    """Attention rollout after each layer, and that of uniform attention; None for a selection of layers or heads."""

    def __post_init__(self) -> None:
        for name in ("after", "unmasked"):
            other = getattr(self, name)
            if other is not None and any(getattr(other, key) != getattr(self.before, key) for key in _SAME):
                raise DataError(f"view {self.title!r}: {name} must be of the same ids, layers and heads as before")


_SAME = ("ids", "layers", "heads", "groups")


def build_view(
    before: AttentionMaps, *, title: str, after: AttentionMaps | None = None, unmasked: AttentionMaps | None = None
) -> View:
    """A view with all that follows from its maps: scores, change, rollout, and the head that is opened first.

    Args:
        before: A pass with a mask.
        title: What the page calls this sequence.
        after: The same ids through a trained model.
        unmasked: The same ids and weights run without a mask.

    Returns:
        What `Explorer` and `render_explorer` take.

    Raises:
        DataError: The passes are not of the same ids, layers and heads, or `before` has no mask.

    Example:
        >>> view = build_view(probe(model, tokenizer, "1 a 2 b 3"), title="the handout")
        >>> Explorer([view], title="mine").save(Path("explorer.html"))
    """
    return View(
        title=title,
        before=before,
        after=after,
        unmasked=unmasked,
        scores=score_maps(before),
        scores_after=() if after is None else score_maps(after),
        change=None if after is None else attention_change(before, after).jsd_bits,
        shown=shown_head(before),
        rollout=(rollout(before), uniform_rollout(before)) if is_whole(before) else None,
    )


def build_payload(
    views: Sequence[View], title: str, findings: Mapping[str, Mapping[str, Any]] | None = None
) -> dict[str, Any]:
    """JSON-ready: the views, what the findings say, and under `block` their arrays, deflated, as base64."""
    packer = Packer()
    described = [_describe(view, packer, with_steps=view is views[0]) for view in views]
    evidence = describe_evidence(findings or {}, packer)
    return {"title": title, "views": described, "evidence": evidence, "block": packer.block()}


def require_room(*, layers: int, heads: int, tokens: int) -> None:
    """ConfigError for more weights than a page holds; to be asked before they are computed."""
    if layers * heads * tokens * (tokens + 1) // 2 > _LARGEST_CELLS:
        most = math.isqrt(2 * _LARGEST_CELLS // (layers * heads))
        raise ConfigError(
            f"{layers} layers × {heads} heads × {tokens} tokens are too much for a page; select fewer with --layers "
            f"and --heads, or a text of at most about {most} tokens"
        )


def _describe(view: View, packer: Packer, *, with_steps: bool) -> dict[str, Any]:
    maps = view.before
    require_room(layers=len(maps.layers), heads=len(maps.heads), tokens=len(maps.ids))
    shown = view.shown
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
        "shown": [shown.layer, shown.head] if shown else [maps.layers[0], maps.heads[0]],
        "rule": shown.rule if shown else None,
        "masks": _masks(maps),
        "info": maps.info,
        "phases": {
            # The steps of the first view teach what those of another would, at a third of its size.
            name: _phase(part, packer, with_steps=with_steps)
            for name, part in phases.items()
            if part is not None
        },
        "scores": [_score(score, packer) for score in view.scores],
        "scoresAfter": [
            {"values": packer.quantised(score.values), "baseline": packer.quantised(score.baseline)}
            for score in view.scores_after
        ],
        "change": None if view.change is None else packer.quantised(view.change),
        "rollout": _rollout(view, packer),
    }


def _phase(maps: AttentionMaps, packer: Packer, *, with_steps: bool) -> dict[str, Any]:
    size = len(maps.ids)
    rows, keys = np.tril_indices(size) if maps.masked else np.divmod(np.arange(size * size), size)
    if maps.masked and np.triu(maps.weights, k=1).any():
        raise DataError("maps of a masked pass must be 0 above the diagonal; probe again")
    weights = maps.weights[:, :, rows, keys]
    logits = maps.logits if with_steps and size <= _STEPS_UP_TO else None
    return {
        "triangle": maps.masked,
        "weights": packer.exact(weights) if size <= _EXACT_UP_TO else packer.quantised(weights, 0.0, 1.0),
        "logits": None if logits is None else packer.quantised(logits),
        "sink": None if maps.sink is None else packer.exact(maps.sink),
        "norms": None if maps.value_norms is None else packer.quantised(maps.value_norms),
        "checks": maps.checks,
        "info": {name: value for name, value in maps.info.items() if value != ""},
    }


def _rollout(view: View, packer: Packer) -> list[dict[str, Any]] | None:
    if view.rollout is None or len(view.before.ids) > _CELLS_UP_TO:
        return None
    return [packer.quantised(flow, 0.0, 1.0) for flow in view.rollout]


def _score(score: Score, packer: Packer) -> dict[str, Any]:
    described = dataclasses.asdict(score.definition)
    return {**described, "values": packer.quantised(score.values), "baseline": packer.quantised(score.baseline)}


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
