"""The run's dataset folder: `samples`, `pairs` and `kto` as Parquet with fixed features, and a card.

Reads a round's samples, a task's at a time; writes a folder that `datasets.load_dataset(folder, name)` reads and
TRL's trainers take as it is. The whole folder appears at once or not at all. In memory are the pairs, and of every task
its id, its key and where its samples are stored: a few hundred bytes, and no text.
"""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError
from pipelines.models import load_tokenizer
from pipelines.preferences.card import Statistics, render_card
from pipelines.preferences.pairing import build_pairs
from pipelines.preferences.tables import SPLITS, TABLES, DatasetSplit, Preferences, Row, validation_keys
from pipelines.records import TIERS, Pair, Sample, Task
from pipelines.rewards import Scoring, score
from pipelines.run.files import new_folder, write_text
from pipelines.run.folder import Round
from pipelines.samples.store import read_samples
from pipelines.tasks import solved_examples

_ROWS_AT_A_TIME = 2048


def build_dataset(config: Config, run: Round) -> dict[str, Any]:
    """Pair the round's samples and write its dataset; returns the counts. DataError when too few pairs are left."""
    run.run.require(run.run.tasks_file, "tasks")
    samples = read_samples(run.require(run.samples, "sample"))
    preferences = collect(config, run, samples)
    statistics = Statistics()
    with new_folder(run.dataset) as folder:
        counts = _write_tables(_rows(preferences, _sampled(run, samples), samples, statistics), folder)
        if not counts["pairs"].get("train"):
            raise DataError("every pair fell into the validation split; lower preferences.validation_fraction")
        write_text(folder / "README.md", render_card(preferences, statistics, counts))
    if warning := statistics.warning():
        print(f"  warning: {warning}", flush=True)
    return {
        "pairs": len(preferences.pairs),
        "validation_tasks": statistics.tasks["validation"],
        "outcomes": dict(preferences.outcomes),
        "pairs_per_family": dict(statistics.pairs_per_family),
        "pairs_per_source": dict(statistics.pairs_per_source),
        "rows": counts,
    }


def collect(config: Config, run: Round, samples: Mapping[str, Sequence[Sample]]) -> Preferences:
    """The pairs of the round's samples, and what else the dataset is made with."""
    others, keys = dict.fromkeys(samples), set()
    for task in _sampled(run, samples):
        del others[task.id]
        keys.add(task.key)
    if others:
        raise DataError(
            f"{run.samples}: holds samples of {next(iter(others))!r}, which is not a training task; "
            "pairs come from training tasks only, take the others out"
        )
    scoring = build_scoring(config)

    def worth(sample: Sample) -> float:
        return score(sample.verdict, scoring)

    pairs, outcomes = build_pairs(
        _sampled(run, samples), samples, worth, config.preferences, config.seed, same_tokens=_same_tokens(config)
    )
    return Preferences(
        config=config,
        examples=solved_examples(run.run.iterate_tasks("example"), config.training.few_shot),
        validation=validation_keys(keys, config),
        score=worth,
        pairs=pairs,
        outcomes=outcomes,
        model=run.run.manifest().get("model", {"name": config.model.name}),
    )


def _sampled(run: Round, samples: Mapping[str, Sequence[Sample]]) -> Iterator[Task]:
    """The training tasks that have samples."""
    return (task for task in run.run.iterate_tasks("train") if task.id in samples)


def _rows(
    preferences: Preferences, tasks: Iterable[Task], samples: Mapping[str, Sequence[Sample]], statistics: Statistics
) -> Iterator[tuple[str, DatasetSplit, Row]]:
    """(table, split, row) for all rows of the dataset, a task's at a time; the statistics are counted meanwhile."""
    pairs: dict[str, list[Pair]] = {}
    for pair in preferences.pairs:
        pairs.setdefault(pair.task_id, []).append(pair)
    for task in tasks:
        own, split = samples[task.id], preferences.split_of(task)
        statistics.add(task, split, own, pairs.get(task.id, ()))
        for table, row in preferences.rows(task, own, pairs.get(task.id, ())):
            yield table, split, row


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
        if tokenizer.chat_template is None:  # of a policy behind a server
            return list(tokenizer(answer)["input_ids"])
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        return list(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])

    return lambda one, other: ids(one) == ids(other)


def _write_tables(rows: Iterable[tuple[str, DatasetSplit, Row]], folder: Path) -> dict[str, dict[str, int]]:
    """One Parquet file per table and split that has rows, written a part at a time; returns the rows of each."""
    counts: Counter[tuple[str, DatasetSplit]] = Counter()
    waiting: dict[tuple[str, DatasetSplit], list[Row]] = {(table, split): [] for table in TABLES for split in SPLITS}
    with contextlib.ExitStack() as open_files:
        writers: dict[tuple[str, DatasetSplit], pq.ParquetWriter] = {}

        def write(table: str, split: DatasetSplit) -> None:
            schema, place = TABLES[table].arrow_schema, (table, split)
            if place not in writers:
                (folder / table).mkdir(exist_ok=True)
                file = folder / table / f"{split}-00000-of-00001.parquet"
                writers[place] = open_files.enter_context(pq.ParquetWriter(file, schema))
            writers[place].write_table(pa.Table.from_pylist(waiting[place], schema=schema))
            waiting[place] = []

        for table, split, row in rows:
            waiting[table, split].append(row)
            counts[table, split] += 1
            if len(waiting[table, split]) == _ROWS_AT_A_TIME:
                write(table, split)
        for place in [place for place, left in waiting.items() if left]:
            write(*place)
    return {table: {split: counts[table, split] for split in SPLITS if counts[table, split]} for table in TABLES}
