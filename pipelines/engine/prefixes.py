"""What prompts have in common, found once: a tree of segments whose paths from root to leaf are the prompts.

Reads prompts as token ids; returns one leaf per prompt. A segment's keys and values are computed once and kept for as
long as a prompt below it is in use. Plain Python.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

SHORTEST_SHARED = 16
"""Tokens from which on computing a common stretch once pays for attending to it apart."""


@dataclasses.dataclass(slots=True, eq=False)
class Segment:
    """A stretch of tokens that every prompt below it has at the same place."""

    tokens: tuple[int, ...]
    start: int
    """Position of its first token."""
    parent: Segment | None
    users: int = 0
    """Samples below it that are not finished."""
    keys: list[Any] = dataclasses.field(default_factory=list)
    """Per layer [key_value_head, token, size], once computed."""
    values: list[Any] = dataclasses.field(default_factory=list)

    @property
    def end(self) -> int:
        """Position after its last token."""
        return self.start + len(self.tokens)

    def path(self) -> list[Segment]:
        """The segments from the root down to this one: the whole prompt, for a leaf."""
        path: list[Segment] = [self]
        while path[-1].parent is not None:
            path.append(path[-1].parent)
        return path[::-1]

    def use(self, samples: int) -> None:
        """So many samples will need it, and all above it."""
        for segment in self.path():
            segment.users += samples

    def release(self) -> None:
        """One sample is finished; what nobody needs any more is freed."""
        for segment in self.path():
            segment.users -= 1
            if segment.users == 0:
                segment.keys.clear()
                segment.values.clear()


def build_segments(prompts: Sequence[tuple[int, ...]]) -> list[Segment]:
    """The leaf of each prompt, in the order given. Every leaf has a token of its own, equal prompts too."""
    order = sorted(range(len(prompts)), key=lambda index: prompts[index])
    leaves: list[Segment | None] = [None] * len(prompts)
    groups: list[tuple[list[int], int, Segment | None]] = [(order, 0, None)] if order else []
    while groups:
        members, start, parent = groups.pop()
        if len(members) == 1:
            leaves[members[0]] = Segment(prompts[members[0]][start:], start, parent)
            continue
        shared = _common_length(prompts[members[0]], prompts[members[-1]])  # sorted: what these share, all share
        shared = min(shared, min(len(prompts[index]) for index in members) - 1)
        if shared - start >= SHORTEST_SHARED:
            parent = Segment(prompts[members[0]][start:shared], start, parent)
            start = shared
        # Those that end here are set apart: they would hide what the longer ones go on sharing.
        ending = [index for index in members if len(prompts[index]) == shared + 1]
        groups += [([index], start, parent) for index in ending]
        by_next: dict[int, list[int]] = {}
        for index in members:
            if len(prompts[index]) > shared + 1:
                by_next.setdefault(prompts[index][shared], []).append(index)
        groups += [(group, start, parent) for group in by_next.values()]
    found = [leaf for leaf in leaves if leaf is not None]
    assert len(found) == len(prompts)
    return found


def _common_length(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    for length, (left, right) in enumerate(zip(one, other, strict=False)):
        if left != right:
            return length
    return min(len(one), len(other))
