"""Untrusted text made fit to stand on a terminal, in a figure, in a title or on a page.

Takes any string; leaves one whose characters are all visible and none of which moves the cursor or turns the line
around. The explorer's own script does the same to tokens.
"""

from __future__ import annotations

import dataclasses
import unicodedata

_NAMED = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}
_JOINERS = "\u200c\u200d"
"""Between letters and within emoji they are part of how a symbol is written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a text, or all of it."""

    text: str
    whole_characters: int | None = None
    """How long the text was, in characters; None when all of it is here."""


def readable(text: str) -> str:
    """Control, format and undecodable characters spelt out, as in `\\u202e`; everything else as it is."""
    return "".join(_spelt(letter, alone=len(text) == 1) for letter in text)


def shortened(text: str, most: int) -> str:
    """At most so many characters, the last one `…` where some are left out."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def _spelt(letter: str, *, alone: bool) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    # Cc control, Cf format (bidirectional marks among them), Cs lone surrogate, Zl and Zp line and paragraph breaks.
    hidden = unicodedata.category(letter) in ("Cc", "Cf", "Cs", "Zl", "Zp")
    if hidden and (alone or letter not in _JOINERS):
        return f"\\u{ord(letter):04x}"
    return letter
