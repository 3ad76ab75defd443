"""Question 2b on the page: the loss as a formula, one pair's numbers in it, the rounds, and the course of training.

Reads the training folder of the last round that was trained, and the manifest; returns what its template shows. The
formula is that of the run's own method; only DPO's sigmoid loss is followed number by number.
"""

from __future__ import annotations

import math
from typing import Any

from markupsafe import Markup
from rapidfuzz.distance import Prefix

from pipelines.report.artefacts import Artefact, load_artefact, manifest_of
from pipelines.report.figures import draw_curves, save_figure
from pipelines.report.labels import around
from pipelines.run.folder import Round, Run
from pipelines.run.stages import PHASES, round_stages
from pipelines.text import clip

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
_LOSSES = ("sigmoid",)
"""Loss types that the steps below compute."""


def describe_update(run: Run) -> dict[str, Any]:
    """What the template of question 2b shows; `log` is None where nothing was trained."""
    manifest = manifest_of(run)
    rounds = {place: {stage.verb: stage.name for stage in round_stages(place)} for place in run.every_round}
    trained = [place for place in rounds if manifest.has("stages", rounds[place]["train"])]
    last = rounds[trained[-1]]["train"] if trained else "train_1"
    log = _load(trained[-1], "log.json") if trained else None
    if log is None:
        return {"log": None, "last": last}
    facts = manifest.table("stages", last)
    entries = [log.table(place) for place in range(len(log.rows()))]
    return {
        "log": log,
        "manifest": manifest,
        "last": last,
        "method": facts.get("method", "dpo"),
        "alerts": [clip(str(alert)).text for alert in facts.get("alerts") or ()],
        "margins": _margins(log),
        "rounds": list(rounds.values()),
        "totals": {fact: _total(manifest, [rounds[place]["train"] for place in trained], fact) for fact in _TOTALS},
        "worked": _worked(trained[-1]),
        "figure": save_figure(run, "training", draw_curves(entries)),
        "validated": _validated(manifest, last),
        "has_validation": any("validation/pass_rate" in row for row in entries),
    }


def _load(place: Round, name: str) -> Artefact | None:
    return load_artefact(place.run, place.training / name, f"train --round {place.number}")


def _validated(manifest: Artefact, train: str) -> dict[str, str] | None:
    """What validation showed before the first step and of the selected weights, by what they were selected by."""
    keys = ("stages", train, "validation")
    if not manifest.has(*keys):
        return None
    measure = "exact_match" if manifest.has(*keys, "selected", "validation/exact_match") else "pass_rate"
    ends = {end: manifest.show(*keys, end, f"validation/{measure}", form="percent") for end in ("before", "selected")}
    return {"measure": measure.replace("_", " "), **ends}


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


def _worked(place: Round) -> dict[str, Any] | None:
    """The first pair's numbers put into DPO's loss, step by step (Rafailov et al. 2023, arXiv 2305.18290, eq. 7)."""
    pair = _load(place, "worked_pair.json")
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
        "steps": {phase: _steps(pair, phase) for phase in PHASES},
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
