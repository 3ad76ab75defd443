"""The run's dataset folder: `samples`, `pairs` and `kto` as Parquet with fixed features, and a card.

Takes the run's tasks, completions and verdicts; leaves a folder that `datasets.load_dataset(folder, name)` reads and
TRL's trainers take as it is. The whole folder appears at once or not at all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datasets import Dataset

from pipelines.config import Config
from pipelines.errors import ConfigError, DataError
from pipelines.models import load_tokenizer
from pipelines.preferences.card import render_card
from pipelines.preferences.pairing import Judged, build_pairs
from pipelines.preferences.tables import TABLES, Preferences
from pipelines.records import TIERS, Completion, Task, Verdict, load_lines
from pipelines.rewards import Scoring, score
from pipelines.rundir import RunDir, new_folder, write_text


def build_dataset(config: Config, run: RunDir) -> dict[str, Any]:
    """Pair the run's judged completions and write `dataset/`; returns the counts. DataError when no pair is left."""
    preferences = collect(config, run)
    splits = preferences.splits()
    family = {task.id: task.family for task in preferences.sampled}
    with new_folder(run.dataset) as folder:
        counts = {table: _write_table(preferences, table, folder / table) for table in TABLES}
        if not counts["pairs"].get("train"):
            raise DataError("every pair fell into the test split; lower preferences.test_fraction")
        write_text(folder / "README.md", render_card(preferences, counts))
    return {
        "pairs": len(preferences.pairs),
        "test_tasks": sum(split == "test" for split in splits.values()),
        "fates": dict(preferences.fates),
        "pairs_per_family": dict(Counter(family[pair.task_id] for pair in preferences.pairs)),
        "rows": counts,
    }


def collect(config: Config, run: RunDir) -> Preferences:
    """The run's tasks, judged completions, scores and pairs."""
    tasks = load_lines(Task, run.require(run.tasks_file, "build_tasks.py"))
    judged = load_judged(run)
    scoring = build_scoring(config)
    untrained = [task.id for task in tasks if task.id in judged and task.split != "train"]
    if untrained:
        raise DataError(
            f"{run.completions_file}: holds completions of {untrained[0]!r}, which is not a training task; "
            "pairs come from training tasks only, take the others out"
        )
    scores = {(row.task_id, row.index): score(verdict, scoring) for rows in judged.values() for row, verdict in rows}
    pairs, fates = build_pairs(
        [task for task in tasks if task.id in judged],
        judged,
        scores,
        config.preferences,
        config.seed,
        same_tokens=_same_tokens(config),
    )
    model = run.manifest().get("model", {"name": config.model.name})
    return Preferences(config=config, tasks=tasks, judged=judged, scores=scores, pairs=pairs, fates=fates, model=model)


def build_scoring(config: Config) -> Scoring:
    """`rewards.scores` as the validator takes it; ConfigError names a tier there is not."""
    for tier in config.rewards.scores:
        if tier not in TIERS:
            raise ConfigError(f"unknown key {tier!r} in section 'rewards.scores'; known: {', '.join(TIERS)}")
    return Scoring(**config.rewards.scores)


def load_judged(run: RunDir) -> dict[str, list[Judged]]:
    """Task id → its completions with their verdicts, as the sampling and judging stages left them."""
    completions = load_lines(Completion, run.require(run.completions_file, "sample_completions.py"))
    verdicts = load_lines(Verdict, run.require(run.verdicts_file, "judge_completions.py"))
    if len(completions) != len(verdicts):
        raise DataError(
            f"{run.verdicts_file}: {len(verdicts)} verdicts for {len(completions)} completions; "
            "run scripts/judge_completions.py again"
        )
    judged: dict[str, list[Judged]] = {}
    for completion, verdict in zip(completions, verdicts, strict=True):
        judged.setdefault(completion.task_id, []).append((completion, verdict))
    return judged


def _same_tokens(config: Config) -> Callable[[str, str], bool]:
    """Whether two answers are the same tokens once the chat template has them, which may trim or normalise text."""
    tokenizer = load_tokenizer(config.model)

    def ids(answer: str) -> list[int]:
        messages = [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]
        return list(tokenizer.apply_chat_template(messages, return_dict=True)["input_ids"])

    return lambda one, other: ids(one) == ids(other)


def _write_table(preferences: Preferences, table: str, folder: Path) -> dict[str, int]:
    """One Parquet file per split that has rows; returns the rows of each."""
    splits = preferences.splits()
    rows: dict[str, list[dict[str, Any]]] = {"train": [], "test": []}
    for task_id, row in preferences.rows(table):
        rows[splits[task_id]].append(row)
    folder.mkdir()
    for split, content in rows.items():
        if content:
            name = f"{split}-00000-of-00001.parquet"
            Dataset.from_list(content, features=TABLES[table]).to_parquet(folder / name)
    return {split: len(content) for split, content in rows.items() if content}
