from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from pipelines.config import TrainingConfig
from pipelines.errors import ConfigError
from pipelines.models import load_model
from pipelines.training.weights import AverageWeights, trainable_weights

ROW = {
    "prompt": [{"role": "user", "content": "?"}],
    "completion": [{"role": "assistant", "content": "[1]"}],
}


class Witness(TrainerCallback):
    """Notes the weights after each step, before anybody changes them."""

    def __init__(self) -> None:
        self.seen: list[dict[str, torch.Tensor]] = []

    def on_step_end(self, args, state, control, model, **kwargs):
        self.seen.append({name: value.clone() for name, value in trainable_weights(model).items()})


def build(source: Path, folder: Path, start: float, **values) -> tuple[SFTTrainer, Witness, AverageWeights]:
    """The tiny model on three rows, so that an epoch has three steps."""
    model, tokenizer = load_model(str(source))
    witness, averaging = Witness(), AverageWeights(start)
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", gradient_checkpointing=False,
            disable_tqdm=True, learning_rate=2e-2, lr_scheduler_type="constant", per_device_train_batch_size=1,
            **{"save_strategy": "no", **values},
        ),
        train_dataset=Dataset.from_list([ROW] * 3),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[witness, averaging],
    )  # fmt: skip
    return trainer, witness, averaging


@pytest.mark.parametrize(("start", "steps", "taken"), [(0.0, 5, 5), (0.5, 5, 3), (0.5, 6, 3), (0.99, 4, 1)])
def test_the_policy_becomes_the_mean_of_the_weights_after_the_last_steps(
    tiny_folder: Path, tmp_path: Path, start: float, steps: int, taken: int
):
    trainer, witness, averaging = build(tiny_folder, tmp_path, start, max_steps=steps)
    trainer.train()
    final = trainable_weights(trainer.model)
    assert (len(witness.seen), averaging.steps) == (steps, taken)
    for name, value in final.items():
        mean = torch.stack([step[name].double() for step in witness.seen[-taken:]]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-7)
    if taken > 1:
        assert any(not torch.equal(value, witness.seen[-1][name]) for name, value in final.items())


@pytest.mark.parametrize("checkpoint", ["checkpoint-2", "checkpoint-4", "checkpoint-5"])
def test_gone_on_from_any_checkpoint_it_ends_with_the_same_mean(tiny_folder: Path, tmp_path: Path, checkpoint: str):
    saving = {"max_steps": 5, "save_strategy": "steps", "save_steps": 2}  # the fifth is in the middle of an epoch
    trainer, _, _ = build(tiny_folder, tmp_path, 0.5, **saving)
    trainer.train()
    expected = {name: value.clone() for name, value in trainable_weights(trainer.model).items()}
    again, _, averaging = build(tiny_folder, tmp_path, 0.5, **saving)
    averaging.resume(tmp_path / checkpoint, again.model)
    again.train(resume_from_checkpoint=str(tmp_path / checkpoint))
    assert averaging.steps == 3
    for name, value in trainable_weights(again.model).items():
        torch.testing.assert_close(value, expected[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("start", [-0.1, 1.0])
def test_a_share_outside_of_the_steps_is_refused(start: float):
    with pytest.raises(ConfigError, match=r"training\.average_from must be null or in \[0, 1\)"):
        TrainingConfig(average_from=start)
