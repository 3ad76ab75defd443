from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerState
from trl import DPOConfig

from pipelines.models import load_model
from pipelines.records import Task
from pipelines.sections import HeldOutConfig
from pipelines.training.held_out import HeldOut, Question, best_step, measurements
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


def test_the_best_weights_come_back_and_training_stops_when_nothing_is_gained(tiny_folder: Path, tmp_path: Path):
    settings = HeldOutConfig(every_steps=5, samples_per_task=8, max_new_tokens=8, patience=1)
    trainer, held_out = train(tmp_path, tiny_folder, settings)
    best = best_step(trainer.state)
    assert best < trainer.state.global_step < 60
    last = {name: value.detach().clone() for name, value in trainer.model.named_parameters() if value.requires_grad}
    assert held_out.restore_best(trainer.state) == best
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
