from __future__ import annotations

import pytest
from huggingface_hub import DatasetCard

from pipelines.config import Config, PreferencesConfig, TrainingConfig
from pipelines.preferences.card import render_card
from pipelines.preferences.pairing import build_pairs
from pipelines.preferences.tables import TABLES, Preferences
from pipelines.records import Sample, Task, Verdict
from tests.made import make_sample, make_task

ASKED = ({"role": "system", "content": "s"}, {"role": "user", "content": "p"})


def preferences_of(tasks: int = 40, fraction: float = 0.25) -> Preferences:
    """Two tasks to every target; of each task's four samples one is right and one is cut off."""
    config = Config(preferences=PreferencesConfig(validation_fraction=fraction), training=TrainingConfig(few_shot=0))
    made = [
        make_task(f"t/{n}", family="t", key=f"k{n // 2}", prompt=f"p{n // 2}", targets=(str(n // 2), "null"))
        for n in range(tasks)
    ]
    samples = {task.id: [sample(task, index) for index in range(4)] for task in made}
    scores = {(row.task_id, row.index): float(row.verdict.passed) for rows in samples.values() for row in rows}
    pairs, outcomes = build_pairs(made, samples, scores, config.preferences, 0)
    return Preferences(
        config=config, tasks=made, samples=samples, scores=scores, pairs=pairs, outcomes=outcomes, model={"name": "m"}
    )


def sample(task: Task, index: int) -> Sample:
    return make_sample(
        f"<b>|{index}", index, task_id=task.id, source="few_shot", messages=ASKED,
        finish_reason="length" if index == 3 else "stop",
        verdict=Verdict(parses=index == 0, exact_match=index == 0, reason="unexpected_end" if index else None),
    )  # fmt: skip


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_no_target_and_no_task_is_in_both_splits(fraction: float):
    preferences = preferences_of(fraction=fraction)
    splits = preferences.splits()
    sides: dict[str, list[dict]] = {"train": [], "validation": []}
    for task_id, row in preferences.rows("samples"):
        sides[splits[task_id]].append(row)
    for column in (lambda row: tuple(row["targets"]), lambda row: row["task_id"]):
        assert not set(map(column, sides["train"])) & set(map(column, sides["validation"]))
    assert len(sides["validation"]) == fraction * 40 * 4


def test_every_row_has_exactly_the_columns_of_its_table():
    preferences = preferences_of()
    for table, features in TABLES.items():
        assert all(set(row) == set(features) for _, row in preferences.rows(table))


def test_samples_and_kto_hold_every_completion():
    preferences = preferences_of()
    assert {table: len(list(preferences.rows(table))) for table in ("samples", "kto")} == {"samples": 160, "kto": 160}


def test_samples_stand_under_the_messages_they_were_drawn_under_and_pairs_under_the_trained_ones():
    preferences = preferences_of()
    assert all(row["prompt"] == list(ASKED) for _, row in preferences.rows("samples"))
    trained = {task.id: list(task.messages) for task in preferences.tasks}
    for table in ("pairs", "kto"):
        assert all(row["prompt"] == trained[task_id] for task_id, row in preferences.rows(table))


def test_every_accepted_value_is_in_the_tables():
    for table in TABLES:
        assert all(row["targets"][1] == "null" for _, row in preferences_of().rows(table))


def test_the_card_parses_with_its_configs_and_counts_every_completion():
    preferences = preferences_of()
    card = DatasetCard(render_card(preferences, {name: {"train": 9, "validation": 1} for name in TABLES}))
    assert card.data.license == "apache-2.0"
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == ["pairs", "samples", "kto"]
    assert "| **all** | 160 |" in card.text
    assert sum(preferences.outcomes.values()) == 160
    assert preferences.outcomes["cut off by the token limit"] == 40


def test_model_output_stays_text_in_the_card():
    text = render_card(preferences_of(), {name: {"train": 1} for name in TABLES})
    assert all(line.startswith("    ") for line in text.splitlines() if "<b>" in line)
