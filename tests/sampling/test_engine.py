from __future__ import annotations

from collections import Counter

import pytest
import torch
from transformers import GenerationConfig
from transformers.generation import LogitsProcessorList

from pipelines.errors import ConfigError
from pipelines.sampling.engine import Decoding, Request, build_warpers, sample

PROMPTS = ["abc", "abd and more", "abc, a longer one than the others", "x"]


class Greedy:
    """A warper that leaves only the most likely token."""

    def __call__(self, ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        best = scores == scores.max(-1, keepdim=True).values
        return scores.masked_fill(~best, float("-inf"))


def decoding(tokenizer, *, batch_size: int = 64, max_new_tokens: int = 12, warpers=None) -> Decoding:
    return Decoding(
        max_new_tokens=max_new_tokens,
        end_tokens=(tokenizer.eos_token_id,),
        pad_token=tokenizer.pad_token_id,
        batch_size=batch_size,
        warpers=LogitsProcessorList() if warpers is None else warpers,
    )


def requests_for(tokenizer, seeds: int = 3) -> list[Request]:
    return [
        Request(prompt=tuple(tokenizer.encode(text)), seeds=tuple(range(100 * row, 100 * row + seeds)))
        for row, text in enumerate(PROMPTS)
    ]


def drawn(model, requests, settings) -> list[tuple[int, tuple[int, ...]]]:
    return [(index, made.tokens) for index, made in sample(model, requests, settings)]


@pytest.mark.parametrize("batch_size", [1, 3, 7, 64])
@pytest.mark.parametrize("policy", ["tiny", "bundled"])
def test_greedy_tokens_equal_those_of_generate(policy: str, batch_size: int, request: pytest.FixtureRequest):
    model, tokenizer = request.getfixturevalue(policy)
    requests = requests_for(tokenizer, seeds=1)
    made = drawn(model, requests, decoding(tokenizer, batch_size=batch_size, warpers=LogitsProcessorList([Greedy()])))
    config = GenerationConfig(
        do_sample=False, max_new_tokens=12, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id
    )
    for index, tokens in made:
        prompt = torch.tensor([requests[index].prompt])
        expected = model.generate(prompt, attention_mask=torch.ones_like(prompt), generation_config=config)
        assert list(tokens) == expected[0, prompt.shape[1] :].tolist()


def test_a_samples_draws_do_not_depend_on_its_neighbours(tiny):
    model, tokenizer = tiny
    together = drawn(model, requests_for(tokenizer), decoding(tokenizer))
    alone = drawn(model, requests_for(tokenizer), decoding(tokenizer, batch_size=1))
    assert together == alone


def test_log_probabilities_equal_a_teacher_forced_pass(tiny):
    model, tokenizer = tiny
    requests = requests_for(tokenizer)
    for index, made in sample(model, requests, decoding(tokenizer, warpers=build_warpers({"temperature": 0.7}))):
        prompt = requests[index].prompt
        ids = torch.tensor([[*prompt, *made.tokens]])
        with torch.inference_mode():
            logprobs = model(ids).logits[0].log_softmax(-1)
        expected = sum(logprobs[len(prompt) - 1 + step, token].item() for step, token in enumerate(made.tokens))
        assert made.logprob_nats == pytest.approx(expected, abs=1e-4)


def test_first_tokens_follow_the_models_distribution(tiny):
    """Pearson's chi-squared over 20,000 draws; the 99.9 % quantile bounds it."""
    model, tokenizer = tiny
    prompt = tuple(tokenizer.encode("abc"))
    draws = 20_000
    made = drawn(model, [Request(prompt=prompt, seeds=tuple(range(draws)))], decoding(tokenizer, max_new_tokens=1))
    counts = Counter(tokens[0] for _, tokens in made)
    with torch.inference_mode():
        expected = model(torch.tensor([prompt])).logits[0, -1].double().softmax(-1) * draws
    common = expected >= 5
    observed = torch.tensor([counts[token] for token in range(len(expected))], dtype=torch.float64)
    statistic = ((observed - expected)[common] ** 2 / expected[common]).sum() + (
        (observed[~common].sum() - expected[~common].sum()) ** 2 / expected[~common].sum().clamp(min=1e-9)
    )
    degrees = int(common.sum())
    wilson_hilferty = degrees * (1 - 2 / (9 * degrees) + 3.0902 * (2 / (9 * degrees)) ** 0.5) ** 3
    assert statistic < wilson_hilferty


def test_a_sample_ends_at_an_end_token_or_at_the_limit(tiny):
    model, tokenizer = tiny
    for _, made in sample(model, requests_for(tokenizer, seeds=40), decoding(tokenizer, max_new_tokens=30)):
        assert made.ended == (made.tokens[-1] == tokenizer.eos_token_id)
        assert tokenizer.eos_token_id not in made.tokens[:-1]
        assert made.ended or len(made.tokens) == 30


def test_every_seed_of_every_request_comes_back_once_in_order(tiny):
    model, tokenizer = tiny
    indices = [index for index, _ in sample(model, requests_for(tokenizer, seeds=5), decoding(tokenizer, batch_size=7))]
    assert indices == sorted(indices)
    assert Counter(indices) == dict.fromkeys(range(len(PROMPTS)), 5)


def test_an_unsupported_generation_setting_is_named():
    with pytest.raises(ConfigError, match=r"generation.num_beams is not supported; use temperature"):
        build_warpers({"num_beams": 4})


def test_a_bad_generation_value_is_one_line():
    with pytest.raises(ConfigError, match="generation: .*temperature"):
        build_warpers({"temperature": -1.0})
