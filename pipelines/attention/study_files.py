"""The folder of a study: maps, figures, findings and the page over them, and a record of what was written.

Takes studies in memory; leaves `before.*` with each symbol one token, `before_text.*` with the tokenizer's own split,
`before_unmasked.*` without a mask; `after.*` and `after_text.*` of the trained policy; `explorer.html`; and
`study.json`, which names them all. Only files that an earlier record names are ever replaced or removed. The page is
made from the files alone, so it can be made again without a model.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pipelines.attention.comparison import compare, is_whole, rollout, uniform_rollout
from pipelines.attention.explorer import View, render_explorer
from pipelines.attention.figures import draw_head
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.scores import Telling, score_maps, telling_head
from pipelines.attention.study import SUFFIXES, Phase, Study
from pipelines.attention.symbols import Split
from pipelines.errors import DataError
from pipelines.readable import readable
from pipelines.rundir import write_bytes, write_json, write_text

RECORD = "study.json"
PAGE = "explorer.html"
TABLE_UP_TO = 16
"""Symbols whose table still fits the width of a terminal."""
_SUFFIXES = ("", "_text", "_findings", "_unmasked", "_text_unmasked")
_TITLES: dict[Split, str] = {"symbols": "each symbol one token", "text": "the tokenizer’s own split"}


def require_own(folder: Path, phases: Sequence[Phase]) -> None:
    """DataError when the folder cannot be one, or holds files of the names to be written that no study wrote."""
    there = next(part for part in (folder, *folder.absolute().parents) if part.exists())
    if not there.is_dir():
        raise DataError(f"{there} must be a folder, got a file; name another one with --out")
    if not os.access(there, os.W_OK):
        raise DataError(f"{there} cannot be written; mend its permissions, or name another folder with --out")
    recorded = _recorded(folder) or []
    foreign = [name for name in _present(folder, phases) if name not in recorded]
    if foreign:
        raise DataError(f"{folder / foreign[0]} was not written by this tool; name another folder with --out")


def write_studies(
    folder: Path,
    studies: Sequence[Study],
    findings: Mapping[Phase, Mapping[str, Any]],
    *,
    keep: bool = False,
) -> Path:
    """Write everything and remove what an earlier study left and this one does not have; returns the page's path.

    With `keep`, files of another phase stay and are on the page: a run comes in two parts. The figures show the base
    model's most telling head in both phases, so that before and after can be compared.
    """
    files = {f"{name}.{suffix}" for one in studies for name in one.passes for suffix in ("json", "safetensors")}
    files |= {f"{one.phase}.{suffix}" for one in studies for suffix in ("svg", "png")}
    files |= {PAGE, *(f"{phase}_findings.json" for phase in findings)}
    recorded = _recorded(folder)
    # A run's folder is its own: maps that it held before there were records are still its maps.
    earlier = set(_present(folder, ("before", "after")) if recorded is None and keep else recorded or [])
    # Recorded first: whatever happens next, every file that is written is known to be ours.
    try:
        write_json(folder / RECORD, {"files": sorted(files | earlier)})
    except OSError as error:
        raise DataError(f"{folder}: cannot be written ({error.strerror}); name another folder with --out") from error
    for one in studies:
        for name, maps in one.passes.items():
            maps.save(folder / name)
    for phase, found in findings.items():
        write_json(folder / f"{phase}_findings.json", dict(found))
    if not keep:
        for name in earlier - files:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / RECORD, {"files": sorted(files)})
    shown = shown_head(folder)
    for one in studies:
        # Of a model by itself there is no "before".
        of_two = keep or len(studies) > 1
        maps = one.maps if of_two else dataclasses.replace(one.maps, info={**one.maps.info, "phase": ""})
        for suffix, content in draw_head(maps, shown.layer, shown.head).items():
            write_bytes(folder / f"{one.phase}.{suffix}", content)
    return write_explorer(folder)


def shown_head(folder: Path) -> Telling:
    """The head that every figure of a folder shows: the most telling one of the base model."""
    for split in _TITLES:
        maps = _load(folder, f"before{SUFFIXES[split]}")
        if maps is not None:
            return telling_head(maps)
    raise DataError(f"{folder} holds no maps of a base model; run scripts/probe_attention.py --phase before")


def write_explorer(folder: Path) -> Path:
    """`explorer.html` over the maps and findings in a folder. Raises DataError when there are none."""
    views = [view for split in _TITLES if (view := _load_view(folder, split)) is not None]
    if not views:
        raise DataError(f"{folder} holds no maps of a base model; run scripts/probe_attention.py --phase before")
    findings = {phase: _load_findings(folder, phase) for phase in ("before", "after")}
    title = f"Attention on “{views[0].before.info['text']}”"
    write_text(folder / PAGE, render_explorer(views, title=title, findings=findings))
    return folder / PAGE


def table(maps: AttentionMaps, layer: int, head: int) -> str:
    """One head's weights between symbols as text; "0" is exactly 0 and hidden, "0.00" is visible and small.

    Of more than `TABLE_UP_TO` symbols the first ones; a last line says so.
    """
    labels = [readable(label) for label in maps.symbols()][:TABLE_UP_TO]
    weights, visible = maps.head(layer, head), maps.visible_symbols(layer)
    width = max(4, *(len(label) for label in labels))
    lines = [" " * width + "".join(f"  {label:>{width}}" for label in labels)]
    for row, label in enumerate(labels):
        pairs = zip(weights[row, : len(labels)], visible[row, : len(labels)], strict=True)
        cells = [f"{weight:.2f}" if shown else "0" for weight, shown in pairs]
        lines.append(f"{label:>{width}}" + "".join(f"  {cell:>{width}}" for cell in cells))
    if len(maps.groups) > TABLE_UP_TO:
        lines.append(f"the first {TABLE_UP_TO} of {len(maps.groups)} symbols; the page and the files hold them all")
    return "\n".join(lines)


def _load_view(folder: Path, split: Split) -> View | None:
    before = _load(folder, f"before{SUFFIXES[split]}")
    if before is None:
        return None
    after = _load(folder, f"after{SUFFIXES[split]}")
    return View(
        title=_TITLES[split],
        before=before,
        after=after,
        unmasked=_load(folder, f"before{SUFFIXES[split]}_unmasked"),
        scores=score_maps(before),
        scores_after=() if after is None else score_maps(after),
        change=None if after is None else compare(before, after).jsd,
        shown=telling_head(before),
        rollout=(rollout(before), uniform_rollout(before)) if is_whole(before) else None,
    )


def _load(folder: Path, name: str) -> AttentionMaps | None:
    """The maps of a name, unless they are not there or, where there is a record, not in it."""
    recorded = _recorded(folder)
    there = (folder / f"{name}.json").exists() and (recorded is None or f"{name}.json" in recorded)
    return AttentionMaps.load(folder / name) if there else None


def _load_findings(folder: Path, phase: str) -> dict[str, Any]:
    file = folder / f"{phase}_findings.json"
    recorded = _recorded(folder)
    if not file.exists() or (recorded is not None and file.name not in recorded):
        return {}
    try:
        return dict(json.loads(file.read_text(encoding="utf-8")))
    except ValueError as error:
        raise DataError(f"{file}: not JSON ({error}); run scripts/probe_attention.py again") from error


def _present(folder: Path, phases: Sequence[Phase]) -> list[str]:
    """The files of a folder that have the names of a study's."""
    stems = [f"{phase}{suffix}" for phase in phases for suffix in _SUFFIXES]
    names = [PAGE, *(f"{stem}.{suffix}" for stem in stems for suffix in ("safetensors", "json", "svg", "png"))]
    return [name for name in names if (folder / name).exists()]


def _recorded(folder: Path) -> list[str] | None:
    """The files that earlier studies wrote, their bare names; None without a record."""
    file = folder / RECORD
    if not file.is_file():
        return None
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["files"]
        # A name with a folder in it would reach elsewhere.
        return [name for name in names if isinstance(name, str) and Path(name).name == name]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file}: not a record of a study ({error}); delete it, or name another folder") from error
