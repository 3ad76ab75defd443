"""Untrusted text made fit to stand on a terminal, in a figure, in a title or on a page.

Reads any string; returns one whose characters are all visible, and none of which moves the cursor or turns the line
around. What is stored stays whole: only what is shown goes through here. Nothing here is HTML; templates escape that.
The explorer's own script does to tokens what `escape` does.
"""

from __future__ import annotations

import dataclasses
import unicodedata

_NAMED = {"\n": "⏎", "\r": "⏎", "\t": "⇥"}
_HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control, format (bidirectional marks among them), lone surrogate, line and paragraph separator."""
_JOINERS = "\u200c\u200d"
"""Between letters and within emoji they are part of how a symbol is written."""


@dataclasses.dataclass(frozen=True, slots=True)
class Excerpt:
    """The beginning of a text, or all of it."""

    text: str
    whole_characters: int | None = None
    """How long the text was, in characters; None when all of it is here."""


def escape(text: str) -> str:
    """Control, format and undecodable characters spelt out, as in `\\u202e`; everything else as it is."""
    return "".join(_spelt(letter, alone=len(text) == 1) for letter in text)


def shortened(text: str, most: int) -> str:
    """At most so many characters, the last one `…` where some are left out."""
    return text if len(text) <= most else text[: most - 1].rstrip() + "…"


def one_line(text: str, most: int = 200) -> str:
    """At most so many characters on one line, escaped; white space of any kind and length becomes one space."""
    return shortened(escape(" ".join(text.split())), most)


def clip(text: str, characters: int = 400, lines: int = 12) -> Excerpt:
    """At most so many characters and lines of a text, escaped; its line feeds stay."""
    found = text[:characters].split("\n")
    kept = "\n".join(escape(line) for line in found[:lines])
    if len(text) <= characters and len(found) <= lines:
        return Excerpt(kept)
    return Excerpt(kept + "…", len(text))


def _spelt(letter: str, *, alone: bool) -> str:
    if letter in _NAMED:
        return _NAMED[letter]
    if unicodedata.category(letter) in _HIDDEN and (alone or letter not in _JOINERS):
        return f"\\u{ord(letter):04x}"
    return letter
