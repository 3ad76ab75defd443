from __future__ import annotations

from pathlib import Path

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import SFTConfig, SFTTrainer

from pipelines.errors import ConfigError
from pipelines.models import load_model
from pipelines.sections import TrainingConfig
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


def train(source: Path, folder: Path, start: float, steps: int) -> tuple[Witness, dict[str, torch.Tensor]]:
    model, tokenizer = load_model(str(source))
    witness = Witness()
    trainer = SFTTrainer(
        model=model,
        args=SFTConfig(
            output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", save_strategy="no", max_steps=steps,
            gradient_checkpointing=False, disable_tqdm=True, learning_rate=2e-2, per_device_train_batch_size=1,
        ),
        train_dataset=Dataset.from_list([ROW]),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM"),
        callbacks=[witness, AverageWeights(start)],
    )  # fmt: skip
    trainer.train()
    return witness, trainable_weights(trainer.model)


@pytest.mark.parametrize(("start", "steps", "taken"), [(0.0, 5, 5), (0.5, 5, 3), (0.5, 6, 3), (0.99, 4, 1)])
def test_the_policy_becomes_the_mean_of_the_weights_after_the_last_steps(
    tiny_folder: Path, tmp_path: Path, start: float, steps: int, taken: int
):
    witness, final = train(tiny_folder, tmp_path, start, steps)
    assert len(witness.seen) == steps
    for name, value in final.items():
        mean = torch.stack([step[name].double() for step in witness.seen[-taken:]]).mean(0)
        torch.testing.assert_close(value.double(), mean, rtol=1e-5, atol=1e-7)
    if taken > 1:
        assert any(not torch.equal(value, witness.seen[-1][name]) for name, value in final.items())


@pytest.mark.parametrize("start", [-0.1, 1.0])
def test_a_share_outside_of_the_steps_is_refused(start: float):
    with pytest.raises(ConfigError, match=r"training\.average_from must be null or in \[0, 1\)"):
        TrainingConfig(average_from=start)
