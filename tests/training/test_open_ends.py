"""Completions that the token limit cut off are trained on without the end of turn that they never wrote."""

from __future__ import annotations

from pathlib import Path

import pytest
from datasets import Dataset
from trl import DPOConfig, KTOConfig

from pipelines.models import load_model
from pipelines.training.trainer import OpenEndedDPOTrainer, OpenEndedKTOTrainer, PrefixSharingDPOTrainer

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
