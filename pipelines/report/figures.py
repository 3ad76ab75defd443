"""Figures of what training changed: rates on test tasks before and after, and the course of training. SVG and PNG.

Reads metrics or a trainer's log; returns drawings as bytes, in the page's colours on paper. The page shows them in its
other colours in the dark; the run folder keeps them as files, for other documents.
"""

from __future__ import annotations

import base64
import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.attention.figures import render
from pipelines.report.artefacts import Artefact
from pipelines.run.files import write_bytes
from pipelines.run.folder import Run
from pipelines.text import one_line

MEASURES = {"exact_match": "exact match", "schema_valid": "schema valid", "parses": "parses"}
"""What the page tells of test tasks, in its order, and how it says so."""
SOURCES = {"zero_shot": "zero-shot", "few_shot": "few-shot"}
"""Under which prompts it does."""
_FEW = 12
"""Points up to which each is marked."""
_LONGEST_NAME = 24
_MOST_FAMILIES = 40
_PANELS = (
    ("loss", {"": "loss"}),
    ("reward margin, chosen − rejected", {"": "rewards/margins"}),
    ("log-probability (nats)", {"chosen": "logps/chosen", "rejected": "logps/rejected"}),
    ("reward", {"": "reward"}),
    ("length (tokens)", {"": "completions/mean_length"}),
    ("tokens predicted right", {"": "mean_token_accuracy"}),
)
"""What trainers log, title by title; a figure has the first three that the log holds."""
_VALIDATION_PANELS = (
    ("validation completions", {"exact match": "validation/exact_match", "parses": "validation/parses"}),
    ("their length (tokens)", {"": "validation/mean_tokens"}),
    ("from the reference (nats a token)", {"": "validation/kl_nats_per_token"}),
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Theme:
    """The colours of a figure, those of the page around it, no two of them the same."""

    paper: str
    ink: str
    rule: str
    before: str
    after: str

    def settings(self) -> dict[str, str]:
        """matplotlib's settings for text and lines."""
        names = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color", "axes.titlecolor")
        paper = {"figure.facecolor": self.paper, "axes.facecolor": self.paper, "savefig.facecolor": self.paper}
        return {**dict.fromkeys(names, self.ink), **paper}


LIGHT = Theme(paper="#fdfdfb", ink="#1c1d1f", rule="#e2e2dd", before="#7d7c78", after="#00528a")
DARK = Theme(paper="#15171a", ink="#eceae4", rule="#2c3035", before="#a3a6ab", after="#7cc0f0")


def save_figure(run: Run, name: str, drawn: Mapping[str, bytes]) -> dict[str, str]:
    """Save a figure as files of the run, and give it to the page as data URIs, `light` and `dark`."""
    for suffix, content in drawn.items():
        write_bytes(run.figures / f"{name}.{suffix}", content)
    shown = {"light": drawn["svg"], "dark": _in_the_dark(drawn["svg"])}
    return {theme: "data:image/svg+xml;base64," + base64.b64encode(svg).decode() for theme, svg in shown.items()}


def _in_the_dark(svg: bytes) -> bytes:
    """The same drawing in the other colours: quicker than to draw it twice."""
    for name in Theme.__slots__:
        svg = svg.replace(getattr(LIGHT, name).encode(), getattr(DARK, name).encode())
    return svg


def draw_rates(metrics: Artefact, measure: str = "exact_match") -> dict[str, bytes]:
    """`{"svg", "png"}`: one row per family, before → after with 95 % intervals, a panel per kind of prompt."""
    sources = [name for name in SOURCES if metrics.has("before", name)]
    families = [name for name in metrics.table("before", sources[0]) if name != "overall"][:_MOST_FAMILIES]
    rows = ["overall", *families]
    with rc_context(LIGHT.settings()):
        figure = Figure(figsize=(4.4 * len(sources) + 1.2, 0.9 + 0.36 * len(rows)), layout="constrained")
        panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
        for panel, source in zip(panels, sources, strict=True):
            for place, name in enumerate(rows):
                _dumbbell(panel, place, metrics, (source, name, measure))
            _dress_rates(panel, source, MEASURES[measure])
        trained = {"overall", *metrics.rows("trained_families")}
        panels[0].set_yticks(range(len(rows)), [_named(name) + ("" if name in trained else " *") for name in rows])
        panels[0].invert_yaxis()
        colours = {"before": LIGHT.before, "after": LIGHT.after}
        handles = [Line2D([], [], marker="o", ls="", color=colour) for colour in colours.values()]
        figure.legend(handles, list(colours), loc="outside lower center", ncols=2, frameon=False)
        return _render(figure)


def draw_methods(compared: Artefact) -> dict[str, bytes]:
    """`{"svg", "png"}`: a row per method with its interval, best first under the first prompt, a panel per kind."""
    sources = [name for name in SOURCES if compared.has("rates", name)]
    names = [str(row["method"]) for row in compared.rows("rates", sources[0], "methods")]
    with rc_context(LIGHT.settings()):
        figure = Figure(figsize=(4.4 * len(sources) + 1.2, 1.0 + 0.4 * len(names)), layout="constrained")
        panels = figure.subplots(1, len(sources), sharey=True, squeeze=False)[0]
        for panel, source in zip(panels, sources, strict=True):
            before = compared.number("rates", source, "before", "mean")
            panel.axvline(before, color=LIGHT.before, lw=1.4, ls=(0, (3, 3)))
            for place, row in enumerate(compared.rows("rates", source, "methods")):
                keys = ("rates", source, "methods", place, "right")
                _interval(panel, float(names.index(str(row["method"]))), compared, keys, LIGHT.after)
            _dress_rates(panel, source, "right")
        panels[0].set_yticks(range(len(names)), [_named(name) for name in names])
        panels[0].set_ylim(len(names) - 0.5, -0.5)
        handles = [
            Line2D([], [], ls=(0, (3, 3)), color=LIGHT.before),
            Line2D([], [], marker="o", color=LIGHT.after, ms=6, lw=1.4),
        ]
        labels = ["before training", "after, with 95 % interval"]
        figure.legend(handles, labels, loc="outside lower center", ncols=2, frameon=False)
        return _render(figure)


def _interval(panel: Axes, height: float, found: Artefact, keys: tuple[str | int, ...], colour: str) -> None:
    """A rate as a dot on the line of its interval."""
    mean = "mean" if found.has(*keys, "mean") else "rate"
    rate, low, high = (found.number(*keys, name) for name in (mean, "low", "high"))
    panel.plot([low, high], [height] * 2, color=colour, lw=1.4, alpha=0.6)
    panel.plot(rate, height, "o", color=colour, ms=6)


def _dress_rates(panel: Axes, source: str, named: str) -> None:
    """Axes of a panel of rates."""
    _dress(panel, title=SOURCES[source], axis="x")
    panel.set_xlim(-0.02, 1.02)
    panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "25", "50", "75", "100 %"])
    panel.spines["left"].set_visible(False)
    panel.set_xlabel(f"{named}, share of completions")


def _named(name: str) -> str:
    # A dollar would start matplotlib's own formulas.
    return one_line(name, _LONGEST_NAME).replace("$", r"\$")


def _dumbbell(panel: Axes, place: int, metrics: Artefact, where: tuple[str, str, str]) -> None:
    for phase, colour, offset in (("before", LIGHT.before, -0.13), ("after", LIGHT.after, 0.13)):
        if metrics.has(phase, *where, "rate"):
            _interval(panel, place + offset, metrics, (phase, *where), colour)


def draw_curves(log: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """`{"svg", "png"}`: what the trainer logged over the steps; below, what validation showed meanwhile."""
    present = {name for entry in log if "step" in entry for name in entry}
    training = [(title, lines) for title, lines in _PANELS if present & set(lines.values())][:3]
    validation = [(title, lines) for title, lines in _VALIDATION_PANELS if present & set(lines.values())]
    rows = [row for row in (training, validation) if row]
    with rc_context(LIGHT.settings()):
        figure = Figure(figsize=(9.8, 0.3 + 2.4 * max(1, len(rows))), layout="constrained")
        panels = figure.subplots(max(1, len(rows)), 3, squeeze=False)
        for panel in panels.flat:
            panel.set_visible(False)
        for row, titled in zip(panels, rows, strict=False):
            for panel, (title, lines) in zip(row, titled, strict=False):
                panel.set_visible(True)
                _curve(panel, title, _points(log, lines))
                if title == "validation completions":
                    panel.set_ylim(-0.03, 1.03)
                    panel.set_yticks([0, 0.5, 1], ["0", "50", "100 %"])
        return _render(figure)


def _points(log: Sequence[dict[str, Any]], lines: dict[str, str]) -> dict[str, tuple[list[float], list[float]]]:
    """Label → steps and values, of the entries that have the value as a finite number."""
    found = {}
    for label, key in lines.items():
        numbers = [(_number(row.get("step")), _number(row.get(key))) for row in log]
        points = [(step, value) for step, value in numbers if math.isfinite(step) and math.isfinite(value)]
        found[label] = ([step for step, _ in points], [value for _, value in points])
    return found


def _number(value: Any) -> float:
    return float(value) if isinstance(value, int | float) else math.nan


def _curve(panel: Axes, title: str, lines: dict[str, tuple[list[float], list[float]]]) -> None:
    """One panel: a line per name, the first in the colour of what is wanted."""
    for (label, (steps, values)), colour in zip(lines.items(), (LIGHT.after, LIGHT.before), strict=False):
        panel.plot(steps, values, color=colour, label=label, marker="o" if len(steps) <= _FEW else None, ms=4, lw=1.6)
    _dress(panel, title=title, axis="y")
    panel.set_xlabel("step")
    if len(lines) > 1:
        panel.legend(frameon=False)


def _render(figure: Figure) -> dict[str, bytes]:
    # Laid out once, not once for each format.
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    return render(figure)


def _dress(panel: Axes, *, title: str, axis: Literal["x", "y"]) -> None:
    panel.set_title(title, fontsize=11, loc="left")
    panel.grid(axis=axis, color=LIGHT.rule)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.tick_params(length=0)
