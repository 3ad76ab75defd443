"""Prompts, settings and what transformers itself answers, for the tests of sampling."""

from __future__ import annotations

import torch
from transformers import GenerationConfig

from pipelines.engine.decoder import sample
from pipelines.engine.requests import Decoding, Drawn, Request, build_processors, build_stopping, is_greedy

SYSTEM = "You answer with JSON and nothing else. "
PROMPTS = ["abc", SYSTEM + "abd and more", SYSTEM + "abc, a longer one than the others", "x", "abc", SYSTEM + "abc"]


def decoding(tokenizer, *, batch_size: int = 64, max_new_tokens: int = 12, **generation) -> Decoding:
    return Decoding(
        max_new_tokens=max_new_tokens,
        end_tokens=(tokenizer.eos_token_id,),
        pad_token=tokenizer.pad_token_id,
        batch_size=batch_size,
        processors=build_processors(generation),
        greedy=is_greedy(generation),
        stopping=build_stopping(generation, tokenizer),
    )


def requests_for(tokenizer, seeds: int = 3) -> list[Request]:
    return [
        Request(prompt=tuple(tokenizer.encode(text)), seeds=tuple(range(100 * row, 100 * row + seeds)))
        for row, text in enumerate(PROMPTS)
    ]


def draw_all(model, requests, settings) -> dict[int, list[Drawn]]:
    return dict(sample(model, requests, settings))


def tokens_of(made: dict[int, list[Drawn]]) -> dict[int, list[tuple[int, ...]]]:
    return {index: [one.tokens for one in samples] for index, samples in sorted(made.items())}


def generated(model, tokenizer, prompt: tuple[int, ...], max_new_tokens: int) -> list[int]:
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    ids = torch.tensor([prompt])
    output = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=config)
    return output[0, len(prompt) :].tolist()


def teacher_forced(model, prompt: tuple[int, ...], tokens: tuple[int, ...]) -> list[float]:
    """Each token's log-probability by the model's own forward pass over the whole sequence."""
    with torch.inference_mode():
        logprobs = model(torch.tensor([[*prompt, *tokens]])).logits[0].float().log_softmax(-1)
    return [logprobs[len(prompt) - 1 + step, token].item() for step, token in enumerate(tokens)]
