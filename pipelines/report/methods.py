"""The other answers to question 2b on the page: methods trained on the same samples, their rates, distance and costs.

Reads a comparison's `comparison.json`; returns what its template shows, in the order of what was measured.
"""

from __future__ import annotations

from typing import Any

from markupsafe import Markup

from pipelines.report.artefacts import Artefact, load_artefact
from pipelines.report.figures import SOURCES, draw_methods, save_figure
from pipelines.run.folder import Run
from pipelines.text import clip


def describe_methods(run: Run) -> dict[str, Any]:
    """What the template shows; `compared` is None where nothing was compared."""
    found = load_artefact(run, run.root / "comparison.json", "compare")
    if found is None:
        return {"compared": None}
    sources = [name for name in SOURCES if found.has("rates", name)]
    if not sources:
        raise found.damaged("no rates")
    return {
        "compared": found,
        "sources": {name: SOURCES[name] for name in sources},
        "leads": {name: _lead(found, name) for name in sources},
        "ranked": _ranked(found, sources),
        "runs": [_run(found, place) for place in range(len(found.rows("runs")))],
        "figure": save_figure(run, "methods", draw_methods(found)),
    }


def _lead(found: Artefact, source: str) -> dict[str, Any]:
    """Who is first, who second, and how far before."""
    keys = ("rates", source, "lead")
    points = {name: 100 * found.number(*keys, name) for name in ("mean", "low", "high")}
    return {
        "first": _name(found.at(*keys, "first")),
        "second": _name(found.at(*keys, "second")),
        "is_clear": found.at(*keys, "is_clear") is True,
        **{name: found.derive(value, "in points", *keys, name, form="signed1") for name, value in points.items()},
    }


def _ranked(found: Artefact, sources: list[str]) -> list[dict[str, Any]]:
    """Each method with its rates, best first under the first prompt."""
    places = {
        source: {row["method"]: place for place, row in enumerate(found.rows("rates", source, "methods"))}
        for source in sources
    }
    return [
        {
            "method": _name(method),
            "rates": {
                source: _rate(found, ("rates", source, "methods", places[source][method], "right"))
                for source in sources
                if method in places[source]
            },
        }
        for method in places[sources[0]]
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
        "exact_match": {
            name: found.show(*keys, "exact_match", name, "rate", form="percent")
            for name in SOURCES
            if found.has(*keys, "exact_match", name)
        },
        "kl": found.show(*keys, "kl_nats_per_token", form="fixed3"),
        "chat_kl": found.show(*keys, "chat_kl_nats_per_token", form="fixed3"),
        "tokens": found.show(*keys, "tokens_sampled"),
        "steps": found.show(*keys, "steps"),
        "minutes": found.derive(seconds, "sampling and training", *keys, form="minutes"),
    }


def _name(value: Any) -> str:
    return clip(str(value), 40).text
