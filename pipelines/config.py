"""YAML experiment files as frozen dataclasses: one section per stage, every key known, every value checked.

Reads a YAML file and `section.key=value` overrides; returns a `Config`. A key nobody knows is an error that names the
nearest one. What the sections are is in `sections`.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipelines.errors import ConfigError, nearest
from pipelines.sections import (
    AttentionConfig,
    EvaluationConfig,
    ModelConfig,
    PreferencesConfig,
    RewardsConfig,
    SamplingConfig,
    TasksConfig,
    TrainingConfig,
    require,
)
from pipelines.yaml_files import parse_yaml, read_yaml


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One experiment."""

    seed: int = 0
    rounds: int = 1
    """Times that sampling, judging, pairing and training are repeated, each from the adapter of the one before."""
    later_rounds: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Keys of `sampling`, `preferences` and `training` that are different from the second round on."""
    model: ModelConfig = dataclasses.field(default_factory=ModelConfig)
    attention: AttentionConfig = dataclasses.field(default_factory=AttentionConfig)
    tasks: TasksConfig = dataclasses.field(default_factory=TasksConfig)
    sampling: SamplingConfig = dataclasses.field(default_factory=SamplingConfig)
    rewards: RewardsConfig = dataclasses.field(default_factory=RewardsConfig)
    preferences: PreferencesConfig = dataclasses.field(default_factory=PreferencesConfig)
    training: TrainingConfig = dataclasses.field(default_factory=TrainingConfig)
    evaluation: EvaluationConfig = dataclasses.field(default_factory=EvaluationConfig)

    def __post_init__(self) -> None:
        require(0 <= self.seed < 2**32, "seed", "in [0, 4294967296)", self.seed, "choose another")
        require(self.rounds >= 1, "rounds", "at least 1", self.rounds, "raise it")
        if self.later_rounds or self.rounds > 1:
            later = self.in_round(max(2, self.rounds))
            server = later.sampling.server
            require(server is None, "sampling.server", "null in later rounds", server, "it lacks the trained weights")

    def in_round(self, number: int) -> Config:
        """The config of one round, from 1: `later_rounds` put over the sections from the second on."""
        require(1 <= number <= max(2, self.rounds), "--round", f"1 to {self.rounds}", number, "name one of them")
        if number == 1:
            return self
        for section in self.later_rounds:
            known = ("sampling", "preferences", "training")
            require(section in known, "later_rounds", f"of the sections {', '.join(known)}", section, "move it there")
        tree = merged(config_to_dict(self), self.later_rounds)
        return config_from_dict({**tree, "rounds": 1, "later_rounds": {}})


def merged(tree: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A tree with changes put over it, key by key where both have mappings."""
    result = dict(tree)
    for key, value in changes.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(value, dict) and isinstance(old, dict) else value
    return result


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The experiment that a YAML file and `section.key=value` overrides describe; ConfigError on any mistake."""
    return config_from_dict(read_tree(path, overrides))


def read_tree(path: Path, overrides: Sequence[str] = ()) -> dict[str, Any]:
    """A YAML file's mapping with `section.key=value` overrides put over it, not yet checked."""
    tree = read_yaml(path)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must be a mapping of sections, got {type(tree).__name__}; see configs/default.yaml")
    for override in overrides:
        _override(tree, override)
    return tree


def _override(tree: dict[str, Any], override: str) -> None:
    dotted, equals, text = override.partition("=")
    if not equals or not dotted:
        raise ConfigError(f"--set must be section.key=value, got {override!r}; e.g. --set sampling.samples_per_task=4")
    *sections, key = dotted.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise ConfigError(f"--set {override}: {section} is a value, not a section; name a key of a section")
    tree[key] = parse_yaml(text, f"--set {dotted}")


def config_from_dict(tree: dict[str, Any]) -> Config:
    """A Config from plain values, as YAML gives them."""
    return build_section(Config, tree, "")


def config_to_dict(config: Config) -> dict[str, Any]:
    """Plain values that `config_from_dict` turns back into an equal Config."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return [plain(item) for item in value] if isinstance(value, tuple | list) else value

    result = plain(dataclasses.asdict(config))
    assert isinstance(result, dict)
    return result


Section = TypeVar("Section")


def build_section(kind: type[Section], tree: Any, where: str) -> Section:
    """A dataclass from a mapping, each value checked against the field's annotation; `where` is its dotted name."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{where or 'the config'} must be a mapping, got {tree!r}; write `key: value` lines under it")
    hints = typing.get_type_hints(kind)
    unknown = [key for key in tree if key not in hints]
    if unknown:
        raise ConfigError(
            f"unknown key {str(unknown[0])!r} in {f'section {where!r}' if where else 'the config'}; "
            f"did you mean {nearest(str(unknown[0]), hints)!r}? (known: {', '.join(hints)})"
        )
    values = {key: _coerce(hints[key], value, f"{where}.{key}" if where else key) for key, value in tree.items()}
    return kind(**values)


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation wants it; ints serve as floats, lists as tuples, and nothing else changes type."""
    if dataclasses.is_dataclass(hint):
        return build_section(typing.cast(type[Any], hint), {} if value is None else value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _coerce(next(option for option in arguments if option is not type(None)), value, where)
    if origin is Literal:
        require(value in arguments, where, f"one of {', '.join(map(str, arguments))}", value, "pick one")
        return value
    if origin is tuple:
        require(isinstance(value, list | tuple), where, "a list", value, "write [a, b]")
        return tuple(_coerce(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        require(isinstance(value, dict), where, "a mapping", value, "write `key: value` lines under it")
        return {key: _coerce(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        return float(value)
    require(type(value) is hint, where, f"of type {hint.__name__}", value, "change the value's type")
    return value
