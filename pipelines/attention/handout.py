"""The handout's sequence through a run's policy, before and after training."""

from __future__ import annotations

import dataclasses
from typing import Any

from pipelines.attention.findings import find, find_change, write_findings
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.study import Phase, Subject, shown_head, study, write_explorer
from pipelines.config import Config
from pipelines.models import attach_adapter, load_model, model_identity
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
    if phase == "after":
        run.require(run.attention / "before.json", "probe_attention.py")
        model, tokenizer = attach_adapter(precise, run.require(run.adapter, "train_dpo.py"))
    else:
        model, tokenizer = load_model(precise)
    subject = Subject(text=" ".join(handout.sequence), prefix=config.attention.prefix)
    maps = study(model, tokenizer, subject, run.attention, phase=phase, info={"model": identity})
    write_explorer(run.attention)
    layer, head = shown_head(run.attention)
    findings = find(model, tokenizer, maps, (layer, head), _SEEDS)
    if phase == "after":
        before = AttentionMaps.load(run.attention / "before")
        findings["change"] = find_change(model, tokenizer, before, maps)
    write_findings(run.attention, phase, findings)
    return {"layers": len(maps.layers), "heads": len(maps.heads), "shown": f"L{layer}H{head}", **maps.checks}
