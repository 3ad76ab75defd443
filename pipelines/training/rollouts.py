"""GRPO's samples, drawn by the engine that draws the training samples: a group's prompt and its completions share all
that they have in common.

Reads the prompts as GRPO repeats them and its trainer; returns token ids and their log-probabilities under the policy's
own distribution.
"""

from __future__ import annotations

import itertools
from typing import Any

import torch
from trl import GRPOTrainer

from pipelines.engine.decoder import sample
from pipelines.engine.requests import Decoding, Request, build_processors
from pipelines.models import end_tokens, render_prompt


def draw_rollouts(prompts: list[Any], trainer: GRPOTrainer) -> dict[str, list[Any]]:
    """`prompt_ids`, `completion_ids` and `logprobs`, one of each per prompt, in order."""
    model = trainer.accelerator.unwrap_model(trainer.model)
    plain = model.get_base_model() if hasattr(model, "get_base_model") else model
    tokenizer = trainer.processing_class
    # The step's seed comes from torch's generator, which Trainer keeps in its checkpoints.
    seeds = iter(torch.randint(2**62, (len(prompts),)).tolist())
    requests = [
        Request(prompt=tuple(render_prompt(tokenizer, prompt)), seeds=tuple(itertools.islice(seeds, len(list(group)))))
        for prompt, group in itertools.groupby(prompts)
    ]
    decoding = Decoding(
        max_new_tokens=trainer.max_completion_length,
        end_tokens=end_tokens(plain, tokenizer),
        pad_token=tokenizer.pad_token_id,
        batch_size=len(prompts),
        processors=build_processors(
            {
                "temperature": trainer.temperature,
                "top_k": trainer.top_k or 0,
                "top_p": trainer.top_p,
                "min_p": trainer.min_p or 0.0,
            }
        ),
    )
    was_training = plain.training
    plain.eval()
    drawn = dict(sample(plain, requests, decoding))
    plain.train(was_training)
    rows = [(request, one) for index, request in enumerate(requests) for one in drawn[index]]
    return {
        "prompt_ids": [list(request.prompt) for request, _ in rows],
        "completion_ids": [list(one.tokens) for _, one in rows],
        "logprobs": [list(one.logprobs_nats) for _, one in rows],
    }
