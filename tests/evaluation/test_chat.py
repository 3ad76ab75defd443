from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import ChatConfig
from pipelines.evaluation.chat import chat, divergence, is_json_like
from pipelines.models import load_model
from tests.tiny import build_tiny_model

ROOT = Path(__file__).resolve().parent.parent.parent
SETTINGS = ChatConfig(file="", samples_per_prompt=3, max_new_tokens=6)


@pytest.mark.parametrize(
    ("text", "expected"),
    [('["Paris"]', True), ('  {"a": 1', True), ("```json\n[1]", True), ("Paris [1]", False), ("", False)],
)
def test_an_answer_is_json_when_it_begins_as_a_list_an_object_or_a_fence(text: str, expected: bool):
    assert is_json_like(text) is expected


def test_answers_are_counted_and_another_model_is_some_way_off(tiny, tmp_path: Path):
    model, tokenizer = tiny
    found = chat(model, tokenizer, ["Hello?", "Why?"], SETTINGS, seed=0)
    summary = found.summary()
    assert (summary["prompts"], summary["answers"], summary["json_share"]["total"]) == (2, 6, 6)
    assert 1 <= summary["mean_tokens"] <= 6
    other, _ = load_model(str(build_tiny_model(tmp_path / "other", seed=1)))
    assert divergence(model, model, found) == 0 < divergence(model, other, found)


def test_the_same_seed_gives_the_same_answers(tiny):
    model, tokenizer = tiny
    one, other = (chat(model, tokenizer, ["Hello?"], SETTINGS, seed=3).answers for _ in range(2))
    assert one == other
