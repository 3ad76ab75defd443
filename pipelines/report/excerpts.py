"""Text of unknown origin made fit for the page: visible, still, and no longer than there is room for.

Takes any string; leaves its beginning, lines kept, control and direction characters spelt out, and how long all of it
was. The template escapes what is left; nothing here is HTML.
"""

from __future__ import annotations

from pipelines.readable import Excerpt, readable

_MOST_LINES = 12


def clip(text: str, characters: int = 400) -> Excerpt:
    """At most so many characters and a dozen lines of a text."""
    lines = text[:characters].split("\n")
    kept = "\n".join(readable(line) for line in lines[:_MOST_LINES])
    if len(text) <= characters and len(lines) <= _MOST_LINES:
        return Excerpt(kept)
    return Excerpt(kept + "…", len(text))
