"""Configs and data that come with the project: beside the package in a clone, inside it where it was installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent.parent


def shipped(path: str | Path) -> Path:
    """`path` as it stands if something is there; otherwise where the project's own file or folder of that name is.

    A path that is nowhere comes back as it was given, for whoever reads it to complain of.
    """
    given = Path(path)
    if given.is_absolute() or given.exists():
        return given
    for root in (_PACKAGE.parent, _PACKAGE / "shipped"):
        if (root / given).exists():
            return root / given
    return given
