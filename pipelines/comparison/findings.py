"""What a comparison found: per run its rates, its distance from the reference, tokens and minutes; and which was best.

Reads finished runs; returns the content of `comparison.json`. Intervals are percentiles of a bootstrap over held-out
tasks (Efron 1979, Annals of Statistics 7:1), the unit that was drawn: completions of one task are much alike. The
difference between two methods is taken on the same resampled tasks.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from pipelines.comparison.experiment import Comparison
from pipelines.evaluation.held_out import load_phase
from pipelines.records import Prompting
from pipelines.run.folder import Run

Runs = dict[tuple[str, int], Run]
"""(method, seed) → its run."""
Rates = npt.NDArray[np.float64]
PROMPTINGS: tuple[Prompting, ...] = ("bare", "worked_examples")
RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One method's held-out tasks of all seeds: of each the share of exactly right completions, in [0, 1]."""

    tasks: tuple[tuple[int, str], ...]
    """(seed, task)."""
    rates: Rates


def collect(comparison: Comparison, runs: Runs, root: Path) -> dict[str, Any]:
    """The content of `comparison.json`."""
    seeds, methods = comparison.seeds, list(comparison.methods)
    by_method = {name: {seed: runs[name, seed] for seed in seeds} for name in methods}
    found: dict[str, Any] = {}
    for prompting in PROMPTINGS:
        before = _measure(by_method[methods[0]], "before", prompting)
        if not before.tasks:
            continue
        after = {name: _measure(own, "after", prompting) for name, own in by_method.items()}
        found[prompting] = {"before": interval(before.rates), **rank(after)}
    return {
        "methods": methods,
        "seeds": list(seeds),
        "rates": found,
        "runs": [_describe(method, seed, run, root) for (method, seed), run in runs.items()],
        "interval": f"bootstrap over held-out tasks, 95 %, {RESAMPLES} resamples",
    }


def _measure(runs: dict[int, Run], phase: str, prompting: Prompting) -> Measured:
    passed: dict[tuple[int, str], list[bool]] = {}
    for seed, run in runs.items():
        for completion, verdict in load_phase(run, phase):
            if completion.prompting == prompting:
                passed.setdefault((seed, completion.task_id), []).append(verdict.passed)
    return Measured(tasks=tuple(passed), rates=np.array([np.mean(row) for row in passed.values()], dtype=np.float64))


def rank(measured: dict[str, Measured]) -> dict[str, Any]:
    """`methods`, best first, each with its mean rate and interval; `lead`, how far the first is before the second.

    All have the same tasks. A lead whose interval holds 0 is no finding, and `is_clear` says so.
    """
    tasks = {one.tasks for one in measured.values()}
    assert len(tasks) == 1
    best_first = sorted(measured, key=lambda name: -float(measured[name].rates.mean()))
    first, second = best_first[:2]
    lead = interval(measured[first].rates - measured[second].rates)
    return {
        "methods": [{"method": name, "exact": interval(measured[name].rates)} for name in best_first],
        "lead": {"first": first, "second": second, **lead, "is_clear": bool(lead["low"] > 0)},
    }


def interval(values: Rates) -> dict[str, float]:
    """`mean` of the values [tasks], with `low` and `high` of its 95 % bootstrap interval, and `tasks`."""
    drawn = np.random.default_rng(0).integers(len(values), size=(RESAMPLES, len(values)))
    low, high = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    return {"mean": float(values.mean()), "low": float(low), "high": float(high), "tasks": len(values)}


def _describe(method: str, seed: int, run: Run, root: Path) -> dict[str, Any]:
    """One run's costs, and how far it went from where it started."""
    stages = run.manifest()["stages"]
    sample, train = stages["sample"], stages["train"]
    draws_its_own = train.get("sampled_tokens") is not None
    metrics = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    held_out = train.get("held_out") or {}
    return {
        "method": method,
        "seed": seed,
        "run": run.root.relative_to(root).as_posix(),
        "trainer": train["method"],
        "steps": train["steps"],
        "rows": train["pairs"],
        "tokens_sampled": train["sampled_tokens"] if draws_its_own else sample["tokens"],
        "sampling_seconds": 0.0 if draws_its_own else sample["seconds"],
        "training_seconds": train["training_seconds"],
        "exact": {name: rows["overall"]["exact"] for name, rows in metrics["after"].items()},
        "kl_nats_per_token": held_out.get("kept", {}).get("held_out/kl_nats_per_token"),
        "chat_kl_nats_per_token": metrics.get("chat", {}).get("kl_nats_per_token"),
    }
