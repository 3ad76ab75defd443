"""Any model and any text, and an adapter beside it, without a run.

Takes what the command line asks for, checked before anything is loaded; leaves the files of a study, all written after
the last model has run, and a summary for the terminal.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from pipelines.attention.capture import CausalLM
from pipelines.attention.findings import compare_scale, find, find_change
from pipelines.attention.maps import AttentionMaps
from pipelines.attention.probe import Selection, probe
from pipelines.attention.scores import Telling, telling_head
from pipelines.attention.study import EXTRAS_UP_TO, Phase, Study, Subject, sequences_of, study
from pipelines.attention.study_files import require_own, table, write_studies
from pipelines.errors import ConfigError
from pipelines.models import adapter_identity, attach_adapter, load_model, model_identity
from pipelines.readable import readable
from pipelines.sections import ModelConfig

Policy = tuple[CausalLM, PreTrainedTokenizerBase]
FEWEST_SEEDS = 4
"""Heads are picked on one half of the seeds and reported on the other, and an interval needs two."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Inquiry:
    """What is asked of the command line; ConfigError for what cannot be answered."""

    subject: Subject
    model: str = "bundled"
    adapter: Path | None = None
    other_adapter: Path | None = None
    """Another run's, e.g. of another seed: the scale of the change."""
    seeds: int | None = None
    """Sequences of each kind for the ensembles; None for no ensembles."""
    out: Path

    def __post_init__(self) -> None:
        if not self.subject.text.strip():
            raise ConfigError("--text must hold at least one symbol, got none; e.g. --text '1 a 2 b 3'")
        if self.seeds is not None and self.seeds < FEWEST_SEEDS:
            raise ConfigError(f"--seeds must be {FEWEST_SEEDS} or more, got {self.seeds}; leave it out for none")
        if self.other_adapter is not None and self.adapter is None:
            raise ConfigError("--other-adapter is the scale of another one's change; name that one with --adapter")
        for option, folder in (("--adapter", self.adapter), ("--other-adapter", self.other_adapter)):
            if folder is not None and not folder.is_dir():
                raise ConfigError(f"{option} must be a folder of trained weights, got {str(folder)!r}; check the path")


def probe_text(inquiry: Inquiry) -> str:
    """Probe, write everything, and tell what came out. An error leaves the folder as it was."""
    phases: list[Phase] = ["before"] if inquiry.adapter is None else ["before", "after"]
    require_own(inquiry.out, phases)
    config = ModelConfig(name=inquiry.model, dtype="float32")
    info = {"model": model_identity(config)}
    policy = load_model(config)
    before = study(*policy, inquiry.subject, info=info)
    shown = telling_head(before.maps)
    studies: list[Study] = [before]
    findings: dict[Phase, dict[str, Any]] = {}
    if inquiry.seeds is not None:
        findings["before"] = find(*policy, before.maps, (shown.layer, shown.head), inquiry.seeds)
    if inquiry.adapter is not None:
        policy = attach_adapter(config, inquiry.adapter)
        info = {**info, "adapter": adapter_identity(inquiry.adapter)}
        after = study(*policy, inquiry.subject, phase="after", info=info)
        studies.append(after)
        findings["after"] = {"change": find_change(*policy, before.maps, after.maps)}
        if inquiry.other_adapter is not None:
            other = _other(config, inquiry.other_adapter, inquiry.subject)
            findings["after"]["scale"] = compare_scale(before.maps, after.maps, other)
    page = write_studies(inquiry.out, studies, findings)
    return _summary(inquiry, before, shown, findings, page)


def _other(config: ModelConfig, folder: Path, subject: Subject) -> AttentionMaps:
    model, tokenizer = attach_adapter(config, folder)
    sequence = next(iter(sequences_of(tokenizer, subject).values()))
    return probe(model, tokenizer, sequence, Selection(layers=subject.layers, heads=subject.heads))


def _summary(inquiry: Inquiry, before: Study, shown: Telling, findings: dict[Phase, dict[str, Any]], page: Path) -> str:
    maps, running = before.maps, before.maps.info["text_tokens"]
    running_shown = " · ".join(readable(token) for token in running[:12]) + (" …" if len(running) > 12 else "")
    count = f"{len(running)} {'token' if len(running) == 1 else 'tokens'}"
    as_text = (
        f"{count}, as the tokenizer splits the text" if maps.info["split"] == "text" else f"As running text: {count}"
    )
    lines = [
        f"layer {shown.layer}, head {shown.head} of {len(maps.layers)} × {len(maps.heads)}: {shown.rule}",
        "",
        table(maps, shown.layer, shown.head),
        "",
        "0: exactly 0, hidden by the mask, in every head.",
        f"{as_text} ({running_shown}).",
    ]
    if len(before.splits) > sum(one.masked for one in before.passes.values()):
        lines.append(f"More than {EXTRAS_UP_TO} tokens: one split, with the mask; --tokens text shows the other split.")
    lines += _evidence_lines(findings, shown)
    lines.append(f"→ {page}")
    return "\n".join(lines)


def _evidence_lines(findings: dict[Phase, dict[str, Any]], shown: Telling) -> list[str]:
    """What the findings say, a line each, and where they are."""
    lines = []
    if "before" in findings:
        found = findings["before"]
        one, place = found["ensembles"]["shuffled_classes"]["same_class_sink_free"], found["layers"].index(shown.layer)
        mean, margin, uniform = (one[part][place][shown.head] for part in ("mean", "margin", "uniform"))
        told = "n/a" if mean is None else f"{mean:.2f} ± {margin:.2f} (uniform {uniform:.2f})"
        nats = found["ablations"]["shown_head"]["mean_nats"]
        ablated = "n/a" if nats is None else f"{nats:+.3f} nats a token"
        lines.append(
            f"Evidence over {found['seeds']} seeded sequences: same class, sink-free {told}; "
            f"log-probability of this text without the head {ablated} → before_findings.json"
        )
    if "after" in findings:
        change, scale = findings["after"]["change"], findings["after"].get("scale")
        told = f"median {_bits(change['median_jsd_bits'])}, the same model twice "
        told += _bits(change["same_model_twice_jsd_bits"])
        if scale:
            told += f", between the two adapters {_bits(scale['between_runs_median_jsd_bits'])}"
        lines.append(f"Change of attention (Jensen–Shannon): {told} → after_findings.json")
    return lines


def _bits(value: float | None) -> str:
    return "n/a" if value is None else f"{value:.2g} bits"
