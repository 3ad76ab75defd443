"""The handout's sequence through a run's policy, before and after training."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipelines.attention.findings import find, find_change
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import telling_head
from pipelines.attention.study import Phase, Subject, study
from pipelines.attention.study_files import write_studies
from pipelines.config import Config
from pipelines.models import adapter_identity, attach_adapter, load_model, model_identity
from pipelines.rundir import RunDir
from pipelines.tasks import handout_path, load_handout

_SEEDS = 8
"""Sequences of each kind in the ensembles: heads are picked on four of them and reported on the other four."""


def probe_handout(config: Config, run: RunDir, phase: Phase) -> dict[str, Any]:
    """Write `attention/` for the base model or the trained one; returns what the checks measured."""
    handout = load_handout(handout_path(config, run))
    # In half precision rows sum to 1 within 1e-3 only; the maps are exact, so the weights are read in float32.
    precise = dataclasses.replace(config.model, dtype="float32")
    identity = model_identity(config.model)
    run.record(model=identity)
    info: dict[str, Any] = {"model": identity}
    if phase == "after":
        run.require(run.attention / "before.json", "probe_attention.py")
        folder = run.require(run.adapter, "train_dpo.py")
        model, tokenizer = attach_adapter(precise, folder)
        info["adapter"] = adapter_identity(folder)
    else:
        model, tokenizer = load_model(precise)
    # Symbols in any case: the page shows the handout's own five, never the pieces that a tokenizer cuts them into.
    subject = Subject(text=" ".join(handout.sequence), splits=("symbols", "text"), prefix=config.attention.prefix)
    one = study(model, tokenizer, subject, phase=phase, info=info)
    before = AttentionMaps.load(run.attention / "before") if phase == "after" else one.maps
    shown = telling_head(before)
    findings = find(model, tokenizer, one.maps, (shown.layer, shown.head), _SEEDS)
    if phase == "after":
        findings["change"] = find_change(model, tokenizer, before, one.maps)
    write_studies(run.attention, [one], {phase: findings}, keep=True)
    maps = one.maps
    return {
        "layers": len(maps.layers),
        "heads": len(maps.heads),
        "shown": f"L{shown.layer}H{shown.head}",
        **maps.checks,
    }
