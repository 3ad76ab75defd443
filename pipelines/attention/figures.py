"""Figures of attention maps for pages and READMEs: one head's matrix with its numbers, as SVG and PNG.

Cells that causality hides are hatched and read "0"; a visible weight that rounds to zero reads "0.00". Colours are
matplotlib's cividis, made for colour-blind readers.
"""

from __future__ import annotations

import io

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from pipelines.attention.maps import AttentionMaps

_PNG_DOTS_PER_INCH = 160
_NUMBERS_UP_TO = 12
"""Longest sequence whose cells have room for a number."""


def draw_head(maps: AttentionMaps, layer: int, head: int) -> dict[str, bytes]:
    """`{"svg": …, "png": …}` of one head over the symbols. The same maps give the same bytes."""
    weights, visible = maps.head(layer, head), maps.visible_symbols(layer)
    labels = maps.symbols()
    size = len(labels)
    figure = Figure(figsize=(1.6 + 0.62 * size, 1.5 + 0.62 * size), layout="constrained")
    axes = figure.add_subplot()
    image = axes.imshow(np.where(visible, weights, np.nan), cmap="cividis", vmin=0, vmax=1)
    for query in range(size):
        for key in range(size):
            if not visible[query, key]:
                axes.add_patch(
                    Rectangle(
                        (key - 0.5, query - 0.5), 1, 1, facecolor="#f2f2f2", edgecolor="#c4c4c4", hatch="///", lw=0
                    )
                )
            if size <= _NUMBERS_UP_TO:
                _write(axes, query, key, float(weights[query, key]), hidden=not visible[query, key])
    axes.set_xticks(range(size), labels)
    axes.set_yticks(range(size), labels)
    axes.tick_params(length=0, labelsize=12)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("attends to (key)")
    axes.set_ylabel("token (query)")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="attention weight")
    axes.set_title(
        f"layer {layer}, head {head}, {maps.info.get('phase', '')} training".replace(",  training", ""), pad=10
    )
    return render(figure)


def _write(axes: Axes, query: int, key: int, weight: float, *, hidden: bool) -> None:
    text = "0" if hidden else f"{weight:.2f}"
    colour = "#777777" if hidden else "white" if weight < 0.55 else "black"
    axes.text(key, query, text, ha="center", va="center", color=colour, fontsize=11)


def render(figure: Figure) -> dict[str, bytes]:
    """A figure as `{"svg": …, "png": …}`; the same figure gives the same bytes."""
    rendered = {}
    for suffix, metadata in (("svg", {"Date": None}), ("png", None)):
        buffer = io.BytesIO()
        with rc_context({"svg.hashsalt": "attend-and-prefer"}):
            figure.savefig(buffer, format=suffix, dpi=_PNG_DOTS_PER_INCH, metadata=metadata)
        rendered[suffix] = buffer.getvalue()
    return rendered
