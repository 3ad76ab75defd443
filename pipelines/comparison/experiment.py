"""A comparison as YAML: one experiment, the seeds it is repeated with, and what each method changes in `training`.

Reads a file and `section.key=value` overrides; returns a `Comparison`, from which each method's config is made.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipelines.config import Config, build_section, config_from_dict, merged, read_tree, require
from pipelines.errors import ConfigError

_FOLDER_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Methods side by side. The first one's run with the first seed is the comparison's own, and has the page."""

    seeds: tuple[int, ...] = (0, 1)
    methods: dict[str, dict[str, Any]]
    """Name → keys of the `training` section that are different; {} for the experiment as it is."""
    experiment: dict[str, Any]
    """An experiment as in any other config, without `seed`, of one round."""

    def __post_init__(self) -> None:
        require(len(self.seeds) >= 1, "seeds", "at least one", list(self.seeds), "name some")
        require(len(set(self.seeds)) == len(self.seeds), "seeds", "different", list(self.seeds), "name each once")
        require(len(self.methods) >= 2, "methods", "at least two", list(self.methods), "name what to compare")
        for name in self.methods:
            require(bool(_FOLDER_NAME.fullmatch(name)), "methods", "of names of a-z, 0-9, _ and -", name, "rename it")
        require("seed" not in self.experiment, "experiment.seed", "left out", self.experiment.get("seed"), "see seeds")
        rounds = self.experiment.get("rounds", 1)
        require(rounds == 1, "experiment.rounds", "1", rounds, "later rounds do not begin with the same samples")
        for name in self.methods:
            self.config(name, self.seeds[0])

    def config(self, method: str, seed: int) -> Config:
        """The experiment as one method has it, with one seed; ConfigError names the method."""
        try:
            return config_from_dict({**merged(self.experiment, {"training": self.methods[method]}), "seed": seed})
        except ConfigError as error:
            raise ConfigError(f"method {method!r}: {error}") from error


def load_comparison(path: Path, overrides: Sequence[str] = ()) -> Comparison:
    """The comparison that a YAML file and overrides describe; ConfigError on any mistake, of any method."""
    tree = read_tree(path, overrides)
    for section in ("methods", "experiment"):
        if section not in tree:
            raise ConfigError(f"{path}: no {section!r}; see configs/compare-methods.yaml")
    return build_section(Comparison, {**tree, "methods": _filled(tree["methods"])}, "")


def _filled(methods: Any) -> Any:
    """A method of which nothing is said changes nothing."""
    return {name: changes or {} for name, changes in methods.items()} if isinstance(methods, dict) else methods
