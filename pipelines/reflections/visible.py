"""Untrusted text made fit for a terminal or a page, and cut to a length that fits there.

Takes any string; leaves one whose control characters are spelt out, as in `\\u001b`. What is stored stays whole; only
what is shown goes through here. Prose keeps the marks that right-to-left languages are written with.
"""

from __future__ import annotations

import re
import unicodedata

from pipelines.readable import Excerpt, readable

_SLACK_CHARACTERS = 40
"""How far before the limit a cut may move back to a space."""


def one_line(text: str, most: int = 1000) -> str:
    """At most so many characters on one line, nothing in it that a terminal would obey."""
    spelt = readable(" ".join(text[: most + 1].split()))
    return spelt if len(spelt) <= most else spelt[: most - 1] + "…"


def excerpt(text: str, *, characters: int, lines: int) -> Excerpt:
    """The text with its lines, cut after so many characters or lines, control characters spelt out."""
    shown = text[:characters]
    if len(text) > characters:
        shown = _back_to_space(shown)
    kept = re.split(r"\r\n|\r|\n", shown.strip())[:lines]
    is_cut = len(text) > characters or len(re.split(r"\r\n|\r|\n", shown.strip())) > lines
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).rstrip()
    spelt = "".join(letter if letter in "\n\t" else _spelt(letter) for letter in joined)
    return Excerpt(text=spelt + " …", whole_characters=len(text)) if is_cut else Excerpt(text=spelt)


def is_blank(text: str) -> bool:
    """Whether nothing in the text would show: white space, control and format characters only."""
    return all(letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf") for letter in text)


def _back_to_space(text: str) -> str:
    space = max(text.rfind(" "), text.rfind("\n"))
    return text[:space] if space >= len(text) - _SLACK_CHARACTERS else text


def _spelt(letter: str) -> str:
    """Control characters and lone surrogates spelt out."""
    return f"\\u{ord(letter):04x}" if unicodedata.category(letter) in ("Cc", "Cs") else letter
