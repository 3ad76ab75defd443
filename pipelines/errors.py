"""The errors a user can cause, and the one base class that catches them all.

PipelineError            the user's mistake: printed as one line, exit code 2
├── ConfigError          a config file, key or value
├── DataError            a task file, a dataset or an artefact of a run
├── ModelError           a model that is missing, unsafe or of the wrong kind
└── RunError             a run folder that is unwritable, foreign or damaged

Anything else that escapes a script is our bug: traceback, exit code 1.
`pipelines.rewards.JSONRejected` is not here: it is a verdict about a document, not a mistake of the user.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class PipelineError(Exception):
    """A mistake the user can fix; the message says what, where and what to do, in one line."""


class ConfigError(PipelineError):
    """A config file, section, key or value that cannot be used."""


class DataError(PipelineError):
    """A task file, dataset or artefact whose content cannot be used; names the file and the line."""


class ModelError(PipelineError):
    """A model that is missing, unsafe to load, or unable to do what was asked."""


class RunError(PipelineError):
    """A run folder that cannot be written, was made by another config, or lacks a stage."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The known name that is most like an unknown one, for "did you mean …?"."""
    return difflib.get_close_matches(name, known, n=1, cutoff=0.0)[0]
