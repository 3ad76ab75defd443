"""The rows of the three tables of a preference dataset, and their fixed features.

Reads a task at a time with its samples and pairs; returns rows for `samples`, `pairs` and `kto`, split by task, so that
no key is in both `train` and `validation`. Writes nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any, Literal, get_args

from datasets import Features, List, Value

from pipelines.config import Config
from pipelines.records import TIERS, Message, Pair, Sample, Task
from pipelines.tasks import build_prompt, few_shot_examples

DatasetSplit = Literal["train", "validation"]
SPLITS: tuple[DatasetSplit, ...] = get_args(DatasetSplit)
Row = dict[str, Any]
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
    "allowed_nats": Value("float64"),
    "prefix_tokens": Value("int32"),
    "seed": Value("int64"),
}
_FROM_VERDICT = {
    **{name: Value("bool") for name in TIERS},
    "verified": Value("bool"),
    "reason": Value("string"),
    "offset": Value("int64"),
}
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
        "rejected_source": Value("string"),
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


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Preferences:
    """All that a preference dataset is made of, but for the tasks and their samples, which come one task at a time."""

    config: Config
    examples: Sequence[Task]
    """The solved tasks that few-shot prompts show."""
    validation: Set[str]
    """The keys of the tasks that are in the `validation` split; all others are in `train`."""
    score: Callable[[Sample], float]
    """What a sample is worth, in [0, 1]."""
    pairs: Sequence[Pair]
    outcomes: Counter[str]
    """How many samples met which outcome."""
    model: Mapping[str, Any]
    """The policy's entry in the manifest: its name and, for local weights, their hash."""

    def split_of(self, task: Task) -> DatasetSplit:
        """The split that all of the task's rows are in."""
        return "validation" if task.key in self.validation else "train"

    def rows(self, task: Task, samples: Sequence[Sample], pairs: Sequence[Pair]) -> Iterator[tuple[str, Row]]:
        """(table, row) for all that a task's samples and pairs have in the three tables."""
        examples = few_shot_examples(task, self.config.training, self.config.seed)
        trained = list(build_prompt(task, self.examples, examples)[0])
        own = {sample.index: sample for sample in samples}
        for sample in samples:
            yield "samples", self._sample_row(task, sample)
            yield "kto", _kto_row(task, trained, sample)
        for pair in pairs:
            yield "pairs", _pair_row(task, trained, pair, own)

    def _sample_row(self, task: Task, sample: Sample) -> Row:
        """A sample with its verdict, under the prompt it was drawn under."""
        return {
            **_described(task),
            **{name: getattr(sample, name) for name in _FROM_SAMPLE},
            **{name: getattr(sample.verdict, name) for name in _FROM_VERDICT},
            "notes": list(sample.verdict.notes),
            "prompt": list(sample.messages),
            "score": self.score(sample),
            "model": json.dumps(self.model),
            "decoding": json.dumps(sample.decoding),
        }


def validation_keys(keys: Set[str], config: Config) -> Set[str]:
    """The keys of the `validation` split. They are ranked by hash, and tasks of one key stay together."""
    ranked = sorted(keys, key=lambda key: hashlib.sha256(f"{config.seed}/test/{key}".encode()).digest())
    return set(ranked[: round(config.preferences.validation_fraction * len(ranked))])


def _pair_row(task: Task, trained: list[Message], pair: Pair, samples: Mapping[int, Sample]) -> Row:
    """A preference pair under the prompt that is trained on, ready for `trl.DPOTrainer`."""
    chosen, rejected = samples[pair.chosen_index], samples[pair.rejected_index]
    return {
        **_described(task),
        "prompt": trained,
        "chosen": _answer(chosen),
        "rejected": _answer(rejected),
        "chosen_index": pair.chosen_index,
        "rejected_index": pair.rejected_index,
        "source": chosen.source,
        "rejected_source": rejected.source,
        "margin": pair.margin,
        "rejected_reason": rejected.verdict.reason,
        "rejected_finish_reason": rejected.finish_reason,
    }


def _kto_row(task: Task, trained: list[Message], sample: Sample) -> Row:
    """A sample labelled by whether it passed, one cut off among the failures, for `trl.KTOTrainer`."""
    return {
        **_described(task),
        "prompt": trained,
        "completion": _answer(sample),
        "label": sample.verdict.passed,
        "finish_reason": sample.finish_reason,
    }


def _described(task: Task) -> Row:
    return {"task_id": task.id, "family": task.family, "schema": task.schema, "targets": list(task.targets)}


def _answer(sample: Sample) -> list[Message]:
    return [{"role": "assistant", "content": sample.completion}]
