"""Records of which a test says only what it is about."""

from __future__ import annotations

from typing import Any

from pipelines.records import Sample, Task, Verdict

RIGHT = Verdict(parses=True, root_type=True, schema_valid=True, exact_match=True)
WRONG = Verdict(parses=True, root_type=True, schema_valid=True, exact_match=False)


def make_task(name: str = "t", **fields: Any) -> Task:
    known = {"id": name, "family": "f", "key": name, "split": "train", "prompt": "p"}
    return Task(**{**known, **fields})


def make_sample(completion: str = "", index: int = 0, **fields: Any) -> Sample:
    known = {
        "task_id": "t",
        "source": "zero_shot",
        "messages": ({"role": "user", "content": "p"},),
        "finish_reason": "stop",
        "prompt_tokens": 5,
        "completion_tokens": 4,
        "token_ids": None,
        "logprob_nats": -1.25,
        "seed": index,
        "decoding": {"max_new_tokens": 8, "generation": {}},
        "verdict": WRONG,
    }
    return Sample(**{"completion": completion, "index": index, **known, **fields})
