from __future__ import annotations

import json
from pathlib import Path

from datasets import Dataset
from trl import GRPOConfig, GRPOTrainer

from pipelines.models import load_model
from pipelines.rewards import json_reward


def test_the_validator_is_a_reward_function_of_grpo_as_it_is(tiny_folder: Path, tmp_path: Path):
    model, tokenizer = load_model(str(tiny_folder))
    prompts = [[{"role": "user", "content": f"A JSON list of 1 through {last}"}] for last in range(2, 6)]
    rows = Dataset.from_list(
        [{"prompt": prompt, "schema": json.dumps({"type": "array"}), "targets": ["[1]"]} for prompt in prompts]
    )
    arguments = GRPOConfig(
        output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", max_steps=1, logging_steps=1,
        per_device_train_batch_size=4, num_generations=2, max_completion_length=8, save_strategy="no",
        gradient_checkpointing=False, disable_tqdm=True,
    )  # fmt: skip
    trainer = GRPOTrainer(
        model=model, reward_funcs=json_reward, args=arguments, train_dataset=rows, processing_class=tokenizer
    )
    trainer.train()
    assert 0 <= trainer.state.log_history[0]["rewards/json_reward/mean"] <= 1
