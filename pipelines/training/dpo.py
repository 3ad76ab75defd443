"""Preference pairs into TRL's DPOTrainer: load, check, train, verify, save.

Takes the run's `dataset/` and config; leaves `adapter/` (safetensors, loads with peft) and `training/log.json`. Runs
once in every process that `accelerate launch` starts; only the first one writes the artefacts. What must hold of the
update is checked, not hoped for: pairs present, base weights unchanged to the bit, every trainable parameter moved.
"""

from __future__ import annotations

import hashlib
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset, load_dataset
from datasets.exceptions import DatasetsError
from peft import PeftModel
from torch import nn
from transformers import PrinterCallback
from trl import DPOTrainer

from pipelines.config import Config
from pipelines.errors import DataError
from pipelines.models import load_trainable
from pipelines.processes import process_group
from pipelines.rundir import RunDir, new_folder, write_json
from pipelines.training.arguments import dpo_arguments, lora_arguments
from pipelines.training.prefix_sharing import supports_prefix_sharing
from pipelines.training.progress import ProgressLine
from pipelines.training.trainer import PrefixSharingDPOTrainer

_NOT_FOR_ADAPTER = ("training_args.bin",)
"""What Trainer saves beside the weights: a pickle, which nobody should have to load."""


def train_dpo(config: Config, run: RunDir) -> dict[str, Any]:
    """Train the policy on the run's pairs; returns what the manifest should say of it."""
    arguments = dpo_arguments(config.training, config.model, run.training, config.seed)
    lora = lora_arguments(config.training)
    # TRL 1.16 still uses a name that transformers 5.23 has renamed; nothing a user could mend.
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)
    state = process_group()
    pairs = load_pairs(config, run)
    model, tokenizer = load_trainable(config.model, run.initial_adapter)
    is_adapted = isinstance(model, PeftModel)
    shares = config.training.prefix_sharing and supports_prefix_sharing(model.get_base_model() if is_adapted else model)
    trainer = (PrefixSharingDPOTrainer if shares else DPOTrainer)(
        model=model,
        args=arguments,
        train_dataset=pairs,
        processing_class=tokenizer,
        peft_config=None if is_adapted else lora,
        callbacks=[ProgressLine()],
    )
    trainer.remove_callback(PrinterCallback)
    started = time.monotonic()
    before = _snapshot(trainer.model)
    result = trainer.train()
    seconds = time.monotonic() - started
    update = _compare(before, trainer.model, is_sharded=trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled)
    trainer.save_model(str(run.training / "final"))
    state.wait_for_everyone()
    if state.is_main_process:
        with new_folder(run.adapter) as folder:
            shutil.copytree(run.training / "final", folder, dirs_exist_ok=True)
            for name in _NOT_FOR_ADAPTER:
                (folder / name).unlink(missing_ok=True)
            shutil.rmtree(folder / "ref", ignore_errors=True)  # the frozen copy that TRL measures from in later rounds
        shutil.rmtree(run.training / "final")
        write_json(run.training / "log.json", trainer.state.log_history)
    return {
        "pairs": len(pairs),
        "steps": result.global_step,
        "processes": state.num_processes,
        "prefix_sharing": shares,
        "training_seconds": round(seconds, 1),
        "seconds_per_step": round(seconds / max(1, result.global_step), 2),
        "trainable_parameters": sum(value.numel() for value in trainer.model.parameters() if value.requires_grad),
        **update,
    }


def load_pairs(config: Config, run: RunDir) -> Dataset:
    """The training pairs of the run's dataset, or of the one the config names; DataError when they are no pairs."""
    own = config.training.dataset is None
    folder = run.require(run.dataset, "build_preferences.py") if own else Path(str(config.training.dataset))
    advice = "run scripts/build_preferences.py again" if own else "name a folder whose card has a config `pairs`"
    if not folder.is_dir():
        raise DataError(f"training.dataset must be a folder, got {str(folder)!r}; {advice}")
    try:
        pairs = load_dataset(str(folder), "pairs", split="train", cache_dir=str(run.training / "cache"))
    except (OSError, ValueError, DatasetsError) as error:
        raise DataError(f"{folder}: no pairs can be loaded ({error}); {advice}") from error
    for column in ("prompt", "chosen", "rejected"):
        if column not in pairs.column_names:
            raise DataError(f"{folder}: pairs have no column {column!r}; they need prompt, chosen and rejected")
    return pairs.select_columns(["prompt", "chosen", "rejected"])


def _snapshot(model: nn.Module) -> tuple[dict[str, torch.Tensor], str]:
    """Copies of the trainable parameters, and a hash of the frozen ones."""
    trainable = {name: value.detach().clone() for name, value in model.named_parameters() if value.requires_grad}
    return trainable, _frozen_hash(model)


def _frozen_hash(model: nn.Module) -> str:
    digest = hashlib.sha256()
    for name, value in model.named_parameters():
        if not value.requires_grad:
            digest.update(name.encode())
            digest.update(value.detach().cpu().contiguous().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _compare(before: tuple[dict[str, torch.Tensor], str], model: nn.Module, *, is_sharded: bool) -> dict[str, Any]:
    """What moved and what did not. Shards of a distributed model cannot be compared here and say so with None."""
    if is_sharded:
        return {"base_unchanged": None, "parameters_moved": None}
    old, frozen = before
    now = dict(model.named_parameters())
    moved = sum(not torch.equal(value, now[name].detach().to(value.device)) for name, value in old.items())
    return {"base_unchanged": _frozen_hash(model) == frozen, "parameters_moved": f"{moved} of {len(old)}"}
