"""Several runs of one experiment, seed by seed: the mean of each rate, and how far apart the runs are.

Takes the runs' `metrics.json`; leaves rows of one family, or of all families trained on or never trained on together,
each with a rate per run. Pure arithmetic on what evaluation stored.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.errors import DataError

TRAINED, NEVER_TRAINED = "trained on, together", "never trained on, together"
_PROMPTINGS = {"bare": "bare", "worked_examples": "with examples"}
_MEASURES = {"valid": "valid", "exact": "exact"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Spread:
    """One rate in each of several runs, in [0, 1]."""

    rates: tuple[float, ...]

    def __str__(self) -> str:
        mean = sum(self.rates) / len(self.rates)
        return f"{mean:.0%} ({min(self.rates):.0%} to {max(self.rates):.0%})".replace("%", " %")


def load_metrics(folders: Sequence[Path]) -> list[dict[str, Any]]:
    """Each run's metrics; DataError names one that is missing, unfinished or of another experiment."""
    found: list[dict[str, Any]] = []
    for folder in folders:
        file = folder / "metrics.json"
        try:
            metrics = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise DataError(f"{file}: cannot be read ({error}); name the folder of a finished run") from error
        if not isinstance(metrics, dict) or "after" not in metrics:
            raise DataError(f"{file}: nothing was measured after training; run scripts/evaluate_policy.py first")
        if found and _families(metrics) != _families(found[0]):
            raise DataError(f"{file}: has other families than {folders[0]}; compare runs of one experiment")
        found.append(metrics)
    return found


def _families(metrics: dict[str, Any]) -> dict[str, list[str]]:
    return {prompting: [name for name in rows if name != "overall"] for prompting, rows in metrics["after"].items()}


def spread_table(runs: Sequence[dict[str, Any]]) -> str:
    """A Markdown table: a row per family and per group of families, mean and range over the runs in each column."""
    promptings = [name for name in _PROMPTINGS if name in runs[0]["after"]]
    heads = [f"{_PROMPTINGS[name]}, {measure}" for name in promptings for measure in _MEASURES]
    families = _families(runs[0])[promptings[0]]
    trained = set(runs[0]["trained_families"])
    groups = {name: [name] for name in families}
    groups[TRAINED] = [name for name in families if name in trained]
    groups[NEVER_TRAINED] = [name for name in families if name not in trained]
    lines = ["| family | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for name, members in groups.items():
        if members:
            cells = [str(spread(runs, p, members, measure)) for p in promptings for measure in _MEASURES]
            mark = " *" if name in families and name not in trained else ""
            lines.append(f"| {name}{mark} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", f"{len(runs)} runs: mean (least to most). * never trained on."])


def spread(runs: Sequence[dict[str, Any]], prompting: str, families: Sequence[str], measure: str) -> Spread:
    """The rate of all the families' completions together, after training, in each run."""
    rates = []
    for metrics in runs:
        rows = [metrics["after"][prompting][family][measure] for family in families]
        rates.append(sum(row["count"] for row in rows) / sum(row["total"] for row in rows))
    return Spread(rates=tuple(rates))
