from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from pipelines.training.held_out import HeldOut, Question, best_step, kept_step, measurements
from transformers import TrainerState
from trl import DPOConfig

from pipelines.config import HeldOutConfig
from pipelines.errors import ConfigError
from pipelines.models import load_model
from pipelines.records import Task
from pipelines.training.trainer import PrefixSharingDPOTrainer

ASKED = [{"role": "user", "content": "?"}]
QUESTION = Question(
    task=Task(id="a", family="a", key="a", split="train", prompt="?", target="[1]", schema='{"type": "array"}'),
    messages=tuple(ASKED),
)


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def train(folder: Path, source: Path, settings: HeldOutConfig, **values) -> tuple[PrefixSharingDPOTrainer, HeldOut]:
    """The tiny model on one pair, all weights: soon it answers `[1]` and nothing else."""
    model, tokenizer = load_model(str(source))
    held_out = HeldOut([QUESTION], settings, 0, folder / "best")
    trainer = PrefixSharingDPOTrainer(
        model=model,
        args=DPOConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no",
            gradient_checkpointing=False, disable_tqdm=True, loss_type=["sft"], per_device_train_batch_size=1,
            learning_rate=2e-2, lr_scheduler_type="constant", num_train_epochs=60, **values,
        ),
        train_dataset=Dataset.from_list([{"prompt": ASKED, "chosen": says("[1]"), "rejected": says("[1, 2)")}]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=16, lora_alpha=64, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[held_out],
    )  # fmt: skip
    held_out.attach(trainer)
    trainer.train()
    return trainer, held_out


def test_measurements_show_what_training_taught_and_how_far_it_went(tiny_folder: Path, tmp_path: Path):
    settings = HeldOutConfig(every_steps=30, samples_per_task=8, max_new_tokens=8)
    trainer, _ = train(tmp_path, tiny_folder, settings)
    first, *_, last = measurements(trainer.state)
    assert [entry["step"] for entry in measurements(trainer.state)] == [0, 30, 60]
    assert (first["held_out/exact"], first["held_out/kl_nats_per_token"]) == (0, 0)
    assert last["held_out/valid"] >= last["held_out/exact"] >= 0.25
    assert last["held_out/stop_rate"] >= last["held_out/valid"]
    assert 1 < last["held_out/mean_tokens"] < 8
    assert last["held_out/kl_nats_per_token"] > 1


def test_nothing_is_measured_shortly_before_the_end(tiny_folder: Path, tmp_path: Path):
    trainer, _ = train(tmp_path, tiny_folder, HeldOutConfig(every_steps=4, max_new_tokens=4), max_steps=9)
    assert [entry["step"] for entry in measurements(trainer.state)] == [0, 4, 9]


def test_a_training_that_keeps_no_reference_is_refused_before_it_begins(tiny_folder: Path, tmp_path: Path):
    model, tokenizer = load_model(str(tiny_folder))
    held_out = HeldOut([QUESTION], HeldOutConfig(), 0, tmp_path / "best")
    trainer = PrefixSharingDPOTrainer(
        model=model,
        args=DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, precompute_ref_log_probs=True),
        train_dataset=Dataset.from_list([{"prompt": ASKED, "chosen": says("[1]"), "rejected": says("[1, 2)")}]),
        processing_class=tokenizer,
        callbacks=[held_out],
    )
    with pytest.raises(ConfigError, match="reference that this training does not keep; set training.lora"):
        held_out.attach(trainer)


def test_the_kept_weights_come_back_and_training_stops_when_nothing_is_gained(tiny_folder: Path, tmp_path: Path):
    settings = HeldOutConfig(every_steps=5, samples_per_task=8, max_new_tokens=8, patience=1)
    trainer, held_out = train(tmp_path, tiny_folder, settings)
    assert best_step(trainer.state) < trainer.state.global_step < 60
    kept = kept_step(trainer.state)
    # As if these had done well, and what came next badly: so there is something to come back from.
    measurements(trainer.state)[-1]["held_out/exact"] = 0.9
    trainer.state.global_step += 5
    trainer.state.log_history.append(
        {"step": trainer.state.global_step, "held_out/exact": 0.0, "held_out/valid": 0.0, "held_out/completions": 1e9}
    )
    with torch.no_grad():
        for value in trainer.model.parameters():
            if value.requires_grad:
                value.add_(1.0)
    last = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert held_out.restore_kept(trainer.state) == kept
    moved = [name for name, value in trainer.model.named_parameters() if name in last and not value.equal(last[name])]
    assert moved


def test_measuring_changes_nothing_of_the_training(tiny_folder: Path, tmp_path: Path):
    often, _ = train(tmp_path / "a", tiny_folder, HeldOutConfig(every_steps=5), max_steps=10)
    never, _ = train(tmp_path / "b", tiny_folder, HeldOutConfig(every_steps=100), max_steps=10)
    weights = dict(never.model.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in often.model.named_parameters())


@pytest.mark.parametrize(
    ("rates", "best"),
    [([(0.1, 0.5), (0.4, 0.6), (0.4, 0.6)], 1), ([(0.4, 0.5), (0.4, 0.6), (0.3, 1.0)], 1), ([(0.0, 0.0)], 0)],
)
def test_the_best_measurement_is_the_first_of_the_most_exact(rates: list[tuple[float, float]], best: int):
    entries = [{"step": i, "held_out/exact": exact, "held_out/valid": valid} for i, (exact, valid) in enumerate(rates)]
    assert best_step(TrainerState(log_history=entries)) == best


@pytest.mark.parametrize(
    ("rates", "kept"),
    [
        ([0.0, 0.90, 0.87], 2),  # 3 points of 84 completions are within the error
        ([0.0, 0.90, 0.70], 1),  # 20 are not
        ([0.0, 0.90, 0.87, 0.50], 2),
        ([0.0, 0.50, 0.48, 0.90], 3),
        ([0.0, 0.0], 1),
    ],
)
def test_kept_is_the_latest_that_did_as_well_as_any_within_the_error(rates: list[float], kept: int):
    entries = [
        {"step": step, "held_out/exact": rate, "held_out/valid": rate, "held_out/completions": 84}
        for step, rate in enumerate(rates)
    ]
    assert kept_step(TrainerState(log_history=entries)) == kept


def test_what_is_kept_in_the_end_was_kept_when_it_was_measured():
    rng = random.Random(0)
    for _ in range(200):
        entries = [
            {"step": step, "held_out/exact": rate, "held_out/valid": rate, "held_out/completions": 40}
            for step, rate in enumerate(rng.random() for _ in range(6))
        ]
        kept = [kept_step(TrainerState(log_history=entries[: count + 1])) for count in range(len(entries))]
        saved = max(step for step, chosen in enumerate(kept) if step == chosen)
        assert kept[-1] == saved
