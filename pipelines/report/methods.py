"""The other answers to question 2b on the page: methods trained on the same samples, their rates, distance and costs.

Reads a comparison's `comparison.json`; returns what its template shows, in the order of what was measured.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipelines.report.artefacts import Artefact, load_artefact
from pipelines.report.figures import PROMPTINGS, draw_methods, keep
from pipelines.run.folder import Run
from pipelines.text import clip

_SCRIPT = "compare_runs.py"


def describe_methods(run: Run) -> dict[str, Any]:
    """What the template shows; `compared` is None where nothing was compared."""
    found = load_artefact(run, "comparison.json", _SCRIPT)
    if found is None:
        return {"compared": None}
    promptings = [name for name in PROMPTINGS if found.has("rates", name)]
    if not promptings:
        raise found.damaged("no rates")
    return {
        "compared": found,
        "promptings": promptings,
        "leads": {name: _lead(found, name) for name in promptings},
        "ranked": _ranked(found, promptings),
        "runs": [_run(found, place) for place in range(len(found.rows("runs")))],
        "figure": keep(run, "methods", draw_methods(found)),
    }


def _lead(found: Artefact, prompting: str) -> dict[str, Any]:
    """Who is first, who second, and how far before."""
    keys = ("rates", prompting, "lead")
    points = {name: 100 * found.number(*keys, name) for name in ("mean", "low", "high")}
    return {
        "first": _name(found.at(*keys, "first")),
        "second": _name(found.at(*keys, "second")),
        "is_clear": found.at(*keys, "is_clear") is True,
        **{name: found.derive(value, "in points", *keys, name, form="signed1") for name, value in points.items()},
    }


def _ranked(found: Artefact, promptings: list[str]) -> list[dict[str, Any]]:
    """Each method with its rates, best first on the first prompting."""
    places = {
        prompting: {row["method"]: place for place, row in enumerate(found.rows("rates", prompting, "methods"))}
        for prompting in promptings
    }
    return [
        {
            "method": _name(method),
            "rates": {
                prompting: _rate(found, ("rates", prompting, "methods", places[prompting][method], "exact"))
                for prompting in promptings
                if method in places[prompting]
            },
        }
        for method in places[promptings[0]]
    ]


def _rate(found: Artefact, keys: tuple[str | int, ...]) -> dict[str, Markup]:
    return {
        "mean": found.show(*keys, "mean", form="percent"),
        "low": found.show(*keys, "low", form="share"),
        "high": found.show(*keys, "high", form="share"),
    }


def _run(found: Artefact, place: int) -> dict[str, Any]:
    """One method with one seed: what it cost, and how far it went."""
    keys = ("runs", place)
    row = found.table(*keys)
    seconds = found.number(*keys, "sampling_seconds") + found.number(*keys, "training_seconds")
    return {
        "method": _name(row.get("method")),
        "seed": found.show(*keys, "seed"),
        "exact": {
            name: found.show(*keys, "exact", name, "rate", form="percent")
            for name in PROMPTINGS
            if found.has(*keys, "exact", name)
        },
        "kl": found.show(*keys, "kl_nats_per_token", form="fixed3"),
        "chat_kl": found.show(*keys, "chat_kl_nats_per_token", form="fixed3"),
        "tokens": found.show(*keys, "tokens_sampled"),
        "steps": found.show(*keys, "steps"),
        "minutes": found.derive(seconds, "sampling and training", *keys, form="minutes"),
    }


def _name(value: Any) -> str:
    return clip(str(value), 40).text
