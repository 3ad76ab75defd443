"""Configs and data that come with the project: links in a clone, files of the package where it was installed."""

from __future__ import annotations

from pathlib import Path

_SHIPPED = Path(__file__).resolve().parent.parent / "shipped"


def shipped(path: str | Path) -> Path:
    """`path` as it stands if something is there; otherwise where the project's own file or folder of that name is.

    A path that is nowhere comes back as it was given, for whoever reads it to complain of.
    """
    given, own = Path(path), _SHIPPED / path
    return own if not given.exists() and own.exists() else given
