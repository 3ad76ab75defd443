from __future__ import annotations

from collections import Counter

import pytest
from huggingface_hub import DatasetCard

from pipelines.config import Config, PreferencesConfig
from pipelines.preferences import build_pairs
from pipelines.preferences.card import render_card
from pipelines.preferences.tables import TABLES, Preferences
from pipelines.records import Completion, Task, Verdict


def preferences_of(tasks: int = 40, fraction: float = 0.25) -> Preferences:
    """Two tasks to every target; of each task's four samples one is right and one is cut off."""
    config = Config(preferences=PreferencesConfig(test_fraction=fraction))
    made = [
        Task(id=f"t/{n}", family="t", key=f"k{n // 2}", split="train", prompt=f"p{n // 2}", target=str(n // 2))
        for n in range(tasks)
    ]
    judged = {task.id: [sample(task, index) for index in range(4)] for task in made}
    scores = {(row.task_id, row.index): float(verdict.passed) for rows in judged.values() for row, verdict in rows}
    pairs, fates = build_pairs(made, judged, scores, config.preferences, 0)
    return Preferences(
        config=config, tasks=made, judged=judged, scores=scores, pairs=pairs, fates=fates, model={"name": "tiny"}
    )


def sample(task: Task, index: int) -> tuple[Completion, Verdict]:
    completion = Completion(
        task_id=task.id, index=index, prompting="bare", text=f"<b>|{index}", prompt_tokens=5, logprob_nats=-1.0,
        finish_reason="length" if index == 3 else "stop", completion_tokens=index + 1, seed=index,
    )  # fmt: skip
    return completion, Verdict(
        parses=index == 0, exact=index == 0, reason=None if index == 0 else "unexpected_character"
    )


@pytest.mark.parametrize("fraction", [0.0, 0.1, 0.5])
def test_no_prompt_and_no_target_is_in_both_splits(fraction: float):
    preferences = preferences_of(fraction=fraction)
    splits = preferences.splits()
    sides: dict[str, list[dict]] = {"train": [], "test": []}
    for task_id, row in preferences.rows("samples"):
        sides[splits[task_id]].append(row)
    for column in ("target", "task_id"):
        assert not {row[column] for row in sides["train"]} & {row[column] for row in sides["test"]}
    assert len(sides["test"]) == fraction * 40 * 4


def test_every_row_has_exactly_the_columns_of_its_table():
    preferences = preferences_of()
    for table, features in TABLES.items():
        assert all(set(row) == set(features) for _, row in preferences.rows(table))


def test_samples_hold_every_completion_and_kto_those_that_ended():
    preferences = preferences_of()
    assert len(list(preferences.rows("samples"))) == 160
    assert len(list(preferences.rows("kto"))) == 120


def test_the_card_parses_with_its_configs_and_counts_every_completion():
    preferences = preferences_of()
    card = DatasetCard(render_card(preferences, {name: {"train": 9, "test": 1} for name in TABLES}))
    assert card.data.license == "apache-2.0"
    assert [config["config_name"] for config in card.data.to_dict()["configs"]] == ["pairs", "samples", "kto"]
    assert "| **all** | 160 |" in card.text
    assert sum(preferences.fates.values()) == 160
    assert Counter(preferences.fates)["cut off by the token limit"] == 40


def test_model_output_stays_text_in_the_card():
    text = render_card(preferences_of(), {name: {"train": 1} for name in TABLES})
    assert all(line.startswith("    ") for line in text.splitlines() if "<b>" in line)
