"""Files of ordinary requests, those that ship among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.errors import ConfigError
from pipelines.tasks.prompt_files import load_prompts

DATA = Path(__file__).resolve().parent.parent.parent / "data"


@pytest.mark.parametrize("name", ["chat", "rehearsal"])
def test_the_shipped_requests_are_distinct_and_ask_for_no_json(name: str):
    prompts = load_prompts(DATA / f"{name}.yaml")
    assert len(prompts) == len(set(prompts)) >= 20
    assert not [prompt for prompt in prompts if "json" in prompt.lower()]


def test_nothing_is_rehearsed_that_is_measured():
    rehearsed, measured = (load_prompts(DATA / f"{name}.yaml") for name in ("rehearsal", "chat"))
    assert not {prompt.casefold() for prompt in rehearsed} & {prompt.casefold() for prompt in measured}


@pytest.mark.parametrize("text", ["[]", "prompts: []", "prompts: [1]", "prompts: text"])
def test_a_file_without_prompts_is_named(tmp_path: Path, text: str):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"c\.yaml: must hold `prompts:`"):
        load_prompts(tmp_path / "c.yaml")
