"""What made the page: model, versions, machine, code, seed, and what each stage took."""

from __future__ import annotations

from typing import Any

from pipelines.report.artefacts import Artefact, manifest_of
from pipelines.run.folder import Run
from pipelines.text import clip


def describe_provenance(run: Run) -> dict[str, Any]:
    """What the template shows; `manifest` is None before the first stage."""
    manifest = manifest_of(run)
    if not manifest.has("stages"):
        return {"manifest": None}
    # Without the stage that makes the page: it is noted only when the page is there.
    names = [name for name in manifest.table("stages") if name != "report"]
    seconds = [manifest.number("stages", name, "seconds") for name in names]
    return {
        "manifest": manifest,
        "total": manifest.derive(sum(seconds), "sum of seconds without the report", "stages", form="minutes"),
        "stages": [(name, clip(name.replace("_", " "), 60).text) for name in names],
        "facts": {name: _facts(manifest, name) for name in names},
    }


def _facts(manifest: Artefact, name: str) -> list[tuple[str, Any]]:
    """What a stage noted of itself beside time and memory, as far as it is plain numbers of things."""
    left_out = ("seconds", "peak_rss_mb", "training_seconds", "seconds_per_step", "tokens_per_second")
    facts = manifest.table("stages", name)
    return [
        (clip(fact.replace("_", " "), 60).text, manifest.show("stages", name, fact))
        for fact, value in facts.items()
        if fact not in left_out and type(value) is int and value
    ]
