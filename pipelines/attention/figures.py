"""Figures of attention maps for pages and READMEs: one head's matrix, with numbers where it is short, as SVG and PNG.

Cells that the mask hides are hatched and read "0"; a visible weight that rounds to zero reads "0.00". The colours are
those of the explorer: one hue whose lightness only falls, so that order survives any colour vision and a grey print.
"""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import Bool
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.patches import PathPatch
from matplotlib.path import Path

from pipelines.attention.maps import AttentionMaps
from pipelines.text import shortened

_PNG_DOTS_PER_INCH = 160
_NUMBERS_UP_TO = 12
"""Longest sequence whose cells have room for a number."""
_CELL_INCHES = 0.62
_LARGEST_INCHES = 8.0
"""Side of a long sequence's matrix."""
_MOST_LABELS = 40
_LONGEST_LABEL = 12
_COLOURS = ("#e9eff2", "#c4d8e6", "#78a5c8", "#2c69a0", "#003064", "#00163a")
"""The explorer's light ramp, from 0 to 1."""


def draw_head(maps: AttentionMaps, layer: int, head: int) -> dict[str, bytes]:
    """`{"svg": …, "png": …}` of one head over the symbols. The same maps give the same bytes."""
    weights, visible = maps.head(layer, head), maps.visible_symbols(layer)
    labels = [shortened(label, _LONGEST_LABEL) for label in maps.labels()]
    size = len(labels)
    side = min(_CELL_INCHES * size, _LARGEST_INCHES)
    figure = Figure(figsize=(1.6 + side, 1.5 + side), layout="constrained")
    axes = figure.add_subplot()
    colours = LinearSegmentedColormap.from_list("explorer", _COLOURS)
    image = axes.imshow(np.where(visible, weights, np.nan), cmap=colours, vmin=0, vmax=1)
    if not visible.all():
        axes.add_patch(PathPatch(_hidden_area(visible), facecolor="#f2f2f2", edgecolor="#c4c4c4", hatch="///", lw=0))
    if size <= _NUMBERS_UP_TO:
        for query, key in np.ndindex(size, size):
            _write(axes, query, key, float(weights[query, key]), hidden=not visible[query, key])
    shown = range(0, size, -(-size // _MOST_LABELS))
    for set_ticks in (axes.set_xticks, axes.set_yticks):
        set_ticks(list(shown), [labels[place] for place in shown])
    if size > _NUMBERS_UP_TO:
        axes.tick_params(axis="x", rotation=90)
    axes.tick_params(length=0, labelsize=12 if size <= _NUMBERS_UP_TO else 8)
    axes.xaxis.tick_top()
    axes.xaxis.set_label_position("top")
    axes.set_xlabel("attends to (key)")
    axes.set_ylabel("token (query)")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03, label="attention weight")
    phase = maps.info.get("phase")
    axes.set_title(f"layer {layer}, head {head}" + (f", {phase} training" if phase else ""), pad=10)
    return render(figure)


def _hidden_area(visible: Bool[np.ndarray, "query key"]) -> Path:
    """One shape, a rectangle for each stretch of hidden cells in a row: a patch a cell takes minutes at 700 tokens."""
    corners: list[tuple[float, float]] = []
    for row, seen in enumerate(visible):
        edges = np.flatnonzero(np.diff(np.concatenate([[True], seen, [True]])))
        for start, end in edges.reshape(-1, 2) - 0.5:
            top, bottom = row - 0.5, row + 0.5
            corners += [(start, top), (end, top), (end, bottom), (start, bottom), (start, top)]
    codes = [Path.MOVETO, Path.LINETO, Path.LINETO, Path.LINETO, Path.CLOSEPOLY] * (len(corners) // 5)
    return Path(corners, codes)


def _write(axes: Axes, query: int, key: int, weight: float, *, hidden: bool) -> None:
    text = "0" if hidden else f"{weight:.2f}"
    colour = "#666666" if hidden else "white" if weight > 0.45 else "black"
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
