"""A text through a policy: which passes there are, and their maps in memory; nothing is written here.

Reads a text; returns maps with each symbol one token where it is one, with the tokenizer's own split, and without a
mask, as far as they fit on a page. What does not fit is refused before the model runs. `study_files` writes them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Literal

from transformers import PreTrainedTokenizerBase

from pipelines.attention.capture import CausalLM
from pipelines.attention.explorer import require_room
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.probe import Selection, probe, selected
from pipelines.attention.symbols import Prefix, Split, TokenSequence, encode, own_split
from pipelines.readable import readable

Phase = Literal["before", "after"]
SUFFIXES: dict[Split, str] = {"symbols": "", "text": "_text"}
EXTRAS_UP_TO = 32
"""Longest sequence in tokens that is also shown in a second split and without a mask: beyond, they are megabytes."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Subject:
    """What is probed."""

    text: str
    """Symbols separated by spaces."""
    splits: tuple[Split, ...] | None = None
    """The first one is what figures and tables show; another one is left out beyond `EXTRAS_UP_TO` tokens. None for
    both where each symbol is one token, and for the tokenizer's own elsewhere."""
    prefix: Prefix = "none"
    layers: tuple[int, ...] | None = None
    heads: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Study:
    """One policy's passes over a text."""

    phase: Phase
    passes: dict[str, AttentionMaps]
    """By the name that their files get; the first is the one that figures and tables show."""
    splits: tuple[Split, ...] = ()
    """Those asked for, whether or not they were short enough to be probed."""

    @property
    def maps(self) -> AttentionMaps:
        """The pass that figures and tables show."""
        return next(iter(self.passes.values()))


def study(
    model: CausalLM,
    tokenizer: PreTrainedTokenizerBase,
    subject: Subject,
    *,
    phase: Phase = "before",
    info: Mapping[str, Any] | None = None,
) -> Study:
    """Probe one policy; the base model is also run without a mask. `info` goes into every pass.

    Raises like `probe`, and ConfigError when the maps are too many for a page, before any of them is computed.
    """
    sequences = sequences_of(tokenizer, subject)
    layers, heads = selected(model, Selection(layers=subject.layers, heads=subject.heads))
    for sequence in sequences.values():
        require_room(layers=len(layers), heads=len(heads), tokens=len(sequence.ids))
    running = [
        readable(tokenizer.decode([token])) for token in tokenizer.encode(subject.text, add_special_tokens=False)
    ]
    told = {**(info or {}), "text": subject.text, "text_tokens": running, "phase": phase}
    passes = {}
    for place, (split, sequence) in enumerate(sequences.items()):
        unmasked_too = phase == "before" and place == 0 and len(sequence.ids) <= EXTRAS_UP_TO
        for masked in (True, False) if unmasked_too else (True,):
            selection = Selection(layers=subject.layers, heads=subject.heads, masked=masked)
            maps = probe(model, tokenizer, sequence, selection)
            name = f"{phase}{SUFFIXES[split]}{'' if masked else '_unmasked'}"
            passes[name] = dataclasses.replace(maps, info={**maps.info, **told})
    return Study(phase=phase, passes=passes, splits=splits_of(tokenizer, subject))


def splits_of(tokenizer: PreTrainedTokenizerBase, subject: Subject) -> tuple[Split, ...]:
    """The splits that are asked for, those too long to be shown included."""
    if subject.splits is not None:
        return subject.splits
    return ("symbols", "text") if own_split(tokenizer, subject.text) == "symbols" else ("text",)


def sequences_of(tokenizer: PreTrainedTokenizerBase, subject: Subject) -> dict[Split, TokenSequence]:
    """The text's tokens by split, those left out that are too long to be an extra. Raises like `encode`."""
    first, *others = splits_of(tokenizer, subject)
    sequences = {first: encode(tokenizer, subject.text, split=first, prefix=subject.prefix)}
    if len(sequences[first].ids) <= EXTRAS_UP_TO:
        for split in others:
            sequences[split] = encode(tokenizer, subject.text, split=split, prefix=subject.prefix)
    return sequences
