"""What a comparison found: per run its rates, its distance from the reference, tokens and minutes; and which was best.

Reads finished runs; returns the content of `comparison.json`. Intervals are percentiles of a bootstrap over test
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
from pipelines.records import Source, Verdict
from pipelines.run.folder import Run
from pipelines.samples.store import read_samples

Runs = dict[tuple[str, int], Run]
"""(method, seed) → its run."""
Rates = npt.NDArray[np.float64]
SOURCES: tuple[Source, ...] = ("zero_shot", "few_shot")
RESAMPLES = 10_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """One method's test tasks of all seeds: of each the share of samples that are right, in [0, 1]."""

    tasks: tuple[tuple[int, str], ...]
    """(seed, task)."""
    rates: Rates


def collect(comparison: Comparison, runs: Runs, root: Path) -> dict[str, Any]:
    """The content of `comparison.json`."""
    seeds, methods = comparison.seeds, list(comparison.methods)
    by_method = {name: {seed: runs[name, seed] for seed in seeds} for name in methods}
    found: dict[str, Any] = {}
    for source in SOURCES:
        before = _measure(by_method[methods[0]], "before", source)
        if not before.tasks:
            continue
        after = {name: _measure(own, "after", source) for name, own in by_method.items()}
        found[source] = {"before": interval(before.rates), **rank(after)}
    return {
        "methods": methods,
        "seeds": list(seeds),
        "rates": found,
        "runs": [_describe(method, seed, run, root) for (method, seed), run in runs.items()],
        "interval": f"bootstrap over test tasks, 95 %, {RESAMPLES} resamples",
    }


def _measure(runs: dict[int, Run], phase: str, source: Source) -> Measured:
    passed: dict[tuple[int, str], list[bool]] = {}
    for seed, run in runs.items():
        for task_id, samples in read_samples(run.evaluation(phase)).items():
            right = [_is_right(sample.verdict) for sample in samples if sample.source == source]
            if right:
                passed[seed, task_id] = right
    return Measured(tasks=tuple(passed), rates=np.array([np.mean(row) for row in passed.values()], dtype=np.float64))


def _is_right(verdict: Verdict) -> bool:
    """Whether the right answer is met; of a task that knows none, whether all that it asks for holds."""
    return verdict.passed if verdict.exact_match is None else verdict.exact_match


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
        "methods": [{"method": name, "right": interval(measured[name].rates)} for name in best_first],
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
    sample, train = stages["sample_1"], stages["train_1"]
    draws_its_own = train.get("sampled_tokens") is not None
    metrics = json.loads(run.metrics_file.read_text(encoding="utf-8"))
    validation = train.get("validation") or {}
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
        "exact_match": {name: rows["overall"]["exact_match"] for name, rows in metrics["after"].items()},
        "kl_nats_per_token": validation.get("selected", {}).get("validation/kl_nats_per_token"),
        "chat_kl_nats_per_token": metrics.get("chat", {}).get("kl_nats_per_token"),
    }
