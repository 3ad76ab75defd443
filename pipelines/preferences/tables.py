"""The rows of the three tables of a preference dataset, and their fixed features.

Reads tasks, samples, scores and pairs; returns rows for `samples`, `pairs` and `kto`, split by task, so that no key is
in both `train` and `validation`. Writes nothing.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from datasets import Features, List, Value

from pipelines.config import Config
from pipelines.records import TIERS, Message, Pair, Sample, Task
from pipelines.tasks import build_prompt, few_shot_examples

DatasetSplit = Literal["train", "validation"]
_MESSAGES = List({"role": Value("string"), "content": Value("string")})
_TASK = {
    "task_id": Value("string"),
    "family": Value("string"),
    "schema": Value("string"),
    "targets": List(Value("string")),
}
_FROM_SAMPLE = {
    "index": Value("int32"),
    "source": Value("string"),
    "completion": Value("string"),
    "finish_reason": Value("string"),
    "prompt_tokens": Value("int32"),
    "completion_tokens": Value("int32"),
    "token_ids": List(Value("int32")),
    "logprob_nats": Value("float64"),
    "seed": Value("int64"),
}
_FROM_VERDICT = {**{name: Value("bool") for name in TIERS}, "reason": Value("string"), "offset": Value("int64")}
SAMPLES = Features(
    {
        **_TASK,
        "prompt": _MESSAGES,
        **_FROM_SAMPLE,
        **_FROM_VERDICT,
        "notes": List(Value("string")),
        "score": Value("float64"),
        "model": Value("string"),
        "decoding": Value("string"),
    }
)
PAIRS = Features(
    {
        **_TASK,
        "prompt": _MESSAGES,
        "chosen": _MESSAGES,
        "rejected": _MESSAGES,
        "chosen_index": Value("int32"),
        "rejected_index": Value("int32"),
        "source": Value("string"),
        "margin": Value("float64"),
        "rejected_reason": Value("string"),
        "rejected_finish_reason": Value("string"),
    }
)
KTO = Features(
    {
        **_TASK,
        "prompt": _MESSAGES,
        "completion": _MESSAGES,
        "label": Value("bool"),
        "finish_reason": Value("string"),
    }
)
TABLES = {"samples": SAMPLES, "pairs": PAIRS, "kto": KTO}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preferences:
    """All that a preference dataset is made of."""

    config: Config
    tasks: Sequence[Task]
    """Every task of the run, examples and those for test included."""
    samples: Mapping[str, Sequence[Sample]]
    """Task id → its samples, for the tasks that were sampled."""
    scores: Mapping[tuple[str, int], float]
    """(task id, index) → score in [0, 1]."""
    pairs: Sequence[Pair]
    outcomes: Counter[str]
    """How many samples met which outcome."""
    model: Mapping[str, Any]
    """The policy's entry in the manifest: its name and, for local weights, their hash."""

    @functools.cached_property
    def examples(self) -> list[Task]:
        """The solved tasks that few-shot prompts show."""
        return [task for task in self.tasks if task.split == "example"]

    @property
    def sampled(self) -> list[Task]:
        """The tasks that have samples."""
        return [task for task in self.tasks if task.id in self.samples]

    def splits(self) -> dict[str, DatasetSplit]:
        """Task id → split. Keys are ranked by hash, so tasks of one key stay together."""
        keys = sorted({task.key for task in self.sampled}, key=self._rank)
        validation = set(keys[: round(self.config.preferences.validation_fraction * len(keys))])
        return {task.id: "validation" if task.key in validation else "train" for task in self.sampled}

    def _rank(self, key: str) -> bytes:
        return hashlib.sha256(f"{self.config.seed}/test/{key}".encode()).digest()

    def rows(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(task id, row) of one of the three tables."""
        return {"samples": self._sample_rows, "pairs": self._pair_rows, "kto": self._kto_rows}[table]()

    def _sample_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every sample with its verdict, under the prompt it was drawn under."""
        for task in self.sampled:
            for sample in self.samples[task.id]:
                yield (
                    task.id,
                    {
                        **_described(task),
                        **{name: getattr(sample, name) for name in _FROM_SAMPLE},
                        **{name: getattr(sample.verdict, name) for name in _FROM_VERDICT},
                        "notes": list(sample.verdict.notes),
                        "prompt": list(sample.messages),
                        "score": self.scores[task.id, sample.index],
                        "model": json.dumps(self.model),
                        "decoding": json.dumps(sample.decoding),
                    },
                )

    def _pair_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Preference pairs under the prompt that is trained on, ready for `trl.DPOTrainer`."""
        tasks = {task.id: task for task in self.sampled}
        for pair in self.pairs:
            own = {sample.index: sample for sample in self.samples[pair.task_id]}
            chosen, rejected = own[pair.chosen_index], own[pair.rejected_index]
            yield (
                pair.task_id,
                {
                    **_described(tasks[pair.task_id]),
                    "prompt": self._trained_prompt(tasks[pair.task_id]),
                    "chosen": _answer(chosen),
                    "rejected": _answer(rejected),
                    "chosen_index": pair.chosen_index,
                    "rejected_index": pair.rejected_index,
                    "source": chosen.source,
                    "margin": pair.margin,
                    "rejected_reason": rejected.verdict.reason,
                    "rejected_finish_reason": rejected.finish_reason,
                },
            )

    def _kto_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every sample, those cut off among the failures, labelled by whether it passed, for `trl.KTOTrainer`."""
        for task in self.sampled:
            prompt = self._trained_prompt(task)
            for sample in self.samples[task.id]:
                yield (
                    task.id,
                    {
                        **_described(task),
                        "prompt": prompt,
                        "completion": _answer(sample),
                        "label": sample.verdict.passed,
                        "finish_reason": sample.finish_reason,
                    },
                )

    def _trained_prompt(self, task: Task) -> list[Message]:
        examples = few_shot_examples(task, self.config.training, self.config.seed)
        return list(build_prompt(task, self.examples, examples)[0])


def _described(task: Task) -> dict[str, Any]:
    return {"task_id": task.id, "family": task.family, "schema": task.schema, "targets": list(task.targets)}


def _answer(sample: Sample) -> list[Message]:
    return [{"role": "assistant", "content": sample.completion}]
