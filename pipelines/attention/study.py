"""A text through a policy, before and after training: maps, scores, the figure of one head and the page, as files.

Takes a loaded model and a text; leaves in one folder `before.*` with each symbol one token, `before_text.*` with the
tokenizer's own split, `before_unmasked.*` without a mask; `after.*` and `after_text.*` from the trained policy; and
`explorer.html` over them. The page is made from the files alone, so it can be made again without a model.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from pipelines.attention.capture import CausalLM
from pipelines.attention.comparison import compare
from pipelines.attention.explorer import View, render_explorer
from pipelines.attention.figures import draw_head
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.probe import Selection, probe
from pipelines.attention.scores import score_maps, telling_head
from pipelines.attention.symbols import Prefix, Split, encode
from pipelines.errors import DataError
from pipelines.rundir import write_bytes, write_text

Phase = Literal["before", "after"]
_SUFFIXES: dict[Split, str] = {"symbols": "", "text": "_text"}
_FILES = re.compile(r"(before|after)(_text|_findings)?(_unmasked)?\.(safetensors|json|svg|png)|explorer\.html")
_TITLES: dict[Split, str] = {"symbols": "each symbol one token", "text": "the tokenizer's own split"}


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is probed."""

    text: str
    """Symbols separated by spaces."""
    splits: tuple[Split, ...] = ("symbols", "text")
    prefix: Prefix = "none"
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None


def study(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    subject: Subject,
    folder: Path,
    *,
    phase: Phase = "before",
    info: Mapping[str, Any] | None = None,
) -> AttentionMaps:
    """Probe one policy and write its maps and figure; returns the maps of the first split. Raises like `probe`.

    The base model is also run without a mask, in the first split. `info` goes into every file. The figure shows the
    base model's most telling head in both phases, so that before and after can be compared.
    """
    studied: list[AttentionMaps] = []
    for split in subject.splits:
        sequence = encode(tokenizer, subject.text, split=split, prefix=subject.prefix)
        for masked in (True, False) if phase == "before" and split == subject.splits[0] else (True,):
            selection = Selection(layers=subject.layers, heads=subject.heads, masked=masked)
            maps = probe(model, tokenizer, sequence, selection)
            maps = dataclasses.replace(maps, info={**maps.info, **(info or {}), "text": subject.text, "phase": phase})
            maps.save(_stem(folder, phase, split, masked=masked))
            studied.append(maps)
    for suffix, content in draw_head(studied[0], *shown_head(folder)).items():
        write_bytes(folder / f"{phase}.{suffix}", content)
    return studied[0]


def shown_head(folder: Path) -> tuple[int, int]:
    """(layer, head) that every figure of a folder shows: the most telling one of the base model."""
    return telling_head(_load_views(folder)[0].before)


def clear(folder: Path) -> None:
    """Remove the maps and the page of an earlier study, and nothing else."""
    for file in folder.glob("*"):
        if _FILES.fullmatch(file.name):
            file.unlink()


def write_explorer(folder: Path) -> Path:
    """`explorer.html` over the maps in a folder. Raises DataError when there are none."""
    views = _load_views(folder)
    text = views[0].before.info["text"]
    write_text(folder / "explorer.html", render_explorer(views, title=f"Attention on “{text}”"))
    return folder / "explorer.html"


def table(maps: AttentionMaps, layer: int, head: int) -> str:
    """One head's weights between symbols as text; "0" is exactly 0 and hidden, "0.00" is visible and small."""
    labels, weights, visible = maps.symbols(), maps.head(layer, head), maps.visible_symbols(layer)
    width = max(4, *(len(label) for label in labels))
    lines = [" " * width + "".join(f"  {label:>{width}}" for label in labels)]
    for label, row, seen in zip(labels, weights, visible, strict=True):
        cells = [f"{weight:.2f}" if shown else "0" for weight, shown in zip(row, seen, strict=True)]
        lines.append(f"{label:>{width}}" + "".join(f"  {cell:>{width}}" for cell in cells))
    return "\n".join(lines)


def _stem(folder: Path, phase: Phase, split: Split, *, masked: bool = True) -> Path:
    return folder / f"{phase}{_SUFFIXES[split]}{'' if masked else '_unmasked'}"


def _load_views(folder: Path) -> list[View]:
    views = []
    for split, title in _TITLES.items():
        before = _load(_stem(folder, "before", split))
        if before is None:
            continue
        after = _load(_stem(folder, "after", split))
        views.append(
            View(
                title=title,
                before=before,
                after=after,
                unmasked=_load(_stem(folder, "before", split, masked=False)),
                scores=score_maps(before),
                scores_after=() if after is None else score_maps(after),
                change=None if after is None else compare(before, after).jsd,
                shown=telling_head(before),
            )
        )
    if not views:
        raise DataError(f"{folder} holds no maps of a base model; run scripts/probe_attention.py --phase before")
    return views


def _load(stem: Path) -> AttentionMaps | None:
    return AttentionMaps.load(stem) if stem.with_suffix(".json").exists() else None
