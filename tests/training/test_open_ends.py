"""Completions that the token limit cut off are trained on without the end of turn that they never wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset
from trl import DPOConfig, KTOConfig

from pipelines.models import closing_token, load_model
from pipelines.training.trainer import (
    OpenEndedDPOTrainer,
    OpenEndedKTOTrainer,
    PrefixSharingDPOTrainer,
    without_end,
)

ASKED = [{"role": "user", "content": "?"}]
QUIET = {"use_cpu": True, "bf16": False, "report_to": "none", "per_device_train_batch_size": 2}


def said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("kind", [OpenEndedDPOTrainer, PrefixSharingDPOTrainer])
def test_a_cut_off_side_stays_open_and_one_that_ended_is_closed(kind: type, tiny_folder: Path, tmp_path: Path):
    model, tokenizer = load_model(str(tiny_folder))  # of its own: trainers change it
    rows = [
        {"prompt": ASKED, "chosen": said("[1]"), "rejected": said("[1, 2"), "rejected_finish_reason": reason}
        for reason in ("length", "stop")
    ]
    arguments = DPOConfig(output_dir=str(tmp_path), **QUIET)
    trainer = kind(model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer)
    prepared = [
        {side: tokenizer.decode(row[f"{side}_ids"]) for side in ("chosen", "rejected")} for row in trainer.train_dataset
    ]
    assert prepared[0]["rejected"] == "[1, 2"
    assert prepared[1]["rejected"].startswith(f"[1, 2{tokenizer.eos_token}")
    assert {row["chosen"] for row in prepared} == {prepared[1]["rejected"].replace("[1, 2", "[1]")}


def test_ktos_cut_off_completions_stay_open_too(tiny_folder: Path, tmp_path: Path):
    model, tokenizer = load_model(str(tiny_folder))  # of its own: trainers change it
    rows = [
        {"prompt": ASKED, "completion": said("[1"), "label": reason == "stop", "finish_reason": reason}
        for reason in ("length", "stop")
    ]
    arguments = KTOConfig(output_dir=str(tmp_path), **QUIET)
    trainer = OpenEndedKTOTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    ends = [tokenizer.decode(row["completion_ids"]) for row in trainer.train_dataset]
    assert ends[0] == "[1"
    assert ends[1].startswith(f"[1{tokenizer.eos_token}")


@pytest.mark.parametrize(
    "message",
    [
        "{{ m['role'] + ': ' + m['content'] + '\\n<|im_start|>\\n' }}",
        "{{ m['role'] + ': ' + m['content'] | trim + '<|im_start|>' }}",
        "{{ m['role'] + ': ' + m['content'] + ' <|im_end|>' }}",
    ],
)
def test_rows_end_with_the_token_that_ends_samples_and_cut_off_ones_do_not(
    message: str, tiny_folder: Path, tmp_path: Path
):
    model, tokenizer = load_model(str(tiny_folder))
    prompt = "{% if add_generation_prompt %}{{ 'assistant: ' }}{% endif %}"
    tokenizer.chat_template = "{% for m in messages %}" + message + "{% endfor %}" + prompt
    rows = [{"prompt": ASKED, "chosen": said("[1]"), "rejected": said("[1,"), "rejected_finish_reason": "length"}]
    arguments = DPOConfig(output_dir=str(tmp_path), **QUIET)
    trainer = OpenEndedDPOTrainer(
        model=model, args=arguments, train_dataset=Dataset.from_list(rows), processing_class=tokenizer
    )
    (row,) = trainer.train_dataset
    assert [token for token in row["chosen_ids"] if token in tokenizer.all_special_ids] == [closing_token(tokenizer)]
    assert tokenizer.decode(row["rejected_ids"]) == "[1,"


def test_an_end_of_turn_that_a_tokenizer_joined_to_the_answer_goes_as_far_as_its_token():
    assert without_end([5, 6, 10, 2, 10], [10, 2, 10], 2) == [5, 6]
    assert without_end([5, 610, 2, 10], [10, 2, 10], 2) == [5, 610]
    assert without_end([2, 5, 6, 7, 8], [10, 2, 10], 2) == [2, 5, 6, 7, 8]
    assert without_end([5, 6], [], None) == [5, 6]
