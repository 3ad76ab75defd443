"""The handout's sequence through the model: maps, files and the figure of the most telling head."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pipelines.attention.capture import probe
from pipelines.attention.figures import draw_head
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import telling_head
from pipelines.attention.symbols import text_tokens
from pipelines.config import Config
from pipelines.models import attach_adapter, load_model, model_identity
from pipelines.rundir import RunDir, write_bytes
from pipelines.tasks import handout_path, load_handout


def probe_handout(config: Config, run: RunDir, phase: Literal["before", "after"]) -> dict[str, Any]:
    """Write `attention/<phase>.*` for the base model or the trained one; returns what the checks measured.

    The head shown is the base model's most telling one in both phases, so that before and after can be compared.
    """
    handout = load_handout(handout_path(config, run))
    # In half precision rows sum to 1 within 1e-3 only; the maps are exact, so the weights are read in float32.
    precise = dataclasses.replace(config.model, dtype="float32")
    identity = model_identity(config.model)
    run.record(model=identity)
    if phase == "after":
        model, tokenizer = attach_adapter(precise, run.require(run.adapter, "train_dpo.py"))
    else:
        model, tokenizer = load_model(precise)
    info = {
        "model": identity,
        "phase": phase,
        "symbols": list(handout.sequence),
        "text_tokens": text_tokens(tokenizer, " ".join(handout.sequence)),
    }
    maps = probe(model, tokenizer, handout.sequence, prefix=config.attention.prefix, info=info)
    stem = run.attention / phase
    before = maps if phase == "before" else AttentionMaps.load(run.attention / "before")
    layer, head = telling_head(before)
    maps.save(stem)
    for suffix, content in draw_head(maps, layer, head).items():
        write_bytes(stem.with_suffix(f".{suffix}"), content)
    return {"layers": maps.weights.shape[0], "heads": maps.weights.shape[1], "shown": f"L{layer}H{head}", **maps.checks}
