"""The dataset's card, filled from the data: what it is, how it was made, what was left out and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from pipelines.config import SamplingConfig, TrainingConfig
from pipelines.preferences.pairing import pass_rate_histogram, pass_rates
from pipelines.preferences.tables import Preferences
from pipelines.records import TIERS, Pair, Sample, Task

CONFIGS = ("pairs", "samples", "kto")
GENERATED_BEGIN = "<!-- generated: what stands between these lines is replaced when the dataset is pushed again -->"
GENERATED_END = "<!-- end of the generated part -->"
_EXAMPLE_CHARACTERS = 200
_LICENCES = {
    "apache-2.0": "Apache-2.0, as the bundled policy's (SmolLM2-135M-Instruct).",
    "other": "The completions are under the policy's own terms; name them here before you publish.",
}


def render_card(preferences: Preferences, counts: dict[str, dict[str, int]]) -> str:
    """The card as Markdown with YAML front matter that the Hub understands.

    `counts` holds the rows of each table and split.
    """
    config, tasks, drawn, pairs = preferences.config, preferences.sampled, preferences.samples, preferences.pairs
    samples = sum(len(own) for own in drawn.values())
    tokens = {(one.task_id, one.index): one.completion_tokens for own in drawn.values() for one in own}
    chosen = [tokens[pair.task_id, pair.chosen_index] for pair in pairs]
    rejected = [tokens[pair.task_id, pair.rejected_index] for pair in pairs]
    sections = [
        f"# JSON preference pairs decided by a verifier\n\n{len(pairs)} preference pairs from {samples} completions "
        f"of {len(tasks)} requests for JSON. A strict JSON parser, JSON Schema and, where it is known, the one right "
        "value decided which completion is better; no person and no model did.",
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
        "## Completions by verdict\n\n" + _table(("tier", "passed, of those that define it"), _tiers(preferences)),
        "## What became of every completion\n\n"
        + _table(("outcome", "completions"), [*preferences.outcomes.most_common(), ("**all**", samples)]),
        "## Requests by share of passing completions\n\n"
        + _table(("share passing", "requests"), pass_rate_histogram(pass_rates(tasks, drawn)).items()),
        "## Length of the pairs' sides\n\n"
        + _table(("side", "tokens"), [("chosen", _lengths(chosen)), ("rejected", _lengths(rejected))]),
        "## An example\n\n" + _example(pairs[0], tasks, drawn),
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


def _tiers(preferences: Preferences) -> list[tuple[str, str]]:
    verdicts = [sample.verdict for own in preferences.samples.values() for sample in own]
    defined = {
        tier: [passed for verdict in verdicts if (passed := getattr(verdict, tier)) is not None] for tier in TIERS
    }
    return [(tier.replace("_", " "), f"{sum(passed)} of {len(passed)}") for tier, passed in defined.items() if passed]


def _table(head: tuple[str, str], rows: Any) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {_cell(left)} | {_cell(right)} |" for left, right in rows)])


def _cell(value: object) -> str:
    return str(value).replace("|", "\\|").replace("\n", " ")


def _lengths(tokens: Sequence[int]) -> str:
    ordered = sorted(tokens)
    return f"median {ordered[len(ordered) // 2]}, from {ordered[0]} to {ordered[-1]}"


def _example(pair: Pair, tasks: Sequence[Task], drawn: Mapping[str, Sequence[Sample]]) -> str:
    """One pair as it is, indented so that nothing in it is read as Markdown or HTML."""
    task = next(task for task in tasks if task.id == pair.task_id)
    own = {sample.index: sample for sample in drawn[pair.task_id]}
    reason = own[pair.rejected_index].verdict.reason
    texts = {
        "request": task.request,
        "chosen": own[pair.chosen_index].completion,
        "rejected": own[pair.rejected_index].completion,
        "why": reason or "",
    }
    return "\n".join(
        f"    {name + ':':10}{ascii(text[:_EXAMPLE_CHARACTERS])[1:-1].replace('<!--', '<! --')}"
        for name, text in texts.items()
    )
