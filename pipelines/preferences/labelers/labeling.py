"""One labeler over a run's comparisons: decisions to `labels/<name>.jsonl`, only those that are missing.

Takes a labeler and comparisons; leaves its label file, each line on disk before the next decision is asked for. Which
labeler is the caller's business: one run is labelled by many, so they are no part of its config.
"""

from __future__ import annotations

import datetime
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from pipelines.errors import ConfigError, RunError
from pipelines.preferences.labelers.comparisons import Comparison
from pipelines.preferences.labelers.human import HumanLabeler
from pipelines.preferences.labelers.labels import (
    CHOICES,
    Decision,
    Label,
    Labeler,
    LabelFile,
    open_labels,
    read_labels,
    standing,
)
from pipelines.run.folder import Run


def label_missing(run: Run, labeler: Labeler, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """Have those of the comparisons labelled that are not; returns the counts of all of them.

    RunError when the file holds labels of a labeler with other settings.
    """
    path = label_path(run, labeler.name)
    with open_labels(path) as file:
        _refuse_other(path, labeler, file)
        held = standing(file.labels)
        missing = [comparison for comparison in comparisons if comparison.id not in held]
        # A person sees the count in the question; a bar would run through it.
        quiet = True if isinstance(labeler, HumanLabeler) else None
        with tqdm(total=len(missing), desc=labeler.name, unit="label", disable=quiet) as progress:
            for decision in labeler.decide(missing):
                file.append(_label(labeler, decision))
                progress.update()
        held = standing(file.labels)
    labels = [held[comparison.id].label for comparison in comparisons if comparison.id in held]
    counts: dict[str, int] = {choice: labels.count(choice) for choice in CHOICES}
    return {"comparisons": len(comparisons), "new": max(0, len(labels) - len(comparisons) + len(missing)), **counts}


def labelled_before(run: Run, name: str, comparisons: Sequence[Comparison]) -> list[Comparison]:
    """Those of the comparisons that the file of this name has a label for, oldest label first."""
    known = {comparison.id: comparison for comparison in comparisons}
    return [known[id_] for id_ in standing(read_labels(label_path(run, name))) if id_ in known]


def label_path(run: Run, name: str) -> Path:
    """The label file of a labeler; ConfigError for a name that is none for a file."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ConfigError(f"--name must be letters, digits, dots, dashes and underscores, got {name!r}; choose another")
    return run.labels / f"{name}.jsonl"


def name_after(kind: str, who: str) -> str:
    """A labeler's name from its kind and a person's or model's name, fit for a file."""
    return f"{kind}-{re.sub(r'[^A-Za-z0-9._-]+', '-', who).strip('-.') or 'unnamed'}"[:100]


def _label(labeler: Labeler, decision: Decision) -> Label:
    comparison = decision.comparison
    return Label(
        comparison=comparison.id,
        task_id=comparison.task.id,
        first_index=comparison.first.index,
        second_index=comparison.second.index,
        label=decision.label,
        labeler=labeler.name,
        by=labeler.by,
        when=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        seconds=round(decision.seconds, 6),
        tokens=decision.tokens,
        detail=decision.detail,
    )


def _refuse_other(path: Path, labeler: Labeler, file: LabelFile) -> None:
    for label in file.labels:
        differing = {key for key in {*label.by, *labeler.by} if label.by.get(key) != labeler.by.get(key)}
        if differing:
            key = min(differing)
            raise RunError(
                f"{path} holds labels made with {key} {label.by.get(key)!r}, not {labeler.by.get(key)!r}; "
                "choose another --name"
            )
