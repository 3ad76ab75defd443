"""Which labeler somebody asked for: from a kind and its settings to a labeler, loading a model only for a judge."""

from __future__ import annotations

import dataclasses
import getpass
import sys
from collections.abc import Sequence
from typing import Literal

from pipelines.config import Config
from pipelines.errors import ConfigError
from pipelines.preferences.labelers.comparisons import Comparison
from pipelines.preferences.labelers.human import HumanLabeler
from pipelines.preferences.labelers.labeling import labelled_before, name_after
from pipelines.preferences.labelers.labels import Labeler
from pipelines.preferences.labelers.terminal import Terminal
from pipelines.preferences.labelers.validator import ValidatorLabeler
from pipelines.run.folder import Run


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Choosing:
    """What a call of the script asks for."""

    labeler: Literal["human", "validator", "judge"] = "human"
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
    margin: float = 0.05
    floor: float = 0.1

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ConfigError(f"--count must be at least 1, got {self.count}; 100 is usual")


def build_labeler(chosen: Choosing, config: Config, run: Run, comparisons: Sequence[Comparison]) -> Labeler:
    """The labeler asked for; `comparisons` are those it will be given, so that a person can undo what was labelled."""
    if chosen.labeler == "validator":
        return ValidatorLabeler(assert_formats=config.tasks.assert_formats, name=chosen.name or "validator")
    if chosen.labeler == "human":
        person = chosen.person or _login_name()
        name = chosen.name or name_after("human", person)
        earlier = labelled_before(run, name, comparisons)
        return HumanLabeler(person, Terminal(sys.stdin, sys.stdout), config.seed, name=name, earlier=earlier)
    from pipelines.preferences.labelers.judge import Thresholds, load_judge  # noqa: PLC0415 - torch, for judges only

    name = chosen.name or name_after("judge", chosen.model)
    thresholds = Thresholds(margin=chosen.margin, floor=chosen.floor)
    if chosen.server:
        from pipelines.preferences.labelers.server import ServerJudge  # noqa: PLC0415 - torch, for judges only

        return ServerJudge(chosen.server, chosen.model, name=name, thresholds=thresholds)
    return load_judge(config.model, run.adapter, chosen.model, name=name, thresholds=thresholds)


def _login_name() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ConfigError("this account has no login name; say who labels with --person") from None
