"""What the page says beyond one picture: seeded sequences, ablations, and the floor and scale of a change.

Reads findings by phase, as `<phase>_findings.json` holds them; returns the part of the payload that the page's evidence
section reads. Computes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from pipelines.attention.explorer.packing import Packer
from pipelines.attention.scores import DEFINITIONS


def describe_evidence(findings: Mapping[str, Mapping[str, Any]], packer: Packer) -> dict[str, Any] | None:
    """JSON-ready, per phase; None when nothing was found out."""
    described = {phase: _describe(found, packer) for phase, found in findings.items() if found}
    return described or None


def _describe(found: Mapping[str, Any], packer: Packer) -> dict[str, Any]:
    picked = found.get("picked", {})
    return {
        "seeds": found.get("seeds"),
        "layers": found.get("layers"),
        "ensembles": [
            {
                "score": name,
                "title": DEFINITIONS[name].title,
                "sequences": kind.replace("_", " "),
                **{part: packer.quantised(_array(measured[part])) for part in ("mean", "margin", "uniform")},
            }
            for kind, scores in found.get("ensembles", {}).items()
            for name, measured in scores.items()
        ],
        "picked": [{**heads[0], "title": DEFINITIONS[name].title} for name, heads in picked.items() if heads],
        "ablations": {
            name: {part: value for part, value in one.items() if part != "nats_per_token"}
            for name, one in found.get("ablations", {}).items()
        },
        "change": found.get("change"),
        "scale": found.get("scale"),
    }


def _array(rows: list[list[float | None]]) -> Float[np.ndarray, "layer head"]:
    return np.array([[np.nan if value is None else value for value in row] for row in rows], dtype=np.float64)
