"""A terminal with nothing but the standard library: one key at a time, and foreign text that can do no harm.

Reads keys from one stream and writes text to another. When the input is no terminal, a line stands for a key. The
terminal's mode is changed only while a key is awaited. Knows nothing of labels.
"""

from __future__ import annotations

import os
import termios
import tty
from io import TextIOBase
from typing import TextIO

from pipelines.text import escape

_END_OF_INPUT = "\x04"


class Terminal:
    """Where a person sits, or a file that stands in for one."""

    def __init__(self, source: TextIO | TextIOBase, sink: TextIO | TextIOBase) -> None:
        self._source, self._sink = source, sink

    def write(self, text: str) -> None:
        """Show our own text with whatever `visible` text is in it; what the terminal cannot encode is escaped."""
        encoding = self._sink.encoding or "utf-8"
        self._sink.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
        self._sink.flush()

    def read_key(self) -> str | None:
        """The next key in lower case, empty for anything longer than one character, None at the end of the input.

        What was typed before the question was shown does not count, so that a key held down labels one comparison.
        """
        if not self._source.isatty():
            line = self._source.readline()
            return _one_key(line.strip()) if line else None
        descriptor = self._source.fileno()
        mode = termios.tcgetattr(descriptor)
        try:
            tty.setcbreak(descriptor, termios.TCSAFLUSH)
            keys = os.read(descriptor, 64).decode("utf-8", "replace")
        finally:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, mode)
        return None if keys in ("", _END_OF_INPUT) else _one_key(keys)


def _one_key(keys: str) -> str:
    # An arrow or a function key sends several characters, some of them letters and digits.
    return keys.lower() if len(keys) == 1 else ""


def visible(text: str, *, characters: int = 2000, lines: int = 40) -> str:
    """Foreign text for a terminal: lines behind a bar, control and invisible characters spelt out, long text cut.

    Only a line feed keeps its meaning. What is cut is counted in a last line, without a bar.
    """
    kept = "\n".join(text[:characters].split("\n")[:lines])
    shown = "\n".join(f"  | {escape(line)}" for line in kept.split("\n"))
    return shown + (f"\n  [{len(text) - len(kept)} more characters]" if len(kept) < len(text) else "")
