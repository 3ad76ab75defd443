from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from huggingface_hub import DatasetCard

from pipelines.config import Config, PreferencesConfig, TrainingConfig
from pipelines.preferences.card import Statistics, render_card
from pipelines.preferences.pairing import build_pairs
from pipelines.preferences.tables import TABLES, Preferences, validation_keys
from pipelines.records import Pair, Sample, Task, Verdict
from tests.made import make_sample, make_task

ASKED = ({"role": "system", "content": "s"}, {"role": "user", "content": "p"})


CONFIG = Config(preferences=PreferencesConfig(validation_fraction=0.25), training=TrainingConfig(few_shot=0))
TASKS = [
    make_task(f"t/{n}", family="t", key=f"k{n // 2}", prompt=f"p{n // 2}", targets=(str(n // 2), "null"))
    for n in range(40)
]
"""Two to every target."""


def preferences_of(fraction: float = 0.25) -> Preferences:
    """Of each task's four samples one is right and one is cut off."""
    config = dataclasses.replace(CONFIG, preferences=PreferencesConfig(validation_fraction=fraction))
    pairs, outcomes = build_pairs(TASKS, SAMPLES, worth, config.preferences, 0)
    return Preferences(
        config=config, examples=[], validation=validation_keys({task.key for task in TASKS}, config), score=worth,
        pairs=pairs, outcomes=outcomes, model={"name": "m"},
    )  # fmt: skip


def rows_of(preferences: Preferences, *tables: str) -> list[tuple[Task, dict[str, Any]]]:
    """(task, row) of these tables."""
    rows = []
    for task in TASKS:
        own = [pair for pair in preferences.pairs if pair.task_id == task.id]
        rows += [(task, row) for table, row in preferences.rows(task, SAMPLES[task.id], own) if table in tables]
    return rows


def card_of(preferences: Preferences) -> str:
    statistics = Statistics()
    for task in TASKS:
        own = [pair for pair in preferences.pairs if pair.task_id == task.id]
        statistics.add(task, preferences.split_of(task), SAMPLES[task.id], own)
    return render_card(preferences, statistics, {name: {"train": 9, "validation": 1} for name in TABLES})


def worth(sample: Sample) -> float:
    return float(sample.verdict.passed)


def sample(task: Task, index: int) -> Sample:
    return make_sample(
        f"<b>|{index}", index, task_id=task.id, source="few_shot", messages=ASKED,
        finish_reason="length" if index == 3 else "stop",
        verdict=Verdict(parses=index == 0, exact_match=index == 0, reason="unexpected_end" if index else None),
    )  # fmt: skip


SAMPLES = {task.id: [sample(task, index) for index in range(4)] for task in TASKS}


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_no_target_and_no_task_is_in_both_splits(fraction: float):
    preferences = preferences_of(fraction=fraction)
    sides: dict[str, list[dict]] = {"train": [], "validation": []}
    for task, row in rows_of(preferences, "samples"):
        sides[preferences.split_of(task)].append(row)
    for column in (lambda row: tuple(row["targets"]), lambda row: row["task_id"]):
        assert not set(map(column, sides["train"])) & set(map(column, sides["validation"]))
    assert len(sides["validation"]) == fraction * 40 * 4


def test_every_row_has_exactly_the_columns_of_its_table():
    preferences = preferences_of()
    for table, features in TABLES.items():
        assert all(set(row) == set(features) for _, row in rows_of(preferences, table))


def test_samples_and_kto_hold_every_completion():
    preferences = preferences_of()
    assert {table: len(rows_of(preferences, table)) for table in ("samples", "kto")} == {"samples": 160, "kto": 160}


def test_samples_stand_under_the_messages_they_were_drawn_under_and_pairs_under_the_trained_ones():
    preferences = preferences_of()
    assert all(row["prompt"] == list(ASKED) for _, row in rows_of(preferences, "samples"))
    assert all(row["prompt"] == list(task.messages) for task, row in rows_of(preferences, "pairs", "kto"))


def test_every_accepted_value_is_in_the_tables():
    assert all(row["targets"][1] == "null" for _, row in rows_of(preferences_of(), *TABLES))


def test_the_card_parses_with_its_configs_and_counts_every_completion():
    preferences = preferences_of()
    card = DatasetCard(card_of(preferences))
    assert card.data.license == "apache-2.0"
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == ["pairs", "samples", "kto"]
    assert "| **all** | 160 |" in card.text
    assert sum(preferences.outcomes.values()) == 160
    assert preferences.outcomes["cut off by the token limit"] == 40


def test_model_output_stays_text_in_the_card():
    text = card_of(preferences_of())
    assert all(line.startswith("    ") for line in text.splitlines() if "<b>" in line)


@pytest.mark.parametrize(("same", "warned"), [(3, True), (2, False)])
def test_one_answer_to_many_open_requests_is_warned_of(same: int, warned: bool):
    statistics = Statistics()
    right = Verdict(parses=True, schema_valid=True)
    for number in range(10):
        task = make_task(f"t{number}", schema="{}")
        own = [
            make_sample("{}" if number < same else f"[{number}]", 0, task_id=task.id, verdict=right),
            make_sample("no", 1, task_id=task.id, verdict=Verdict(parses=False)),
        ]
        pair = Pair(task_id=task.id, chosen_index=0, rejected_index=1, margin=1.0)
        statistics.add(task, "train", own, [pair])
    assert bool(statistics.warning()) == warned
