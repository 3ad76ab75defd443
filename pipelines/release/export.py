"""A folder for others: the adapter or the merged model, its card, the metrics and the figures of the run.

Reads a finished run folder; writes an ordinary Hugging Face folder, whole or not at all. A merged model is read back
and must give the adapter's logits before it is called done.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel

from pipelines.config import Config, ModelConfig
from pipelines.errors import RunError
from pipelines.models import attach_adapter, load_model, load_trainable
from pipelines.release.card import render_model_card
from pipelines.run.files import new_folder, write_text
from pipelines.run.folder import Run

_FIGURES = ("training.png", "before_after.png")
_TOLERANCE = 1e-3
"""Largest difference of logits between merged and adapted, in units of their spread: float32 rounding stays below."""


def export_model(config: Config, run: Run, folder: Path, *, merged: bool) -> dict[str, Any]:
    """Write `folder`; returns what is in it. RunError when a merged model does not compute what the adapter does."""
    adapter = run.require(run.last.adapter, "train")
    facts: dict[str, Any] = {"merged": merged}
    with new_folder(folder) as fresh:
        if merged:
            facts["logit_difference"] = _write_merged(config.model, adapter, fresh)
        else:
            shutil.copytree(adapter, fresh, dirs_exist_ok=True)
        metrics = None
        if run.metrics_file.exists():
            metrics = json.loads(run.metrics_file.read_text(encoding="utf-8"))
            shutil.copy(run.metrics_file, fresh / "metrics.json")
        for name in _FIGURES:
            if (run.figures / name).exists():
                shutil.copy(run.figures / name, fresh / name)
        write_text(fresh / "README.md", render_model_card(config, run.manifest(), metrics, merged=merged))
    return facts


def _write_merged(config: ModelConfig, adapter: Path, folder: Path) -> float:
    """Save the merged model and its tokenizer; returns how far its logits are from the adapter's."""
    precise = dataclasses.replace(config, dtype="float32", device="cpu")
    merged, tokenizer = attach_adapter(precise, adapter)
    merged.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    read_back, _ = load_model(dataclasses.replace(precise, name=str(folder), revision=None))
    adapted, _ = load_trainable(precise, adapter)
    difference = _difference(read_back, adapted.eval())
    if not difference <= _TOLERANCE:
        raise RunError(
            f"{folder}: the merged model's logits differ from the adapter's by {difference:.2g} of their spread; "
            "export without --merged and report this"
        )
    return difference


@torch.inference_mode()
def _difference(one: PreTrainedModel, other: torch.nn.Module) -> float:
    vocabulary = one.get_input_embeddings().num_embeddings
    ids = torch.tensor([[(7919 * place + 13) % vocabulary for place in range(32)]])
    mine, theirs = one(input_ids=ids).logits, other(input_ids=ids).logits
    return float((mine - theirs).abs().max() / theirs.std())
