"""A run's files as the page quotes them: every number on the page says which file it is in, and where.

Reads files of a run folder; returns `Artefact`s, whose values come out as HTML `<data>` elements with the file and a
JSON pointer (RFC 6901) in `data-source`. A number that is computed here says of what, in `data-formula`. A file that is
damaged, or lacks what is asked for, raises DataError with its name, the place and the command that makes it again.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

from markupsafe import Markup

from pipelines.errors import DataError
from pipelines.run.folder import Run
from pipelines.text import clip

Key = str | int


def _fixed(digits: int, sign: str = "") -> Callable[[float], str]:
    # Adding 0.0 turns a rounded −0.0 into 0.0.
    return lambda value: f"{round(value, digits) + 0.0:{sign}.{digits}f}".replace("-", "−")


FORMS: dict[str, Callable[[Any], str]] = {
    "count": lambda value: f"{value:,}",
    "percent": lambda value: f"{100 * value:.0f} %",
    "share": lambda value: f"{100 * value:.0f}",
    "exact": lambda value: "0" if value == 0 else f"{value:.1e}",
    "whole": _fixed(0),
    "fixed1": _fixed(1),
    "fixed2": _fixed(2),
    "fixed3": _fixed(3),
    "fixed4": _fixed(4),
    "signed1": _fixed(1, "+"),
    "signed2": _fixed(2, "+"),
    "signed4": _fixed(4, "+"),
    "minutes": lambda value: f"{value / 60:.1f}",
    "words": lambda value: clip(str(value).replace("_", " "), 200).text,
    "text": lambda value: clip(str(value), 200).text,
    "hash": lambda value: clip(str(value), 200).text[:16],
}
"""How a value is written; `share` is a percentage without its sign."""


def element(value: Any, form: str, source: str, formula: str | None = None) -> Markup:
    """A value as the page shows it, with where it comes from; None, which is nowhere measured, as a dash."""
    shown = "–" if value is None else FORMS[form](value)
    derived = Markup(' data-formula="{}"').format(formula) if formula else Markup("")
    return Markup('<data value="{}" data-form="{}" data-source="{}"{}>{}</data>').format(
        "" if value is None else clip(str(value), 200).text, form, source, derived, shown
    )


@dataclasses.dataclass(frozen=True, slots=True)
class Artefact:
    """A file of a run and what it holds: the values of a JSON file, or the rows of another."""

    name: str
    """Relative to the run folder."""
    content: Any
    verb: str
    """What `attend-and-prefer` makes it again with, options included."""

    def at(self, *keys: Key) -> Any:
        """The value at a place; DataError when there is none."""
        found = self.content
        for depth, key in enumerate(keys):
            try:
                found = found[key]
            except (KeyError, IndexError, TypeError) as error:
                raise self.damaged(f"nothing at {_pointer(keys[: depth + 1])}") from error
        return found

    def number(self, *keys: Key) -> float:
        """The number at a place; DataError when it is none."""
        value = self.at(*keys)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.damaged(f"no number at {_pointer(keys)}")
        return float(value)

    def table(self, *keys: Key) -> dict[str, Any]:
        """The object at a place; DataError when it is none."""
        value = self.at(*keys)
        if not isinstance(value, dict):
            raise self.damaged(f"no object at {_pointer(keys)}")
        return value

    def rows(self, *keys: Key) -> list[Any]:
        """The list at a place; DataError when it is none."""
        value = self.at(*keys)
        if not isinstance(value, list):
            raise self.damaged(f"no list at {_pointer(keys)}")
        return value

    def has(self, *keys: Key) -> bool:
        """Whether there is anything but null at a place."""
        try:
            return self.at(*keys) is not None
        except DataError:
            return False

    def show(self, *keys: Key, form: str = "count") -> Markup:
        """The value at a place, as an element that names the place."""
        value = self.at(*keys)
        if value is not None and form not in ("text", "words", "hash"):
            self.number(*keys)
        return element(value, form, self.source(*keys))

    def derive(self, value: Any, formula: str, *keys: Key, form: str = "count") -> Markup:
        """A value that was computed of what is at a place, as an element that says how."""
        return element(value, form, self.source(*keys), formula)

    def total(self, places: Sequence[tuple[Key, ...]], form: str = "count") -> Markup:
        """The sum of the numbers at some places, as an element that names them all; of one place, its number."""
        if len(places) == 1:
            return self.show(*places[0], form=form)
        for keys in places:
            self.number(*keys)
        return element(
            sum(self.at(*keys) for keys in places), form, " ".join(self.source(*keys) for keys in places), "sum"
        )

    def source(self, *keys: Key) -> str:
        """The place as it is written into `data-source`."""
        return self.name + ("#" + _pointer(keys) if keys else "")

    def damaged(self, what: str) -> DataError:
        """The error that names this file."""
        return DataError(f"{self.name}: {what}; run `attend-and-prefer {self.verb}` again")


def _pointer(keys: tuple[Key, ...]) -> str:
    # As it stands in a URI (RFC 6901, section 6): names in it are text of unknown origin.
    return "".join(
        "/" + quote(str(key).replace("~", "~0").replace("/", "~1"), safe="", errors="replace") for key in keys
    )


def load_artefact(run: Run, path: Path, verb: str) -> Artefact | None:
    """A JSON file of the run; None when it is not there, DataError when it is damaged."""
    if not path.exists():
        return None
    name = relative(run, path)
    try:
        return Artefact(name, json.loads(path.read_text(encoding="utf-8")), verb)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}: not JSON ({error}); run `attend-and-prefer {verb}` again") from error


def manifest_of(run: Run) -> Artefact:
    """The run's manifest, empty before the first stage."""
    return Artefact("manifest.json", run.manifest(), "run")


def relative(run: Run, path: Path) -> str:
    """A file or folder of the run as the page names it."""
    return path.relative_to(run.root).as_posix()
