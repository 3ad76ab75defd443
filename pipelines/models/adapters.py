"""A run's trained weights and the base model: a peft adapter, or a whole model trained in full.

Reads the base model's config and an `adapter/` folder; returns a model to sample from, or one to train further.
Safetensors only.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import ModelConfig
from pipelines.errors import ModelError
from pipelines.models.loading import load_model, model_identity, wanted_dtype


def attach_adapter(config: ModelConfig, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The trained policy: the base model with the adapter merged into it, or the fully trained model.

    Merging leaves a plain model of the base's own class, so the same code runs before and after training. It is done
    in float32, as for an export, and rounded once to the dtype that the config asks for. Quantised weights would be
    rounded once more by it: they keep the adapter beside them.
    """
    if config.quantization or not (folder / "adapter_config.json").exists():
        model, tokenizer = _adapted(config, folder, is_trainable=False, to_device=True)
        return (model.get_base_model() if isinstance(model, PeftModel) else model).eval(), tokenizer
    precise = dataclasses.replace(config, dtype="float32")
    model, tokenizer = _adapted(precise, folder, is_trainable=False, to_device=True)
    return model.merge_and_unload().to(wanted_dtype(config)).eval(), tokenizer


def load_trainable(
    config: ModelConfig, folder: Path | None
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """What a trainer starts from, on the CPU: the base model, or what an earlier round left in `folder`."""
    if folder is None:
        return load_model(config, to_device=False)
    model, tokenizer = _adapted(config, folder, is_trainable=True, to_device=False)
    return model, tokenizer


def adapter_identity(folder: Path) -> dict[str, Any]:
    """The folder's name and the hash of its weights."""
    return {"name": folder.name, "sha256": model_identity(ModelConfig(name=str(folder)))["sha256"]}


def silence_peft_warning() -> None:
    """Leave out a warning: peft 0.21 still reads a name that transformers 5.23 has renamed. Nobody here can fix it."""
    warnings.filterwarnings("ignore", message="`is_gradient_checkpointing`", category=FutureWarning)


def _adapted(config: ModelConfig, folder: Path, *, is_trainable: bool, to_device: bool) -> Any:
    if not (folder / "adapter_config.json").exists():
        return load_model(dataclasses.replace(config, name=str(folder), revision=None), to_device=to_device)
    if not (folder / "adapter_model.safetensors").exists():
        raise ModelError(f"{folder} holds no adapter_model.safetensors; adapters in pickle files are not loaded")
    model, tokenizer = load_model(config, to_device=to_device)
    with warnings.catch_warnings():
        silence_peft_warning()
        adapted = PeftModel.from_pretrained(model, str(folder), use_safetensors=True, is_trainable=is_trainable)
    return adapted, tokenizer
