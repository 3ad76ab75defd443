"""How well labelers agree: confusion, Cohen's kappa with an interval, ties and abstentions, time and tokens per label.

Reads label files of the same comparisons; writes `labels/agreement.json`, returns a Markdown table. Kappa is over the
comparisons on which neither labeler abstained, with the categories first, second and tie; it counts comparisons as
independent. Pure arithmetic: no model, no torch.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from pipelines.config import Config
from pipelines.errors import RunError
from pipelines.preferences.labelers.labels import CHOICES, Label, current_labels, load_comparisons, read_labels
from pipelines.run.files import write_json
from pipelines.run.folder import Run

Confusion = dict[str, dict[str, int]]
CurrentLabels = Mapping[str, Label]
"""Comparison id → the label that holds, of one labeler."""
_Z_95 = 1.959963984540054
_METHOD = (
    "Cohen's kappa (1960) over comparisons without abstentions, categories first, second, tie; 95 % interval from the "
    "large-sample standard error of Fleiss, Cohen & Everitt (1969), none where that is 0 or undefined"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Kappa:
    """Agreement beyond chance of two labelers. What is undefined is None."""

    total: int
    """Comparisons that both labelled."""
    observed: float | None
    """Share in [0, 1] on which they agree; None without comparisons."""
    expected: float | None
    """Share in [0, 1] on which independent labelers with the same habits would agree."""
    kappa: float | None
    """In [-1, 1]; None when both always give one and the same label, so that chance explains everything."""
    standard_error: float | None
    low: float | None
    """Bounds of the 95 % interval; None when the standard error is 0 or undefined, e.g. in perfect agreement, where it
    would claim certainty."""
    high: float | None


def cohen_kappa(counts: Sequence[Sequence[int]]) -> Kappa:
    """Kappa of a square table: `counts[i][j]` comparisons got category i from one labeler and j from the other.

    kappa = (p_o - p_e) / (1 - p_e) (Cohen 1960, Educ. Psychol. Meas. 20:37, eq. 1). The standard error is the one for
    kappa ≠ 0 of Fleiss, Cohen & Everitt 1969, Psychol. Bull. 72:323, as A + B - C in Fleiss, Levin & Paik 2003,
    Statistical Methods for Rates and Proportions, eq. 18.13.
    """
    total = sum(map(sum, counts))
    if total == 0:
        return Kappa(total=0, observed=None, expected=None, kappa=None, standard_error=None, low=None, high=None)
    size = range(len(counts))
    rows = [sum(counts[i]) / total for i in size]
    columns = [sum(row[j] for row in counts) / total for j in size]
    observed = sum(counts[i][i] for i in size) / total
    expected = sum(rows[i] * columns[i] for i in size)
    # In whole numbers, because 1 - expected may come out as rounding error instead of 0.
    if any(counts[i][i] == total for i in size):
        return Kappa(total=total, observed=observed, expected=1.0, kappa=None, standard_error=None, low=None, high=None)
    kappa = (observed - expected) / (1 - expected)
    a = sum(counts[i][i] / total * (1 - (rows[i] + columns[i]) * (1 - kappa)) ** 2 for i in size)
    b = (1 - kappa) ** 2 * sum(counts[i][j] / total * (columns[i] + rows[j]) ** 2 for i in size for j in size if i != j)
    c = (kappa - expected * (1 - kappa)) ** 2
    variance = a + b - c
    known = variance > 1e-12  # below it is the rounding error of 0
    error = math.sqrt(max(0.0, variance)) / ((1 - expected) * math.sqrt(total))
    return Kappa(
        total=total,
        observed=observed,
        expected=expected,
        kappa=kappa,
        standard_error=error if known else None,
        low=max(-1.0, kappa - _Z_95 * error) if known else None,
        high=min(1.0, kappa + _Z_95 * error) if known else None,
    )


def confuse(one: CurrentLabels, other: CurrentLabels) -> Confusion:
    """`{label of one: {label of other: comparisons}}` over the comparisons that both labelled, all four labels."""
    table = {mine: dict.fromkeys(CHOICES, 0) for mine in CHOICES}
    confusion: Confusion = {str(mine): {str(theirs): n for theirs, n in row.items()} for mine, row in table.items()}
    for comparison in one.keys() & other.keys():
        confusion[one[comparison].label][other[comparison].label] += 1
    return confusion


def describe(labels: CurrentLabels) -> dict[str, Any]:
    """Counts and shares of one labeler's labels, and the medians of what a label took; None without labels."""
    given = [label.label for label in labels.values()]
    tokens = [label.tokens for label in labels.values() if label.tokens is not None]
    return {
        "labels": len(given),
        **{choice: given.count(choice) for choice in CHOICES},
        "tie_rate": given.count("tie") / len(given) if given else None,
        "abstain_rate": given.count("abstain") / len(given) if given else None,
        "median_seconds": statistics.median(label.seconds for label in labels.values()) if given else None,
        "median_tokens": statistics.median(tokens) if tokens else None,
    }


def agree(labelers: Mapping[str, CurrentLabels]) -> dict[str, Any]:
    """The whole report, JSON-ready: each labeler by itself, and each two of them on what both labelled."""
    couples = []
    for one, other in itertools.combinations(labelers, 2):
        confusion = confuse(labelers[one], labelers[other])
        decided = [choice for choice in CHOICES if choice != "abstain"]
        kappa = cohen_kappa([[confusion[mine][theirs] for theirs in decided] for mine in decided])
        common = sum(sum(row.values()) for row in confusion.values())
        decisions = {"common": common, "decided": kappa.total, **dataclasses.asdict(kappa)}
        couples.append({"one": one, "other": other, **decisions, "confusion": confusion})
    return {
        "method": _METHOD,
        "labelers": {name: describe(labels) for name, labels in labelers.items()},
        "agreement": couples,
    }


def compare_labelers(config: Config, run: Run) -> dict[str, Any]:
    """Write `labels/agreement.json` from all label files of the run; returns the report.

    Labels of comparisons that the run no longer has, because it was sampled or paired again, are counted as stale.
    """
    files = sorted(run.labels.glob("*.jsonl"))
    if not files:
        raise RunError(f"{run.labels} has no labels; run `attend-and-prefer label --run {run.root}` first")
    current = {comparison.id for comparison in load_comparisons(run, config.seed)}
    stale = 0
    labelers: dict[str, CurrentLabels] = {}
    for file in files:
        held = current_labels(read_labels(file))
        labelers[file.stem] = {id_: label for id_, label in held.items() if id_ in current}
        stale += len(held) - len(labelers[file.stem])
    report = {**agree(labelers), "stale_labels": stale}
    write_json(run.labels / "agreement.json", report)
    return report


def render_agreement(report: Mapping[str, Any]) -> str:
    """The report as Markdown tables."""
    head = ("labeler", "labels", *CHOICES, "seconds per label", "tokens per label")
    lines = [*_head(head)]
    for name, facts in report["labelers"].items():
        shares = (_share(facts[choice], facts["labels"]) for choice in CHOICES)
        lines.append(
            _row(name, facts["labels"], *shares, _number(facts["median_seconds"]), _number(facts["median_tokens"]))
        )
    lines += ["", *_head(("labelers", "both labelled", "neither abstained", "agree", "kappa", "95 % interval"))]
    for couple in report["agreement"]:
        interval = "–" if couple["low"] is None else f"{couple['low']:.2f} to {couple['high']:.2f}"
        lines.append(
            _row(
                f"{couple['one']} and {couple['other']}",
                couple["common"],
                couple["decided"],
                _percent(couple["observed"]),
                _number(couple["kappa"]),
                interval,
            )
        )
    for couple in report["agreement"]:
        lines += ["", *_head((f"{couple['one']} ↓ {couple['other']} →", *CHOICES))]
        lines += [_row(mine, *row.values()) for mine, row in couple["confusion"].items()]
    return "\n".join(lines)


def _head(names: Sequence[str]) -> list[str]:
    return [_row(*names), "|" + "---|" * len(names)]


def _row(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _share(count: int, total: int) -> str:
    return f"{count} ({_percent(count / total)})" if total else "0"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{share:.0%}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3g}"
