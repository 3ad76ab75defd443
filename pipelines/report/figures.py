"""Figures of what training changed: held-out rates before and after, and the course of training. SVG and PNG."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from pipelines.attention.figures import render

BEFORE, AFTER = "#7d7c78", "#00528a"
MEASURE_NAMES = {"valid": "valid JSON", "schema_valid": "valid under the schema", "exact": "exactly right"}
_FEW = 12
"""Points up to which each is marked."""
PROMPTINGS = {"bare": "bare prompt", "worked_examples": "with worked examples"}


def draw_rates(metrics: dict[str, Any], measure: str = "exact") -> dict[str, bytes]:
    """`{"svg", "png"}`: one row per family, before → after with 95 % intervals, a panel per prompting."""
    promptings = [name for name in PROMPTINGS if name in metrics["before"]]
    families = [name for name in metrics["before"][promptings[0]] if name != "overall"]
    rows = ["overall", *families]
    figure = Figure(figsize=(4.6 * len(promptings) + 1, 0.9 + 0.36 * len(rows)), layout="constrained")
    panels = figure.subplots(1, len(promptings), sharey=True, squeeze=False)[0]
    trained = set(metrics["trained_families"])
    for panel, prompting in zip(panels, promptings, strict=True):
        for place, name in enumerate(rows):
            _dumbbell(panel, place, metrics, prompting, name, measure)
        panel.set_title(PROMPTINGS[prompting], fontsize=11, loc="left")
        panel.set_xlim(-0.02, 1.02)
        panel.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0 %", "25 %", "50 %", "75 %", "100 %"])
        panel.grid(axis="x", color="#e6e6e3")
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.tick_params(length=0)
        panel.set_xlabel(f"completions that are {MEASURE_NAMES[measure]}")
    labels = [name if name == "overall" or name in trained else f"{name} (never trained on)" for name in rows]
    panels[0].set_yticks(range(len(rows)), labels)
    panels[0].invert_yaxis()
    handles = [Line2D([], [], marker="o", ls="", color=colour) for colour in (BEFORE, AFTER)]
    figure.legend(handles, ["before", "after"], loc="outside lower center", ncols=2, frameon=False)
    return render(figure)


def _dumbbell(panel: Axes, place: int, metrics: dict[str, Any], prompting: str, name: str, measure: str) -> None:
    for phase, colour, offset in (("before", BEFORE, -0.12), ("after", AFTER, 0.12)):
        rate = metrics.get(phase, {}).get(prompting, {}).get(name, {}).get(measure)
        if not rate or rate["rate"] is None:
            continue
        panel.plot([rate["low"], rate["high"]], [place + offset] * 2, color=colour, lw=1.4, alpha=0.55)
        panel.plot(rate["rate"], place + offset, "o", color=colour, ms=6)


def draw_curves(log: Sequence[dict[str, Any]]) -> dict[str, bytes]:
    """`{"svg", "png"}`: loss, margin and log-probabilities over the steps; below, what held-out tasks showed."""
    steps = [entry for entry in log if "rewards/margins" in entry and "loss" in entry]
    measured = [entry for entry in log if "held_out/exact" in entry]
    figure = Figure(figsize=(9.6, 5.2 if measured else 2.7), layout="constrained")
    panels = figure.subplots(2 if measured else 1, 3, squeeze=False)
    loss, margin, logps = panels[0]
    _curve(loss, "loss", steps, {"": "loss"})
    _curve(margin, "reward margin, chosen − rejected", steps, {"": "rewards/margins"})
    _curve(logps, "log-probability (nats)", steps, {side: f"logps/{side}" for side in ("chosen", "rejected")})
    if measured:
        rates, length, divergence = panels[1]
        names = {"exactly right": "held_out/exact", "valid JSON": "held_out/valid"}
        _curve(rates, "held-out completions", measured, names)
        rates.set_ylim(-0.03, 1.03)
        rates.set_yticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        _curve(length, "their length (tokens)", measured, {"": "held_out/mean_tokens"})
        _curve(divergence, "from the reference (nats a token)", measured, {"": "held_out/kl_nats_per_token"})
    return render(figure)


def _curve(panel: Axes, title: str, entries: Sequence[dict[str, Any]], lines: dict[str, str]) -> None:
    """One panel: a line per name, the first in the colour of what is wanted."""
    at = [entry["step"] for entry in entries]
    marker = "o" if len(entries) <= _FEW else None
    for (label, key), colour in zip(lines.items(), (AFTER, BEFORE), strict=False):
        panel.plot(at, [entry[key] for entry in entries], color=colour, label=label, marker=marker, ms=4)
    panel.set_title(title, fontsize=11, loc="left")
    if len(lines) > 1:
        panel.legend(frameon=False)
    panel.set_xlabel("step")
    panel.grid(color="#e6e6e3")
    panel.spines[["top", "right"]].set_visible(False)
