"""Question 1 on the page: the sequence's matrices before and after training, the zeros, and the evidence beyond them.

Reads `attention/` of a run; returns what its template shows. A matrix is a table of shaded cells, so that it is read,
printed and shown in the dark as what it is; a sequence too long for that is shown as the figure that the probe drew.
"""

from __future__ import annotations

import base64
import dataclasses
import re
from typing import Any

from markupsafe import Markup

from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import shown_head
from pipelines.report.artefacts import Artefact, element, load_artefact
from pipelines.run.folder import Run
from pipelines.run.stages import PHASES
from pipelines.text import clip

_LONGEST_TABLE = 12
"""Longest sequence whose matrix is a table."""
_LABEL_CHARACTERS = 12
_SHADES = 10
_LARGEST_EXPLORER_BYTES = 1_000_000
_POLICY = re.compile(
    r"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; "
    r"script-src '(sha256-[\w+/=]{44})'; style-src '(sha256-[\w+/=]{44})'; img-src data: blob:\">"
)


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Cell:
    """One weight as it is shown."""

    number: Markup
    shade: int
    """From 0 (nothing) to 10 (all of the row's weight)."""
    is_hidden: bool
    """Whether the mask hides it: it is 0 by rule, not by chance."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Matrix:
    """One head over the symbols."""

    title: str
    layer: Markup
    head: Markup
    labels: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Explorer:
    """The explorer's page, to be put into a frame of ours, and what its policy lets run."""

    page: str
    script_hash: str
    style_hash: str


def load_phases(run: Run) -> dict[str, AttentionMaps]:
    """The run's maps by phase, those that are there."""
    phases = [phase for phase in PHASES if (run.attention / f"{phase}.json").exists()]
    return {phase: AttentionMaps.load(run.attention / phase) for phase in phases}


def load_explorer(run: Run) -> Explorer | None:
    """The explorer if it is there, is not too large for a page, and has the policy that ours are written with."""
    path = run.attention / "explorer.html"
    if not path.exists() or path.stat().st_size > _LARGEST_EXPLORER_BYTES:
        return None
    page = path.read_text(encoding="utf-8", errors="replace")
    policy = _POLICY.search(page)
    return Explorer(page=page, script_hash=policy[1], style_hash=policy[2]) if policy else None


def draw_matrix(maps: AttentionMaps, phase: str, layer: int, head: int) -> Matrix:
    """One head of one phase."""
    weights, visible = maps.head(layer, head), maps.visible_symbols(layer)
    name = f"attention/{phase}.safetensors"

    def cell(query: int, key: int) -> Cell:
        weight, hidden = float(weights[query, key]), not visible[query, key]
        source = f"{name}#/{layer}/{head}/{query}/{key}"
        # What the mask hides reads 0 only if it is 0; what merely is small reads 0.00.
        form = "exact" if hidden else "fixed2"
        return Cell(
            number=element(weight, form, source),
            shade=round(_SHADES * max(0.0, min(1.0, weight))),
            is_hidden=hidden,
        )

    size = len(weights)
    return Matrix(
        title=f"{phase} training",
        layer=element(layer, "count", name, "layer shown"),
        head=element(head, "count", name, "head shown"),
        labels=tuple(clip(symbol, _LABEL_CHARACTERS).text for symbol in maps.symbols()),
        rows=tuple(tuple(cell(query, key) for key in range(size)) for query in range(size)),
    )


def describe_attention(run: Run) -> dict[str, Any]:
    """What the template of question 1 shows; `maps` is None where nothing was probed."""
    phases = load_phases(run)
    if "before" not in phases:
        return {"maps": None}
    before = phases["before"]
    told = shown_head(before)
    stored = {phase: _load(run, phase, "") for phase in phases}
    findings = {phase: _load(run, phase, "_findings") for phase in phases}
    fits = len(before.groups) <= _LONGEST_TABLE
    size = len(before.groups)
    return {
        "maps": stored["before"],
        "rule": told.rule,
        "first": [
            draw_matrix(maps, phase, told.layer, told.head) if fits else _figure(run, phase)
            for phase, maps in phases.items()
        ],
        "heads": _count(stored["before"], len(before.layers) * len(before.heads), "layers × heads"),
        "zeros": _count(stored["before"], size * (size - 1) // 2, "n (n − 1) / 2 of the symbols"),
        "symbols": _count(stored["before"], size, "symbols"),
        "largest": {name: _largest(stored, name) for name in ("future_max", "row_sum_error")},
        "text_tokens": [clip(str(token), _LABEL_CHARACTERS).text for token in before.info.get("text_tokens", ())],
        "found": findings["before"],
        "means": _means(findings["before"]),
        "moved": _moved(phases, findings.get("after")) if fits else None,
        "has_explorer": (run.attention / "explorer.html").exists(),
        "explorer": load_explorer(run),
    }


def _load(run: Run, phase: str, suffix: str) -> Artefact | None:
    return load_artefact(run, run.attention / f"{phase}{suffix}.json", f"probe --phase {phase}")


def _count(maps: Artefact | None, value: int, formula: str) -> Markup:
    """A count over the maps as they are stored."""
    assert maps is not None
    return maps.derive(value, formula, "shape")


def _largest(stored: dict[str, Artefact | None], name: str) -> Markup:
    """The worst of a check over the phases."""
    found = {phase: maps.number("checks", name) for phase, maps in stored.items() if maps}
    phase = max(found, key=lambda phase: found[phase])
    worst = stored[phase]
    assert worst is not None
    return worst.show("checks", name, form="exact")


def _means(found: Artefact | None) -> dict[str, Markup]:
    """What the induction head's layer loses without another of its heads, and what it loses without that one."""
    if found is None:
        return {}
    return {
        "induction": _negated(found, "ablations", "induction_head", "mean_nats"),
        "others": _mean(found, "ablations", "induction_head", sign=-1),
    }


def _negated(found: Artefact, *keys: str) -> Markup:
    return found.derive(-found.number(*keys), "−x", *keys, form="fixed3")


def _mean(found: Artefact, *keys: str, sign: int = 1) -> Markup:
    values = found.rows(*keys, "other_heads_mean_nats")
    mean = sign * sum(values) / len(values) if values else None
    formula = "−mean" if sign < 0 else "mean"
    return found.derive(mean, formula, *keys, "other_heads_mean_nats", form="fixed3" if sign < 0 else "signed4")


def _moved(phases: dict[str, AttentionMaps], found: Artefact | None) -> dict[str, Any] | None:
    """The head that training moved most, before and after, and the others after it."""
    if found is None or not found.has("change"):
        return None
    changed = found.rows("change", "most_changed")
    # Some runs keep findings of other layers than the maps'.
    top = next(((row["layer"], row["head"]) for row in changed if row["layer"] in phases["after"].layers), None)
    return {
        "found": found,
        "count": range(len(changed)),
        "matrices": [draw_matrix(maps, phase, *top) for phase, maps in phases.items()] if top else [],
        "others": _mean(found, "change", "most_changed_ablated"),
    }


def _figure(run: Run, phase: str) -> dict[str, str]:
    """The probe's own figure of a long sequence, as a data URI."""
    path = run.attention / f"{phase}.svg"
    content = base64.b64encode(path.read_bytes() if path.exists() else b"").decode()
    return {"title": f"{phase} training", "uri": f"data:image/svg+xml;base64,{content}"}
