"""Question 2b on the page: the loss as a formula, one pair's numbers in it, the rounds, and the course of training.

Reads a run's `training/` and manifest; returns what its template shows. The formula is that of the run's own method;
only DPO's sigmoid loss is followed number by number.
"""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup
from rapidfuzz.distance import Prefix

from pipelines.report.artefacts import Artefact, load_artefact, manifest_of
from pipelines.report.figures import draw_curves, keep
from pipelines.report.labels import around
from pipelines.run.folder import Run
from pipelines.text import clip

_SCRIPT = "train_dpo.py"
_ROUND = ("sample", "pair", "train")
_TOTALS = {
    "steps": "count",
    "pairs": "count",
    "training_seconds": "minutes",
    "replayed_pairs": "count",
    "rehearsed_rows": "count",
}
"""Facts of a training of which the page tells the sum over the rounds, and how each is written."""
_TOLD_IF_ANY = ("replayed_pairs", "rehearsed_rows")
_ENDING_STEPS = 5
_PHASES = ("before", "after")
_LOSSES = ("sigmoid",)
"""Loss types that the steps below compute."""


def describe_update(run: Run) -> dict[str, Any]:
    """What the template of question 2b shows; `log` is None where nothing was trained."""
    log = load_artefact(run, "training/log.json", _SCRIPT)
    manifest = manifest_of(run)
    if log is None or not manifest.has("stages", "train"):
        return {"log": None}
    facts = manifest.table("stages", "train")
    rounds = round_names(manifest)
    entries = [log.table(place) for place in range(len(log.rows()))]
    return {
        "log": log,
        "manifest": manifest,
        "method": facts.get("method", "dpo"),
        "alerts": [clip(str(alert)).text for alert in facts.get("alerts") or ()],
        "margins": _margins(log),
        "rounds": rounds,
        "totals": {fact: _total(manifest, [names["train"] for names in rounds], fact) for fact in _TOTALS},
        "worked": _worked(run),
        "figure": keep(run, "training", draw_curves(entries)),
        "has_held_out": any("held_out/exact" in row for row in entries),
    }


def round_names(manifest: Artefact) -> list[dict[str, str]]:
    """The names of each round's stages, in order: those of the last round bear no number."""
    stages = manifest.table("stages")
    earlier = sorted(int(name.removeprefix("train_")) for name in stages if name.removeprefix("train_").isdecimal())
    return [{name: f"{name}{suffix}" for name in _ROUND} for suffix in [*(f"_{number}" for number in earlier), ""]]


def _total(manifest: Artefact, stages: list[str], fact: str) -> Markup | None:
    """A fact of the trainings of all rounds together; None where there is nothing to tell."""
    places = [("stages", stage, fact) for stage in stages]
    if fact in _TOLD_IF_ANY:
        places = [keys for keys in places if manifest.has(*keys) and manifest.number(*keys)]
    return manifest.total(places, form=_TOTALS[fact]) if places else None


def _margins(log: Artefact) -> dict[str, Markup] | None:
    """The reward margin at the first step, and its mean over the last ones."""
    places = [index for index, row in enumerate(log.rows()) if "rewards/margins" in row and "loss" in row]
    if not places:
        return None
    last = places[-_ENDING_STEPS:]
    mean = sum(log.number(index, "rewards/margins") for index in last) / len(last)
    return {
        "first": log.show(places[0], "rewards/margins", form="fixed4"),
        "steps": log.derive(len(last), "last steps"),
        "mean": log.derive(mean, "mean margin of last steps", form="fixed2"),
    }


def _worked(run: Run) -> dict[str, Any] | None:
    """The first pair's numbers put into DPO's loss, step by step (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""
    pair = load_artefact(run, "training/worked_pair.json", _SCRIPT)
    if pair is None:
        return None
    chosen, rejected = str(pair.at("chosen")), str(pair.at("rejected"))
    same = Prefix.similarity(chosen, rejected)
    losses = [str(name) for name in pair.at("loss_type")] if pair.has("loss_type") else list(_LOSSES)
    return {
        "pair": pair,
        "request": clip(str(pair.at("prompt", len(pair.rows("prompt")) - 1, "content"))),
        "chosen": around(chosen, same),
        "rejected": around(rejected, same),
        "steps": {phase: _steps(pair, phase) for phase in _PHASES},
        "losses": [clip(name, 40).text for name in losses],
        "has_loss": any(name in _LOSSES for name in losses),
    }


def _steps(pair: Artefact, phase: str) -> dict[str, Markup]:
    """Log-ratios, margin and loss, each from the one before."""
    ratios = {side: _log_ratio(pair, phase, side) for side in ("chosen", "rejected")}
    margin = pair.number("beta") * (ratios["chosen"] - ratios["rejected"])
    return {
        "chosen": pair.derive(ratios["chosen"], f"{phase}: log-ratio of chosen", form="signed4"),
        "rejected": pair.derive(ratios["rejected"], f"{phase}: log-ratio of rejected", form="signed4"),
        "margin": pair.derive(margin, f"{phase}: margin", form="signed4"),
        "loss": pair.derive(negative_log_sigmoid(margin), f"{phase}: loss", form="fixed4"),
    }


def _log_ratio(pair: Artefact, phase: str, side: str) -> float:
    return pair.number(phase, f"{side}_logp") - pair.number("reference", f"{side}_logp")


def negative_log_sigmoid(margin: float) -> float:
    """−log σ(margin), without overflow at either end."""
    return max(-margin, 0.0) + math.log1p(math.exp(-abs(margin)))
