"""Sliding windows: what fits is sampled here, what does not by `generate`, and either way it is the model's own."""

from __future__ import annotations

import sys

import pytest
import torch

from pipelines.engine.support import unsupported_reason
from pipelines.models import packable_tokens
from tests.attention.architectures import windowed
from tests.engine.asking import decoding, draw_all, generated, requests_for, teacher_forced

NEW_TOKENS = 12
SLIDING = ["gemma2", "gemma3", "mistral", "qwen3"]


def longest_read(requests) -> int:
    """The last token drawn is read by nobody."""
    return max(len(request.prompt) for request in requests) + NEW_TOKENS - 1


def uncapped(name: str, window: int):
    return windowed(name, window, **({"attn_logit_softcapping": None} if name == "gemma2" else {}))


@pytest.mark.parametrize("name", SLIDING)
@pytest.mark.parametrize("too_long", [False, True])
def test_a_window_that_holds_the_longest_request_needs_no_fallback(name: str, too_long: bool, tiny):
    """Positions of both kinds of layers, and the very token at which a window begins to slide."""
    _, tokenizer = tiny
    requests = requests_for(tokenizer, seeds=1)
    model = uncapped(name, longest_read(requests) - too_long)
    settings = decoding(tokenizer, do_sample=False, max_new_tokens=NEW_TOKENS)
    if too_long:
        with pytest.warns(
            UserWarning, match=f"1 of 6 requests may outgrow its attention window of {packable_tokens(model)}"
        ):
            made = draw_all(model, requests, settings)
    else:
        made = draw_all(model, requests, settings)  # a warning would be an error
    assert made.keys() == set(range(len(requests)))
    for index, (one,) in made.items():
        prompt = requests[index].prompt
        assert list(one.tokens) == generated(model, tokenizer, prompt, NEW_TOKENS)
        assert one.logprobs_nats == pytest.approx(teacher_forced(model, prompt, one.tokens), abs=1e-4)


def test_a_window_counts_the_token_itself():
    """transformers' own forward pass: as many tokens as the window are all seen, of one more the first is not."""
    sliding, full = windowed("mistral", 16), windowed("mistral", 16, sliding_window=None)
    ids = torch.arange(3, 20)[None]
    with torch.inference_mode():
        differences = [(sliding(ids[:, :count]).logits - full(ids[:, :count]).logits).abs().max() for count in (16, 17)]
    assert differences[0] < 1e-5
    assert differences[1] > 1e-2


def test_soft_capped_scores_are_another_attention_in_a_wide_window_too():
    assert "softcap" in unsupported_reason(windowed("gemma2", 64))


@pytest.mark.parametrize(("window", "expected"), [(16, 16), (None, sys.maxsize)])
def test_the_window_is_how_much_packs(window: int | None, expected: int):
    assert packable_tokens(windowed("mistral", window)) == expected
