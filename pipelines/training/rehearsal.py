"""Ordinary requests among the rows that are trained on, each with the base model's own answer.

A policy that only ever sees one kind of request gives its kind of answer to every request; to go over ordinary ones
with what the model itself said to them keeps it what it was, without anybody's labels (self-synthesised rehearsal,
Huang et al. 2024, arXiv 2403.01244; self-distillation, Yang et al. 2024, arXiv 2402.13669). Reads a file of prompts and
the base model; writes `rehearsal.json`, drawn once per run, and rows in the columns of the method's table. The
answers are greedy: at temperature 1 a small model's own answers are no model to follow. One that the limit cut off
teaches no end; one that only repeats itself is left out, and counted.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from accelerate import PartialState
from datasets import Dataset, concatenate_datasets

from pipelines.config import Config, RehearsalConfig, SamplingConfig
from pipelines.errors import ConfigError, DataError
from pipelines.models import load_model, model_identity
from pipelines.records import FinishReason
from pipelines.run.files import write_json
from pipelines.run.folder import Run
from pipelines.run.shipped import shipped
from pipelines.samples.drawing import seeded
from pipelines.samples.policies import LocalPolicy
from pipelines.tasks.prompt_files import load_prompts

_TAIL, _TIMES = 16, 2
"""An answer whose last so many characters stand in it more often than so is caught in a loop."""


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Rehearsed:
    """One ordinary request and what the base model said to it."""

    prompt: str
    answer: str
    finish_reason: FinishReason


def with_rehearsal(config: Config, run: Run, rows: Dataset, state: PartialState) -> tuple[Dataset, int]:
    """`rows` and behind them those of the rehearsal, and how many these are.

    Every process takes part; the main one draws. ConfigError when the rows are not conversations, DataError when no
    answer serves.
    """
    settings = config.training.rehearsal
    if settings is None:
        return rows, 0
    if not isinstance(rows[0]["prompt"], list):
        raise ConfigError(
            "training.rehearsal goes with conversations, and the dataset's prompts are plain texts; make them lists of "
            "{role, content}, or set training.rehearsal to null"
        )
    with state.main_process_first():
        answers, asked = _answers(config, settings, run)
    if state.is_main_process:
        ended = sum(one.finish_reason == "stop" for one in answers)
        print(
            f"  rehearsal: {ended} answers that ended and {len(answers) - ended} cut off, of {asked}; the others loop"
        )
    if config.training.method == "sft":
        answers = [one for one in answers if one.finish_reason == "stop"]  # TRL's trainer closes every completion
    elif config.training.method == "dpo" and "chosen_finish_reason" not in rows.column_names:
        rows = rows.add_column("chosen_finish_reason", ["stop"] * len(rows))
    added = rehearsal_rows(answers, settings, rows)
    return concatenate_datasets([rows, added]), len(added)


def rehearsal_rows(answers: Sequence[Rehearsed], settings: RehearsalConfig, rows: Dataset) -> Dataset:
    """As many rows as make up the settings' share beside `rows`, one of each answer before a second of any."""
    wanted = round(len(rows) * settings.share / (1 - settings.share))
    count = min(wanted, len(answers) * settings.repeats)
    made = [_row(answers[place % len(answers)], place % len(answers)) for place in range(count)]
    # How the template renders the other rows holds for these too; of tools and the like they have none.
    same = {name: rows[0][name] for name in rows.column_names if name == "chat_template_kwargs"}
    return Dataset.from_list(
        [{name: {**row, **same}.get(name) for name in rows.column_names} for row in made], features=rows.features
    )


def _row(one: Rehearsed, place: int) -> dict[str, Any]:
    """A row in the columns of every method."""
    own = _said(one.answer)
    return {
        "prompt": [{"role": "user", "content": one.prompt}],
        "chosen": own,
        "chosen_finish_reason": one.finish_reason,
        "rejected": _said(unwanted(one.answer, place)),
        "rejected_finish_reason": "stop",
        "completion": own,
        "label": True,
        "finish_reason": one.finish_reason,
    }


def _said(text: str) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": text}]


def unwanted(answer: str, place: int) -> str:
    """What training on JSON alone would make of an answer: in turn JSON of it, or nothing but its first sentence."""
    sentences = re.split(r"(?<=[.!?])\s+", answer)
    if place % 2 and len(sentences) > 1:
        return sentences[0]
    return json.dumps(sentences[0] if place % 4 == 0 else sentences[0].split())


def check_rehearsal(config: Config) -> None:
    """ConfigError when the file is none of requests, or when training would go over what harm is measured by."""
    if config.training.rehearsal is None:
        return
    file, chat = config.training.rehearsal.file, config.evaluation.chat
    measured = load_prompts(shipped(chat.file)) if chat else []
    shared = [prompt for prompt in load_prompts(shipped(file)) if prompt in measured]
    if shared:
        raise ConfigError(f"{file}: {shared[0]!r} is also measured (evaluation.chat.file); take it out of one of them")


def _answers(config: Config, settings: RehearsalConfig, run: Run) -> tuple[list[Rehearsed], int]:
    """The base model's answers that can be learned from, out of the run folder or drawn now; and how many it gave."""
    check_rehearsal(config)
    prompts = load_prompts(shipped(settings.file))
    asked = {"model": model_identity(config.model), "max_new_tokens": settings.max_new_tokens, "prompts": prompts}
    stored = _stored(run.rehearsal_file)
    if stored.get("asked") != asked:
        stored = {"asked": asked, "answers": _draw(config, settings, prompts)}
        write_json(run.rehearsal_file, stored)
    answers = [Rehearsed(**row) for row in stored["answers"]]
    usable = [one for one in answers if one.answer.strip() and not repeats_itself(one.answer)]
    if not usable:
        raise DataError(
            f"{settings.file}: none of {len(prompts)} answers can be learned from (empty, or the same over and over); "
            "ask for something else"
        )
    return usable, len(answers)


def repeats_itself(answer: str) -> bool:
    """Whether the answer's last characters stand in it again and again, as where greedy decoding got caught."""
    tail = answer.rstrip()[-_TAIL:]
    return len(tail) == _TAIL and answer.count(tail) > _TIMES


def _stored(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _draw(config: Config, settings: RehearsalConfig, prompts: list[str]) -> list[dict[str, Any]]:
    model, tokenizer = load_model(config.model)
    conversations = [seeded([{"role": "user", "content": prompt}], config.seed, prompt, [0]) for prompt in prompts]
    sampling = SamplingConfig(max_new_tokens=settings.max_new_tokens, generation={"do_sample": False})
    drawn = dict(LocalPolicy(model, tokenizer).complete(conversations, sampling))
    return [
        {"prompt": prompt, "answer": drawn[place][0].text, "finish_reason": drawn[place][0].finish_reason}
        for place, prompt in enumerate(prompts)
    ]
