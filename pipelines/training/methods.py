"""The answers to "how does the signal update the model": TRL's trainers, each on the rows of the dataset it takes.

Reads the config, a policy and the dataset's tables; returns a trainer that has not begun. DPO reads pairs, supervised
fine-tuning their chosen sides (the best of n), KTO every completion with pass or fail, GRPO the requests alone: it
draws and scores its own samples while it trains, with the engine that draws the training samples.
"""

from __future__ import annotations

import functools
import hashlib
import itertools
import warnings
from typing import Any

from datasets import Dataset
from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PrinterCallback, Trainer, TrainerCallback
from trl import GRPOTrainer, SFTTrainer

from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.preferences.dataset import build_scoring
from pipelines.rewards import json_reward
from pipelines.training.arguments import TrainerConfig, lora_arguments
from pipelines.training.prefix_sharing import supports_prefix_sharing
from pipelines.training.rollouts import draw_rollouts
from pipelines.training.trainer import FINISH_REASONS, OpenEndedDPOTrainer, OpenEndedKTOTrainer, PrefixSharingDPOTrainer

TABLES = {"dpo": "pairs", "sft": "pairs", "kto": "kto", "grpo": "kto"}
"""The table of the dataset that each method reads."""

_RENDERING = ("tools", "chat_template_kwargs")
"""Columns that TRL hands to the chat template."""


def training_rows(config: Config, table: Dataset) -> Dataset:
    """The method's rows, in the columns its trainer takes."""
    method = config.training.method
    if method == "sft":
        own = ["prompt", "chosen", *(name for name in _RENDERING if name in table.column_names)]
        return _distinct(table.select_columns(own).rename_column("chosen", "completion"))
    if method == "grpo":
        return _distinct(table.select_columns(["prompt", "schema", "targets"]))
    columns = {"dpo": ["prompt", "chosen", "rejected"], "kto": ["prompt", "completion", "label"]}
    optional = [name for name in (*FINISH_REASONS, *_RENDERING) if name in table.column_names]
    return table.select_columns([*columns[method], *optional])


def build_trainer(
    config: Config,
    arguments: TrainerConfig,
    policy: tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase],
    rows: Dataset,
    callbacks: list[TrainerCallback],
    reference: PreTrainedModel | None = None,
) -> Trainer:
    """TRL's trainer of the method; for DPO with shared prefixes where the config and the model allow it.

    `reference` is what a policy without an adapter is measured against; None where the method or an adapter needs none.
    """
    model, tokenizer = policy
    is_adapted = isinstance(model, PeftModel)
    given: dict[str, Any] = {
        "model": model,
        "args": arguments,
        "train_dataset": rows,
        "processing_class": tokenizer,
        "peft_config": None if is_adapted else lora_arguments(config.training),
        "callbacks": callbacks,
        **({} if reference is None else {"ref_model": reference}),
    }
    if config.training.method == "dpo":
        base = model.get_base_model() if is_adapted else model
        shares = config.training.prefix_sharing and supports_prefix_sharing(base)
        trainer = (PrefixSharingDPOTrainer if shares else OpenEndedDPOTrainer)(**given)
    elif config.training.method == "grpo":
        reward = functools.partial(json_reward, scoring=build_scoring(config))
        reward.__name__ = "json_reward"  # type: ignore[attr-defined] # TRL names its metrics by it
        with warnings.catch_warnings():
            # TRL calls the hook experimental; its version is pinned, and a test holds what is used of it.
            warnings.filterwarnings("ignore", message="You are using 'rollout_func'", category=UserWarning)
            trainer = GRPOTrainer(**given, reward_funcs=reward, rollout_func=draw_rollouts)
    else:
        trainer = {"sft": SFTTrainer, "kto": OpenEndedKTOTrainer}[config.training.method](**given)
    trainer.remove_callback(PrinterCallback)
    for name in ("validation", "average_from"):
        if getattr(config.training, name) is not None and is_sharded(trainer):
            raise ConfigError(
                f"training.{name} must be null with FSDP or ZeRO, whose weights are in pieces; leave it out"
            )
    return trainer


def is_sharded(trainer: Trainer) -> bool:
    """Whether no process has the whole weights."""
    return bool(trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)


def _distinct(rows: Dataset) -> Dataset:
    """The rows without repetitions, in their order."""
    seen: dict[bytes, int] = {}
    for index, row in zip(itertools.count(), rows, strict=False):
        seen.setdefault(hashlib.sha256(repr(row).encode()).digest(), index)
    return rows.select(list(seen.values()))
