"""What training reads: the pairs of a dataset, the run's or another, those of earlier rounds to go over again, and the
tasks of its validation split to be measured."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset, concatenate_datasets, load_dataset
from datasets.exceptions import DatasetsError

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.records import Task
from pipelines.rewards.verifiers import build_verifier
from pipelines.run.files import hash_files
from pipelines.run.folder import Round
from pipelines.run.shipped import shipped
from pipelines.training.methods import TABLES
from pipelines.training.replay import replayed_pairs
from pipelines.training.validation import Question

_COLUMNS = {"pairs": ("prompt", "chosen", "rejected"), "kto": ("prompt", "completion", "label")}


def load_table(config: Config, run: Round) -> tuple[Dataset, int]:
    """What the method trains on, and how many of its rows are pairs of earlier rounds.

    Of the run's dataset, or of the one the config names; DataError without it.
    """
    name = TABLES[config.training.method]
    folder, advice = _source(config, run)
    table = _load(folder, run, name, _COLUMNS[name], advice)
    per_family = config.training.replay_per_family
    if per_family is None or not run.earlier:
        return table, 0
    replayed = _load_replayed(config, run, table, per_family)
    return concatenate_datasets([table, replayed]), len(replayed)


def _load_replayed(config: Config, run: Round, pairs: Dataset, per_family: int) -> Dataset:
    columns, advice = ("task_id", "family"), "run the rounds again from `attend-and-prefer pair`"
    sampled = _load(run.dataset, run, "samples", columns, advice)["task_id"]
    earlier = [_load(before.dataset, run, "pairs", columns, advice) for before in run.earlier]
    return replayed_pairs(pairs, sampled, earlier, per_family, config.seed)


def _load(folder: Path, run: Round, name: str, columns: Sequence[str], advice: str) -> Dataset:
    """One table's train split; DataError when it cannot be read or lacks a column."""
    try:
        table = load_dataset(str(folder), name, split="train", cache_dir=_cache(folder, run))
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(f"{folder}: no {name} can be loaded ({error}); {advice}") from error
    for column in columns:
        if column not in table.column_names:
            raise DataError(f"{folder}: {name} has no column {column!r}; it needs {', '.join(columns)}")
    return table


def load_questions(config: Config, run: Round) -> list[Question]:
    """The tasks of the dataset's validation split under the prompt that is trained on; DataError without any."""
    folder, advice = _source(config, run)
    try:
        rows = load_dataset(str(folder), "kto", split="validation", cache_dir=_cache(folder, run))
        described = {row["task_id"]: row for row in rows}
    except (OSError, ValueError, KeyError, DatasetsError) as error:
        raise DataError(
            f"{folder}: training.validation needs a `validation` split with task_id and prompt ({error}); raise "
            f"preferences.validation_fraction, or {advice}"
        ) from error
    known = {}
    if config.training.dataset is None:
        known = {task.id: task for task in run.run.iterate_tasks() if task.id in described}
    verifier = build_verifier(config)
    return [
        Question(
            task=known.get(task_id) or _task(row),
            messages=tuple(row["prompt"]),
            verifier=verifier,
        )
        for task_id, row in described.items()
    ]


def _task(row: dict[str, Any]) -> Task:
    """A task as far as a dataset of ours tells of it."""
    return Task(
        id=row["task_id"],
        family=row.get("family", ""),
        key=row["task_id"],
        split="validation",
        prompt=tuple(row["prompt"]),
        schema=row.get("schema"),
        targets=tuple(row.get("targets") or ()),
    )


def _cache(folder: Path, run: Round) -> str:
    """A cache for these very files: datasets 5.2 gives back what a folder of the same name held before."""
    hashes = json.dumps(hash_files(folder, ["."]))
    return str(run.training / "cache" / hashlib.sha256(hashes.encode()).hexdigest()[:16])


def _source(config: Config, run: Round) -> tuple[Path, str]:
    """The dataset's folder, and what to do when it does not serve."""
    own = config.training.dataset is None
    folder = run.require(run.dataset, "pair") if own else shipped(str(config.training.dataset))
    advice = "run `attend-and-prefer pair` again" if own else "name a folder with configs `pairs` and `kto`"
    if not folder.is_dir():
        raise DataError(f"training.dataset must be a folder, got {str(folder)!r}; {advice}")
    return folder, advice
