"""Who says which of two completions is better: the verifier, a judging model, a person. One interface for all three.

    build_labeler(options, ...)     the labeler that `attend-and-prefer label` asks for
    Labeler.decide(comparisons)     a Decision per comparison, as it is made
    labels.label_missing            writes decisions to `labels/<name>.jsonl`, and only those that are missing

Importing this package loads no model library; building a judge does.
"""

from __future__ import annotations

import dataclasses
import getpass
import sys
from collections.abc import Sequence
from typing import Literal

from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.preferences.labelers.human import HumanLabeler
from pipelines.preferences.labelers.labels import Comparison, Labeler, labelled_before, name_after
from pipelines.preferences.labelers.terminal import Terminal
from pipelines.preferences.labelers.verifier import VerifierLabeler
from pipelines.run.folder import Run


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class LabelerOptions:
    """The options of `attend-and-prefer label`."""

    labeler: Literal["human", "verifier", "judge"] = "human"
    count: int = 100
    """How many comparisons, from the first on."""
    name: str | None = None
    """Name of the label file; None for the labeler's, with the person or the model."""
    person: str | None = None
    """Who labels; None for the login name."""
    model: str = "policy"
    """`policy`, `trained`, a folder or a Hub id; with a server, whatever it calls the model."""
    server: str | None = None
    """Base address of an OpenAI-compatible API; None to load the model here."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--count must be at least 1, got {self.count}; 100 is usual")


def build_labeler(options: LabelerOptions, config: Config, run: Run, comparisons: Sequence[Comparison]) -> Labeler:
    """The labeler asked for; `comparisons` are those it will be given, so that a person can undo what was labelled."""
    if options.labeler == "verifier":
        return VerifierLabeler(assert_formats=config.tasks.assert_formats, name=options.name or "verifier")
    if options.labeler == "human":
        person = options.person or _login_name()
        name = options.name or name_after("human", person)
        earlier = labelled_before(run, name, comparisons)
        return HumanLabeler(person, Terminal(sys.stdin, sys.stdout), config.seed, name=name, earlier=earlier)
    from pipelines.preferences.labelers.judge import load_judge, reach_judge  # noqa: PLC0415 - torch, for judges only

    name = options.name or name_after("judge", options.model)
    if options.server:
        return reach_judge(options.server, options.model, name=name)
    return load_judge(config.model, run.last.adapter, options.model, name=name)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigError("this account has no login name; say who labels with --person") from None
