"""Finished runs of one experiment, e.g. of several seeds, as one Markdown table: mean and range of every rate.

Reads each run's `metrics.json`; returns the table. In a row of several families a run's completions are counted
together. The range is that of the runs, not an interval; runs nothing and measures nothing.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import DataError
from pipelines.rewards.rates import MEASURED

_MEASURES = ("parses", "exact_match")

Metrics = dict[str, Any]


def load_metrics(folders: Sequence[Path]) -> list[Metrics]:
    """Each run's metrics; DataError names one that is missing, unfinished or of another experiment."""
    found: list[Metrics] = []
    for folder in folders:
        file = folder / "metrics.json"
        try:
            metrics = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: cannot be read ({error}); name the folder of a finished run") from error
        if not isinstance(metrics, dict) or "after" not in metrics:
            raise DataError(
                f"{file}: nothing was measured after training; run `attend-and-prefer evaluate --phase after` first"
            )
        if found and _sets(metrics) != _sets(found[0]):
            raise DataError(f"{file}: has other families than {folders[0]}; compare runs of one experiment")
        found.append(metrics)
    return found


def summary_table(runs: Sequence[Metrics]) -> str:
    """A row per family and per group of families; a column per prompt, measure and phase."""
    columns = [(name, measure) for name in MEASURED if name in runs[0]["after"] for measure in _MEASURES]
    heads = [
        "test tasks",
        "n",
        *(f"{MEASURED[name]}, {measure.replace('_', ' ')}: before | after" for name, measure in columns),
    ]
    lines = [f"| {' | '.join(heads)} |", "|---" * (2 + 2 * len(columns)) + "|"]
    for title, members in _rows(runs[0]).items():
        n = sum(runs[0]["after"][columns[0][0]][family]["parses"]["total"] for family in members)
        cells = [
            cell
            for column in columns
            for cell in (
                _mean(rates(runs, "before", column, members)),
                _mean_and_range(rates(runs, "after", column, members)),
            )
        ]
        lines.append(f"| {title} | {n} | {' | '.join(cells)} |")
    note = f"{len(runs)} runs: the mean, and after training (the least–the most). n: completions of a run."
    return "\n".join([*lines, "", note])


def rates(runs: Sequence[Metrics], phase: str, column: tuple[str, str], families: Sequence[str]) -> list[float]:
    """The rate of all the families' completions together in each run, in [0, 1]; without runs that have none."""
    source, measure = column
    found = []
    for metrics in runs:
        measured = metrics.get(phase, {}).get(source, {})
        rows = [measured[family][measure] for family in families if family in measured]
        total = sum(row["total"] for row in rows)
        found += [sum(row["count"] for row in rows) / total] if total else []
    return found


def _rows(metrics: Metrics) -> dict[str, list[str]]:
    """Title of a row → its families."""
    families = next(iter(_families(metrics).values()))
    trained = [name for name in families if name in metrics["trained_families"]]
    others = [name for name in families if name not in trained]
    return {
        **{name: [name] for name in trained},
        **{f"{name} (never trained on)": [name] for name in others},
        **({"all families trained on": trained} if trained else {}),
        **({"all never trained on": others} if others else {}),
    }


def _sets(metrics: Metrics) -> dict[str, set[str]]:
    return {source: set(names) for source, names in _families(metrics).items()}


def _families(metrics: Metrics) -> dict[str, list[str]]:
    return {source: [name for name in rows if name != "overall"] for source, rows in metrics["after"].items()}


def _mean(values: Sequence[float]) -> str:
    return f"{100 * sum(values) / len(values):.0f} %" if values else "–"


def _mean_and_range(values: Sequence[float]) -> str:
    return f"**{_mean(values)}** ({100 * min(values):.0f}–{100 * max(values):.0f})" if values else "–"
