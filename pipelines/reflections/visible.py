"""Untrusted text made fit for a terminal or a page, and cut to a length that fits there.

Takes any string; leaves one whose control characters are spelt out, as in `\\u001b`. What is stored stays whole; only
what is shown goes through here. (`pipelines.attention.readable` does more, for figures, but its room imports torch, and
gathering a class's answers should not.)
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata

_HIDDEN_ON_TERMINALS = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Control, format (bidirectional marks among them), lone surrogate, line and paragraph separator."""
_SLACK_CHARACTERS = 40
"""How far before the limit a cut may move back to a space."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Excerpt:
    """The beginning of a text, or all of it."""

    text: str
    whole_characters: int | None = None
    """How long the text was, in characters; None when all of it is here."""


def one_line(text: str, most: int = 1000) -> str:
    """At most so many characters on one line, nothing in it that a terminal would obey."""
    spelt = "".join(_spelt(letter, _HIDDEN_ON_TERMINALS) for letter in " ".join(text[: most + 1].split()))
    return spelt if len(spelt) <= most else spelt[: most - 1] + "…"


def excerpt(text: str, *, characters: int, lines: int) -> Excerpt:
    """The text with its lines, cut after so many characters or lines, control characters spelt out."""
    shown = text[:characters]
    if len(text) > characters:
        shown = _back_to_space(shown)
    kept = re.split(r"\r\n|\r|\n", shown.strip())[:lines]
    is_cut = len(text) > characters or len(re.split(r"\r\n|\r|\n", shown.strip())) > lines
    joined = re.sub(r"\n{3,}", "\n\n", "\n".join(kept)).rstrip()
    spelt = "".join(letter if letter in "\n\t" else _spelt(letter, ("Cc", "Cs")) for letter in joined)
    return Excerpt(text=spelt + " …", whole_characters=len(text)) if is_cut else Excerpt(text=spelt)


def is_blank(text: str) -> bool:
    """Whether nothing in the text would show: white space, control and format characters only."""
    return all(letter.isspace() or unicodedata.category(letter) in ("Cc", "Cf") for letter in text)


def _back_to_space(text: str) -> str:
    space = max(text.rfind(" "), text.rfind("\n"))
    return text[:space] if space >= len(text) - _SLACK_CHARACTERS else text


def _spelt(letter: str, hidden: tuple[str, ...]) -> str:
    return f"\\u{ord(letter):04x}" if unicodedata.category(letter) in hidden else letter
