"""The run's dataset folder: `samples`, `pairs` and `kto` as Parquet with fixed features, and a card.

Reads a round's samples; writes a folder that `datasets.load_dataset(folder, name)` reads and
TRL's trainers take as it is. The whole folder appears at once or not at all.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError
from pipelines.models import load_tokenizer
from pipelines.preferences.card import render_card
from pipelines.preferences.pairing import build_pairs
from pipelines.preferences.tables import TABLES, Preferences
from pipelines.records import TIERS
from pipelines.rewards import Scoring, score
from pipelines.run.files import new_folder, write_text
from pipelines.run.folder import Round
from pipelines.samples.store import read_samples

_ROWS_AT_A_TIME = 2048


def build_dataset(config: Config, run: Round) -> dict[str, Any]:
    """Pair the round's samples and write its dataset; returns the counts. DataError when too few pairs are left."""
    preferences = collect(config, run)
    splits = preferences.splits()
    family = {task.id: task.family for task in preferences.sampled}
    with new_folder(run.dataset) as folder:
        counts = {table: _write_table(preferences, table, folder / table) for table in TABLES}
        if not counts["pairs"].get("train"):
            raise DataError("every pair fell into the validation split; lower preferences.validation_fraction")
        write_text(folder / "README.md", render_card(preferences, counts))
    return {
        "pairs": len(preferences.pairs),
        "validation_tasks": sum(split == "validation" for split in splits.values()),
        "outcomes": dict(preferences.outcomes),
        "pairs_per_family": dict(Counter(family[pair.task_id] for pair in preferences.pairs)),
        "rows": counts,
    }


def collect(config: Config, run: Round) -> Preferences:
    """The run's tasks, the round's samples, scores and pairs."""
    tasks = run.run.load_tasks()
    samples = read_samples(run.require(run.samples, "sample"))
    scoring = build_scoring(config)
    trained = {task.id for task in tasks if task.split == "train"}
    untrained = [task_id for task_id in samples if task_id not in trained]
    if untrained:
        raise DataError(
            f"{run.samples}: holds samples of {untrained[0]!r}, which is not a training task; "
            "pairs come from training tasks only, take the others out"
        )
    scores = {(one.task_id, one.index): score(one.verdict, scoring) for own in samples.values() for one in own}
    pairs, outcomes = build_pairs(
        [task for task in tasks if task.id in samples],
        samples,
        scores,
        config.preferences,
        config.seed,
        same_tokens=_same_tokens(config),
    )
    model = run.run.manifest().get("model", {"name": config.model.name})
    return Preferences(
        config=config, tasks=tasks, samples=samples, scores=scores, pairs=pairs, outcomes=outcomes, model=model
    )


def build_scoring(config: Config) -> Scoring:
    """`rewards.scores` as the verifier takes it; ConfigError names a tier there is not."""
    for tier in config.rewards.scores:
        if tier not in TIERS:
            raise ConfigError(f"unknown key {tier!r} in section 'rewards.scores'; known: {', '.join(TIERS)}")
    return Scoring(**config.rewards.scores)


def _same_tokens(config: Config) -> Callable[[str, str], bool]:
    """Whether two answers are the same tokens once the chat template has them, which may trim or normalise text."""
    tokenizer = load_tokenizer(config.model)

    def ids(answer: str) -> list[int]:
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        return list(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])

    return lambda one, other: ids(one) == ids(other)


def _write_table(preferences: Preferences, table: str, folder: Path) -> dict[str, int]:
    """One Parquet file per split that has rows, written a part at a time; returns the rows of each."""
    splits, schema = preferences.splits(), TABLES[table].arrow_schema
    counts: Counter[str] = Counter()
    folder.mkdir()
    with contextlib.ExitStack() as open_files:
        writers: dict[str, pq.ParquetWriter] = {}
        waiting: dict[str, list[dict[str, Any]]] = {"train": [], "validation": []}

        def write(split: str) -> None:
            if split not in writers:
                file = folder / f"{split}-00000-of-00001.parquet"
                writers[split] = open_files.enter_context(pq.ParquetWriter(file, schema))
            writers[split].write_table(pa.Table.from_pylist(waiting[split], schema=schema))
            waiting[split] = []

        for task_id, row in preferences.rows(table):
            split = splits[task_id]
            waiting[split].append(row)
            counts[split] += 1
            if len(waiting[split]) == _ROWS_AT_A_TIME:
                write(split)
        for name in [name for name, rows in waiting.items() if rows]:
            write(name)
    return {split: counts[split] for split in ("train", "validation") if counts[split]}
