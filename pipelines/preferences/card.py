"""The dataset's card, filled from the data: what it is, how it was made, what was left out and why."""

from __future__ import annotations

import dataclasses
import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import yaml

from pipelines.config import SamplingConfig, TrainingConfig
from pipelines.preferences.pairing import only_schema_decides, pass_rate, pass_rate_histogram
from pipelines.preferences.tables import DatasetSplit, Preferences
from pipelines.records import TIERS, Pair, Sample, Task

CONFIGS = ("pairs", "samples", "kto")
GENERATED_BEGIN = "<!-- generated: what stands between these lines is replaced when the dataset is pushed again -->"
GENERATED_END = "<!-- end of the generated part -->"
_EXAMPLE_CHARACTERS = 200
_LEAST_OPEN_TASKS, _LARGEST_SHARE = 10, 0.2
"""Of so many tasks one answer must not serve more than this share."""
_LICENCES = {
    "apache-2.0": "Apache-2.0, as the bundled policy's (SmolLM2-135M-Instruct).",
    "other": "The completions are under the policy's own terms; name them here before you publish.",
}


@dataclasses.dataclass(slots=True)
class Statistics:
    """What the card tells of the data, counted a task at a time."""

    tasks: Counter[DatasetSplit] = dataclasses.field(default_factory=Counter)
    """How many were sampled, by split."""
    rates: list[float] = dataclasses.field(default_factory=list)
    """Of each task the share in [0, 1] of its samples that pass."""
    passed: dict[str, Counter[bool]] = dataclasses.field(default_factory=lambda: {tier: Counter() for tier in TIERS})
    """For each tier how many samples that define it pass or fail it."""
    tokens: dict[str, list[int]] = dataclasses.field(default_factory=lambda: {"chosen": [], "rejected": []})
    """Lengths of the pairs' sides."""
    pairs_per_family: Counter[str] = dataclasses.field(default_factory=Counter)
    pairs_per_source: Counter[str] = dataclasses.field(default_factory=Counter)
    """By where the chosen side comes from."""
    open_tasks: int = 0
    """Tasks with pairs of which only the schema says what is right."""
    preferred: Counter[bytes] = dataclasses.field(default_factory=Counter)
    """How many of these prefer an answer, by its digest."""
    example: dict[str, str] = dataclasses.field(default_factory=dict)
    """The beginnings of the first pair's texts."""

    def add(self, task: Task, split: DatasetSplit, samples: Sequence[Sample], pairs: Sequence[Pair]) -> None:
        """Count a task in, with its samples and its pairs."""
        self.tasks[split] += 1
        self.rates.append(pass_rate(samples))
        for sample in samples:
            for tier in TIERS:
                if (passed := getattr(sample.verdict, tier)) is not None:
                    self.passed[tier][passed] += 1
        own = {sample.index: sample for sample in samples}
        if pairs and only_schema_decides(task):
            self.open_tasks += 1
            preferred = {own[pair.chosen_index].completion for pair in pairs}
            self.preferred.update(hashlib.sha256(text.encode(errors="surrogatepass")).digest() for text in preferred)
        for pair in pairs:
            self.pairs_per_family[task.family] += 1
            self.pairs_per_source[own[pair.chosen_index].source] += 1
            sides = {"chosen": own[pair.chosen_index], "rejected": own[pair.rejected_index]}
            for name, side in sides.items():
                self.tokens[name].append(side.completion_tokens)
            if not self.example:
                texts = {"request": task.request, **{name: side.completion for name, side in sides.items()}}
                texts["why"] = sides["rejected"].verdict.reason or ""
                self.example = {name: text[:_EXAMPLE_CHARACTERS] for name, text in texts.items()}

    def warning(self) -> str | None:
        """What is to be known before training on this; None when nothing is."""
        most = max(self.preferred.values(), default=0)
        if self.open_tasks < _LEAST_OPEN_TASKS or most <= _LARGEST_SHARE * self.open_tasks:
            return None
        return (
            f"one answer is preferred for {most} of {self.open_tasks} tasks whose schema alone decides: the "
            "model will learn to give it whatever it is asked; narrow the schemas, or name right answers"
        )


def render_card(preferences: Preferences, statistics: Statistics, counts: dict[str, dict[str, int]]) -> str:
    """The card as Markdown with YAML front matter that the Hub understands.

    `counts` holds the rows of each table and split.
    """
    config, pairs = preferences.config, preferences.pairs
    samples = preferences.outcomes.total()
    sections = [
        f"# JSON preference pairs decided by a verifier\n\n{len(pairs)} preference pairs from {samples} completions "
        f"of {statistics.tasks.total()} requests for JSON. A strict JSON parser, JSON Schema and, where it is known, "
        "the one right value decided which completion is better; no person and no model did.",
        "## Use\n\n```python\nfrom datasets import load_dataset\n\n"
        'pairs = load_dataset("path/or/repo", "pairs", split="train")      # trl.DPOTrainer\n'
        'samples = load_dataset("path/or/repo", "samples", split="train")  # every completion with its verdict\n'
        'kto = load_dataset("path/or/repo", "kto", split="train")          # trl.KTOTrainer\n```',
        "## How it was made\n\n"
        + _table(
            ("setting", "value"),
            [
                ("command", "`make run` with this config, or `attend-and-prefer pair` on its samples"),
                ("policy", preferences.model.get("name")),
                ("weights (SHA-256)", preferences.model.get("sha256") or "not a local folder"),
                ("samples per request", config.sampling.samples_per_task),
                ("few-shot examples when sampling", _examples(config.sampling)),
                ("few-shot examples in the prompts of `pairs` and `kto`", _examples(config.training)),
                ("generation", config.sampling.generation or "the policy's own distribution"),
                ("longest completion (tokens)", config.sampling.max_new_tokens),
                ("seed", config.seed),
            ],
        ),
        "## Rows\n\n" + _table(("table, split", "rows"), _sizes(counts)),
        "## Completions by verdict\n\n" + _table(("tier", "passed, of those that define it"), _tiers(statistics)),
        "## What became of every completion\n\n"
        + _table(("outcome", "completions"), [*preferences.outcomes.most_common(), ("**all**", samples)]),
        "## Requests by share of passing completions\n\n"
        + _table(("share passing", "requests"), pass_rate_histogram(statistics.rates).items()),
        "## Length of the pairs' sides\n\n"
        + _table(("side", "tokens"), [(side, _lengths(tokens)) for side, tokens in statistics.tokens.items()]),
        "## An example\n\n" + _example(statistics.example),
        "## Licence\n\n" + _LICENCES[_licence(preferences)],
    ]
    return _front_matter(preferences, counts) + "\n\n".join([GENERATED_BEGIN, *sections, GENERATED_END]) + "\n"


def _examples(settings: SamplingConfig | TrainingConfig) -> str:
    """How many examples there are, and of how many requests."""
    share = settings.few_shot_share if settings.few_shot else 1.0
    return f"{settings.few_shot}" + (f", for {share:.0%} of the requests" if share < 1 else "")


def _front_matter(preferences: Preferences, counts: dict[str, dict[str, int]]) -> str:
    size = sum(counts["pairs"].values())
    category = "n<1K" if size < 1000 else "1K<n<10K" if size < 10_000 else "10K<n<100K"
    front = {
        "license": _licence(preferences),
        "language": ["en"],
        "pretty_name": "JSON preference pairs decided by a verifier",
        "task_categories": ["text-generation"],
        "tags": ["preference", "dpo", "kto", "json", "trl"],
        "size_categories": [category],
        "configs": [
            {
                "config_name": name,
                "data_files": [{"split": split, "path": f"{name}/{split}-*.parquet"} for split in counts[name]],
                **({"default": True} if name == "pairs" else {}),
            }
            for name in CONFIGS
        ],
    }
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n"


def _licence(preferences: Preferences) -> str:
    return "apache-2.0" if preferences.config.model.name == "bundled" else "other"


def _sizes(counts: dict[str, dict[str, int]]) -> list[tuple[str, int]]:
    return [(f"{table}, {split}", rows) for table, splits in counts.items() for split, rows in splits.items()]


def _tiers(statistics: Statistics) -> list[tuple[str, str]]:
    return [
        (tier.replace("_", " "), f"{counts[True]} of {counts.total()}")
        for tier, counts in statistics.passed.items()
        if counts
    ]


def _table(head: tuple[str, str], rows: Any) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(left)} | {_cell(right)} |" for left, right in rows)])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _lengths(tokens: Sequence[int]) -> str:
    ordered = sorted(tokens)
    return f"median {ordered[len(ordered) // 2]}, from {ordered[0]} to {ordered[-1]}"


def _example(texts: dict[str, str]) -> str:
    """One pair as it is, indented so that nothing in it is read as Markdown or HTML."""
    return "\n".join(f"    {name + ':':10}{ascii(text)[1:-1].replace('<!--', '<! --')}" for name, text in texts.items())
