from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from safetensors.torch import load_file
from transformers import TrainerState
from trl import DPOConfig

from pipelines.config import ValidationConfig
from pipelines.errors import ConfigError
from pipelines.models import load_model
from pipelines.training.trainer import PrefixSharingDPOTrainer
from pipelines.training.validation import Question, Validation, best_step, measurements, selected_step
from pipelines.training.weights import trainable_weights
from tests.made import make_task

ASKED = [{"role": "user", "content": "?"}]
ARRAY = '{"type": "array"}'
KNOWN = Question(task=make_task(prompt="?", targets=("[1]",), schema=ARRAY), messages=tuple(ASKED))
SCHEMA_ONLY = Question(task=make_task(prompt="?", schema=ARRAY), messages=tuple(ASKED))


def says(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def build(
    folder: Path, source: Path, settings: ValidationConfig, question: Question = KNOWN, **values
) -> tuple[PrefixSharingDPOTrainer, Validation]:
    """The tiny model on one pair: soon it answers `[1]` and nothing else."""
    model, tokenizer = load_model(str(source))
    validation = Validation([question], settings, 0, folder / "selected")
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
        callbacks=[validation],
    )  # fmt: skip
    validation.attach(trainer)
    return trainer, validation


def train(folder: Path, source: Path, settings: ValidationConfig, **given) -> PrefixSharingDPOTrainer:
    trainer, _ = build(folder, source, settings, **given)
    trainer.train()
    return trainer


def test_measurements_show_what_training_taught_and_how_far_it_went(tiny_folder: Path, tmp_path: Path):
    trainer = train(tmp_path, tiny_folder, ValidationConfig(every_steps=30, samples_per_task=64, max_new_tokens=8))
    first, *_, last = measurements(trainer.state)
    assert [entry["step"] for entry in measurements(trainer.state)] == [0, 30, 60]
    assert (first["validation/exact_match"], first["validation/kl_nats_per_token"]) == (0, 0)
    assert last["validation/parses"] >= last["validation/exact_match"] > 0
    assert last["validation/stop_rate"] >= last["validation/parses"]
    assert 1 < last["validation/mean_tokens"] < 8
    assert last["validation/kl_nats_per_token"] > 1


def test_tasks_without_a_right_answer_are_measured_by_what_they_define(tiny_folder: Path, tmp_path: Path, capsys):
    settings = ValidationConfig(every_steps=4, max_new_tokens=4)
    trainer = train(tmp_path, tiny_folder, settings, question=SCHEMA_ONLY, max_steps=4)
    assert [entry["step"] for entry in measurements(trainer.state)] == [0, 4]
    assert all("validation/exact_match" not in entry for entry in measurements(trainer.state))
    assert "% pass, " in capsys.readouterr().out


def test_nothing_is_measured_shortly_before_the_end(tiny_folder: Path, tmp_path: Path):
    trainer = train(tmp_path, tiny_folder, ValidationConfig(every_steps=4, max_new_tokens=4), max_steps=9)
    assert [entry["step"] for entry in measurements(trainer.state)] == [0, 4, 9]


def test_a_training_that_keeps_no_reference_is_refused_before_it_begins(tiny_folder: Path, tmp_path: Path):
    model, tokenizer = load_model(str(tiny_folder))
    validation = Validation([KNOWN], ValidationConfig(), 0, tmp_path / "selected")
    trainer = PrefixSharingDPOTrainer(
        model=model,
        args=DPOConfig(output_dir=str(tmp_path), use_cpu=True, bf16=False, precompute_ref_log_probs=True),
        train_dataset=Dataset.from_list([{"prompt": ASKED, "chosen": says("[1]"), "rejected": says("[1, 2)")}]),
        processing_class=tokenizer,
        callbacks=[validation],
    )
    with pytest.raises(ConfigError, match="reference that this training does not keep; set training.lora"):
        validation.attach(trainer)


def test_training_stops_when_nothing_is_gained_any_more(tiny_folder: Path, tmp_path: Path):
    settings = ValidationConfig(every_steps=5, samples_per_task=8, max_new_tokens=8, patience=1)
    trainer = train(tmp_path, tiny_folder, settings)
    assert best_step(trainer.state) < trainer.state.global_step < 60


def entry(step: int, rate: float, *, completions: float = 84) -> dict[str, float]:
    names = ("exact_match", "pass_rate", "parses")
    return {"step": step, **{f"validation/{name}": rate for name in names}, "validation/completions": completions}


def test_the_selected_weights_come_back(tiny_folder: Path, tmp_path: Path):
    """Training goes wrong after its last measurement, and the weights of that one are given back."""
    trainer, validation = build(tmp_path, tiny_folder, ValidationConfig(every_steps=3, max_new_tokens=4), max_steps=6)
    trainer.train()
    saved = {name: value.clone() for name, value in trainable_weights(trainer.model).items()}
    measurements(trainer.state)[-1].update(entry(6, 0.9))
    trainer.state.global_step = 9
    trainer.state.log_history.append(entry(9, 0.0, completions=1e9))
    with torch.no_grad():
        for value in trainable_weights(trainer.model).values():
            value.add_(1.0)
    assert validation.restore_selected(trainer.state) == 6
    file = load_file(tmp_path / "selected" / "weights.safetensors")
    now = trainable_weights(trainer.model)
    assert now.keys() == saved.keys() == file.keys()
    assert all(torch.equal(now[name], file[name]) and torch.equal(now[name], saved[name]) for name in now)


def test_measuring_changes_nothing_of_the_training(tiny_folder: Path, tmp_path: Path):
    often = train(tmp_path / "a", tiny_folder, ValidationConfig(every_steps=5), max_steps=10)
    never = train(tmp_path / "b", tiny_folder, ValidationConfig(every_steps=100), max_steps=10)
    weights = dict(never.model.named_parameters())
    assert all(torch.equal(value, weights[name]) for name, value in often.model.named_parameters())


@pytest.mark.parametrize(
    ("rates", "best"),
    [([(0.1, 0.5), (0.4, 0.6), (0.4, 0.6)], 1), ([(0.4, 0.5), (0.4, 0.6), (0.3, 1.0)], 1), ([(0.0, 0.0)], 0)],
)
def test_the_best_measurement_is_the_first_of_the_most_exact(rates: list[tuple[float, float]], best: int):
    entries = [{**entry(step, exact), "validation/parses": parses} for step, (exact, parses) in enumerate(rates)]
    assert best_step(TrainerState(log_history=entries)) == best


SELECTED = [
    ([0.0, 0.90, 0.87], 2),  # 3 points of 84 completions are within the error
    ([0.0, 0.90, 0.70], 1),  # 20 are not
    ([0.0, 0.90, 0.87, 0.50], 2),
    ([0.0, 0.50, 0.48, 0.90], 3),
    ([0.0, 0.0], 1),
]


@pytest.mark.parametrize(("rates", "selected"), SELECTED)
def test_selected_is_the_latest_that_did_as_well_as_any_within_the_error(rates: list[float], selected: int):
    entries = [{**entry(step, rate), "validation/pass_rate": 0.5} for step, rate in enumerate(rates)]
    assert selected_step(TrainerState(log_history=entries)) == selected


@pytest.mark.parametrize(("rates", "selected"), SELECTED)
def test_without_a_right_answer_the_pass_rate_selects(rates: list[float], selected: int):
    entries = [entry(step, rate) for step, rate in enumerate(rates)]
    for one in entries:
        del one["validation/exact_match"]
    assert selected_step(TrainerState(log_history=entries)) == selected


def test_what_is_selected_in_the_end_was_selected_when_it_was_measured():
    rng = random.Random(0)
    for _ in range(200):
        entries = [entry(step, rng.random(), completions=40) for step in range(6)]
        selected = [selected_step(TrainerState(log_history=entries[: count + 1])) for count in range(len(entries))]
        saved = max(step for step, chosen in enumerate(selected) if step == chosen)
        assert selected[-1] == saved
