"""The trained model's card, filled from the run: what it was made of, how, what changed, and what to beware of."""

from __future__ import annotations

from typing import Any

import yaml

from pipelines.config import Config
from pipelines.models import CARRIED
from pipelines.preferences.card import GENERATED_BEGIN, GENERATED_END
from pipelines.rewards.rates import MEASURED


def render_model_card(config: Config, manifest: dict[str, Any], metrics: dict[str, Any] | None, *, merged: bool) -> str:
    """Markdown with front matter that the Hub understands; sections without data say so."""
    carried = CARRIED.get(config.model.name)
    base = config.model.name if carried is None else carried.hub_id
    train = manifest.get("stages", {}).get(f"train_{config.rounds}", {})
    sections = [
        "# A small model that writes the JSON it is asked for\n\n"
        f"`{base}`, trained with direct preference optimisation on pairs of its own samples. A JSON verifier decided "
        "which sample of each pair is better; no person and no other model did.",
        "## Use\n\n```python\n" + _usage(base, merged=merged) + "\n```",
        "## What changed, on tasks it was never trained on\n\n" + _rates(metrics),
        "## What it does when nobody asks for JSON\n\n" + _chat(metrics),
        "## Training\n\n" + _table(("setting", "value"), _settings(config, train)),
        "## Beware\n\n" + _warnings(train),
        "## Versions\n\n" + ", ".join(f"{name} {value}" for name, value in manifest.get("versions", {}).items()) + ".",
    ]
    front = {
        **({} if carried is None else {"license": carried.licence}),
        "base_model": base,
        "library_name": "transformers" if merged else "peft",
        "pipeline_tag": "text-generation",
        "tags": ["trl", "dpo", "json", *([] if config.training.lora is None else ["lora"])],
    }
    body = "\n\n".join([GENERATED_BEGIN, *sections, GENERATED_END])
    return f"---\n{yaml.safe_dump(front, sort_keys=False)}---\n\n{body}\n"


def _usage(base: str, *, merged: bool) -> str:
    if merged:
        return (
            "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
            'model = AutoModelForCausalLM.from_pretrained("path/or/repo")\n'
            'tokenizer = AutoTokenizer.from_pretrained("path/or/repo")'
        )
    return (
        "from peft import PeftModel\nfrom transformers import AutoModelForCausalLM\n\n"
        f'base = AutoModelForCausalLM.from_pretrained("{base}")\n'
        'model = PeftModel.from_pretrained(base, "path/or/repo")'
    )


def _rates(metrics: dict[str, Any] | None) -> str:
    if not metrics or not {"before", "after"} <= metrics.keys():
        return "Not measured."
    trained = set(metrics["trained_families"])
    rows = []
    for source, families in metrics["before"].items():
        for family, before in families.items():
            after = metrics["after"].get(source, {}).get(family)
            if after:
                note = "" if family == "overall" or family in trained else " (never trained on)"
                cells = [f"{_rate(before[name])} → {_rate(after[name])}" for name in ("parses", "exact_match")]
                rows.append((f"{family}{note}, {MEASURED.get(source, source)}", " | ".join(cells)))
    head = "| tasks | parses, before → after | exact match, before → after |\n|---|---|---|"
    lines = [f"| {name} | {cells} |" for name, cells in rows]
    return "\n".join([head, *lines]) + f"\n\nIn brackets: {metrics['interval']} intervals. Seed {metrics['seed']}."


def _rate(cell: dict[str, Any]) -> str:
    if cell["rate"] is None:
        return "not defined"
    return f"{cell['rate']:.0%} ({cell['low']:.0%} to {cell['high']:.0%} of {cell['total']})"


def _chat(metrics: dict[str, Any] | None) -> str:
    found = (metrics or {}).get("chat")
    if not found or not {"before", "after", "kl_nats_per_token"} <= found.keys():
        return "Not measured."
    shares = {phase: found[phase]["json_share"] for phase in ("before", "after")}
    return (
        f"Of {found['after']['answers']} answers to {found['after']['prompts']} ordinary requests, "
        f"{shares['before']['rate']:.0%} were JSON before training and {shares['after']['rate']:.0%} after "
        f"({shares['after']['low']:.0%} to {shares['after']['high']:.0%}). KL from the base model on its own "
        f"answers: {found['kl_nats_per_token']:.3f} nats a token."
    )


def _settings(config: Config, train: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        ("pairs", train.get("pairs", "not known")),
        ("pairs of earlier rounds among them", train.get("replayed_pairs", 0)),
        ("optimiser steps", train.get("steps", "not known")),
        ("rounds of sampling and training", config.rounds),
        ("trainable parameters", train.get("trainable_parameters", "not known")),
        ("`trl.DPOConfig`", f"`{config.training.dpo}`"),
        ("`peft.LoraConfig`", f"`{config.training.lora}`"),
        ("seed", config.seed),
    ]


def _warnings(train: dict[str, Any]) -> str:
    alerts = [f"- {alert}" for alert in train.get("alerts", [])]
    general = "- Small, English, trained on short procedural requests: check its answers with a verifier of your own."
    return "\n".join([general, *alerts])


def _table(head: tuple[str, str], rows: list[tuple[str, Any]]) -> str:
    lines = [f"| {head[0]} | {head[1]} |", "|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in rows)])
