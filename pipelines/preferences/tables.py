"""The rows of the three tables of a preference dataset, and their fixed features.

Takes tasks, judged completions, scores and pairs; leaves rows for `samples`, `pairs` and `kto`, split by task, so that
no request and no target is in both `train` and `test`. Writes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from datasets import Features, List, Value

from pipelines.config import Config
from pipelines.preferences.pairing import Judged
from pipelines.records import Completion, Pair, Task
from pipelines.sections import SamplingConfig, TrainingConfig
from pipelines.tasks import build_messages, worked_examples_of

DatasetSplit = Literal["train", "test"]
_MESSAGES = List({"role": Value("string"), "content": Value("string")})
_TASK = {"task_id": Value("string"), "family": Value("string"), "schema": Value("string"), "target": Value("string")}
_TIERS = {name: Value("bool") for name in ("parses", "root_type", "schema_valid", "exact")}
SAMPLES = Features(
    {
        **_TASK,
        "index": Value("int32"),
        "prompt": _MESSAGES,
        "prompting": Value("string"),
        "completion": Value("string"),
        **_TIERS,
        "score": Value("float64"),
        "reason": Value("string"),
        "offset": Value("int64"),
        "notes": List(Value("string")),
        "finish_reason": Value("string"),
        "prompt_tokens": Value("int32"),
        "completion_tokens": Value("int32"),
        "logprob_nats": Value("float64"),
        "seed": Value("int64"),
        "model": Value("string"),
        "settings": Value("string"),
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
_FROM_COMPLETION = (
    "index",
    "prompting",
    "finish_reason",
    "prompt_tokens",
    "completion_tokens",
    "logprob_nats",
    "seed",
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Preferences:
    """All that a preference dataset is made of."""

    config: Config
    tasks: Sequence[Task]
    """Every task of the run, worked examples and held-out ones included."""
    judged: Mapping[str, Sequence[Judged]]
    """Task id → its completions with their verdicts, for the tasks that were sampled."""
    scores: Mapping[tuple[str, int], float]
    """(task id, index) → score in [0, 1]."""
    pairs: Sequence[Pair]
    fates: Counter[str]
    """How many completions met which fate."""
    model: Mapping[str, Any]
    """The policy's entry in the manifest: its name and, for local weights, their hash."""

    @property
    def sampled(self) -> list[Task]:
        """The tasks that have completions."""
        return [task for task in self.tasks if task.id in self.judged]

    def splits(self) -> dict[str, DatasetSplit]:
        """Task id → split. Keys are ranked by hash, so tasks of one target stay together."""
        keys = sorted({task.key for task in self.sampled}, key=self._rank)
        test = set(keys[: round(self.config.preferences.test_fraction * len(keys))])
        return {task.id: "test" if task.key in test else "train" for task in self.sampled}

    def _rank(self, key: str) -> bytes:
        return hashlib.sha256(f"{self.config.seed}/test/{key}".encode()).digest()

    def rows(self, table: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """(task id, row) of one of the three tables."""
        return {"samples": self._sample_rows, "pairs": self._pair_rows, "kto": self._kto_rows}[table]()

    def _sample_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every completion with its verdict, under the prompt it was sampled with."""
        settings = json.dumps(dataclasses.asdict(self.config.sampling))
        for task in self.sampled:
            prompt = self._prompt(task, self.config.sampling)
            for completion, verdict in self.judged[task.id]:
                yield (
                    task.id,
                    {
                        **_described(task),
                        **{name: getattr(completion, name) for name in _FROM_COMPLETION},
                        **{name: getattr(verdict, name) for name in (*_TIERS, "reason", "offset")},
                        "notes": list(verdict.notes),
                        "prompt": prompt,
                        "completion": completion.text,
                        "score": self.scores[task.id, completion.index],
                        "model": json.dumps(self.model),
                        "settings": settings,
                    },
                )

    def _pair_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Preference pairs under the prompt that is trained on, ready for `trl.DPOTrainer`."""
        tasks = {task.id: task for task in self.sampled}
        for pair in self.pairs:
            rows = {completion.index: (completion, verdict) for completion, verdict in self.judged[pair.task_id]}
            rejected, verdict = rows[pair.rejected_index]
            yield (
                pair.task_id,
                {
                    **_described(tasks[pair.task_id]),
                    "prompt": self._prompt(tasks[pair.task_id], self.config.training),
                    "chosen": _answer(rows[pair.chosen_index][0]),
                    "rejected": _answer(rejected),
                    "chosen_index": pair.chosen_index,
                    "rejected_index": pair.rejected_index,
                    "margin": pair.margin,
                    "rejected_reason": verdict.reason,
                    "rejected_finish_reason": rejected.finish_reason,
                },
            )

    def _kto_rows(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Every completion, those cut off among the failures, labelled by whether it passed, for `trl.KTOTrainer`."""
        for task in self.sampled:
            prompt = self._prompt(task, self.config.training)
            for completion, verdict in self.judged[task.id]:
                yield (
                    task.id,
                    {
                        **_described(task),
                        "prompt": prompt,
                        "completion": _answer(completion),
                        "label": verdict.passed,
                        "finish_reason": completion.finish_reason,
                    },
                )

    def _prompt(self, task: Task, settings: SamplingConfig | TrainingConfig) -> list[dict[str, str]]:
        return build_messages(task, self.tasks, worked_examples_of(task, settings, self.config.seed))


def _described(task: Task) -> dict[str, Any]:
    return {"task_id": task.id, "family": task.family, "schema": task.schema, "target": task.target}


def _answer(completion: Completion) -> list[dict[str, str]]:
    return [{"role": "assistant", "content": completion.text}]
