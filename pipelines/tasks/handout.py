"""The class handout: the sequence of question 1, the request and the two samples of question 2, the closing questions.

Reads a YAML file (`data/handout.yaml` unless the config names another); returns a `Handout`, so that another
teacher's sequence, request or samples need no code.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipelines.config import Config, read_yaml
from pipelines.errors import DataError
from pipelines.run.folder import Run
from pipelines.run.shipped import shipped


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Handout:
    """What the handout asks."""

    sequence: tuple[str, ...]
    """Symbols for the attention question, each one token."""
    prompt: str
    target: str
    """The right answer as JSON text."""
    samples: tuple[str, ...]
    """Two answers to the prompt, the better one first."""
    family: str
    """Task family whose examples suit the prompt."""
    closing_questions: tuple[str, ...]


def handout_path(config: Config, run: Run) -> Path:
    """The run's own copy of the handout once its tasks are built; before, the file that the config names."""
    return run.handout_file if run.handout_file.exists() else shipped(config.attention.handout)


def load_handout(path: Path) -> Handout:
    """The handout a YAML file holds; DataError names the file and the field that is wrong."""
    tree = read_yaml(path)
    fields = [field.name for field in dataclasses.fields(Handout)]
    if not isinstance(tree, dict) or set(tree) != set(fields):
        raise DataError(f"{path}: must hold exactly {', '.join(fields)}; see data/handout.yaml")
    for name in ("sequence", "samples", "closing_questions"):
        if not isinstance(tree[name], list) or not all(isinstance(item, str) and item for item in tree[name]):
            raise DataError(f"{path}: {name} must be a list of texts, got {tree[name]!r}; put each one in quotes")
    for name in ("prompt", "target", "family"):
        if not isinstance(tree[name], str) or not tree[name]:
            raise DataError(f"{path}: {name} must be a text, got {tree[name]!r}; put it in quotes")
    if len(tree["samples"]) != 2:
        raise DataError(f"{path}: samples must be two, got {len(tree['samples'])}; the better one first")
    try:
        json.loads(tree["target"])
    except ValueError as error:
        raise DataError(
            f"{path}: target must be JSON text, got {tree['target']!r} ({error}); e.g. '[1, 2, 3]'"
        ) from error
    values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in tree.items()}
    return Handout(**values)
