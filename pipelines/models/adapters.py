"""Putting a run's trained weights on the base model: a peft adapter, or a whole model trained in full.

Takes the base model's config and the run's `adapter/` folder; leaves a model in evaluation mode. Safetensors only.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.config import ModelConfig
from pipelines.errors import ModelError
from pipelines.models.loading import load_model


def attach_adapter(config: ModelConfig, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The trained policy: the base model with the adapter merged into it, or the fully trained model.

    Merging leaves a plain model of the base's own class, so the same code runs before and after training.
    """
    if not (folder / "adapter_config.json").exists():
        return load_model(dataclasses.replace(config, name=str(folder), revision=None))
    if not (folder / "adapter_model.safetensors").exists():
        raise ModelError(f"{folder} holds no adapter_model.safetensors; adapters in pickle files are not loaded")
    model, tokenizer = load_model(config)
    adapted = PeftModel.from_pretrained(model, str(folder), use_safetensors=True)
    return adapted.merge_and_unload().eval(), tokenizer
