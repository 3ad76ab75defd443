from __future__ import annotations

import itertools
import random
from collections import Counter

import pytest
import torch

from pipelines.engine.decoder import Decoder, sample
from pipelines.engine.fast_linear import fast_linear
from pipelines.engine.packed_attention import packed_attention
from pipelines.engine.requests import (
    Request,
    build_processors,
)
from pipelines.errors import ConfigError
from tests.engine.asking import (
    PROMPTS,
    SYSTEM,
    decoding,
    draw_all,
    generated,
    requests_for,
    teacher_forced,
    tokens_of,
)


@pytest.mark.parametrize(
    ("policy", "batch_size"),
    [
        ("tiny", 1),
        ("tiny", 7),
        ("tiny", 256),
        *(pytest.param("bundled", size, marks=pytest.mark.slow) for size in (1, 256)),
    ],
)
def test_greedy_tokens_equal_those_of_generate(policy: str, batch_size: int, request: pytest.FixtureRequest):
    model, tokenizer = request.getfixturevalue(policy)
    requests = requests_for(tokenizer, seeds=2)
    made = draw_all(model, requests, decoding(tokenizer, batch_size=batch_size, do_sample=False))
    for index, samples in made.items():
        expected = generated(model, tokenizer, requests[index].prompt, 12)
        assert [list(one.tokens) for one in samples] == [expected, expected]


def test_greedy_tokens_equal_those_of_generate_for_many_prompts_of_mixed_length(tiny):
    model, tokenizer = tiny
    words = random.Random(3)
    texts = {"".join(words.choices("abcd ", k=words.randint(1, 150))) for _ in range(64)}
    requests = [Request(prompt=tuple(tokenizer.encode(text)), seeds=(0,)) for text in sorted(texts)]
    made = draw_all(model, requests, decoding(tokenizer, batch_size=256, do_sample=False))
    for index, (one,) in made.items():
        assert list(one.tokens) == generated(model, tokenizer, requests[index].prompt, 12)


@pytest.mark.parametrize("batch_size", [1, 5, 256])
def test_a_samples_draws_do_not_depend_on_its_neighbours(tiny, batch_size: int):
    model, tokenizer = tiny
    together = draw_all(model, requests_for(tokenizer, seeds=5), decoding(tokenizer))
    apart = draw_all(model, requests_for(tokenizer, seeds=5), decoding(tokenizer, batch_size=batch_size))
    assert tokens_of(together) == tokens_of(apart)
    alone = draw_all(model, [requests_for(tokenizer, seeds=5)[2]], decoding(tokenizer))
    assert tokens_of(alone)[0] == tokens_of(together)[2]


@pytest.mark.parametrize("policy", ["tiny", pytest.param("bundled", marks=pytest.mark.slow)])
def test_log_probabilities_equal_a_teacher_forced_pass(policy: str, request: pytest.FixtureRequest):
    model, tokenizer = request.getfixturevalue(policy)
    requests = requests_for(tokenizer)
    made = draw_all(model, requests, decoding(tokenizer, max_new_tokens=20, temperature=0.7, top_k=40))
    for index, one in ((index, one) for index, samples in made.items() for one in samples):
        expected = teacher_forced(model, requests[index].prompt, one.tokens)
        assert one.logprobs_nats == pytest.approx(expected, abs=1e-4)
        assert one.logprob_nats == pytest.approx(sum(expected), abs=1e-3)


def chi_squared_bound(degrees: int) -> float:
    """The 99.9 % quantile, by Wilson and Hilferty's approximation."""
    return degrees * (1 - 2 / (9 * degrees) + 3.0902 * (2 / (9 * degrees)) ** 0.5) ** 3


def statistic(observed: torch.Tensor, expected: torch.Tensor) -> tuple[float, int]:
    """Pearson's, with the rare ones taken together; and its degrees of freedom."""
    common = expected >= 5
    rare = ((observed[~common].sum() - expected[~common].sum()) ** 2 / expected[~common].sum().clamp(min=1e-9)).item()
    return ((observed - expected)[common] ** 2 / expected[common]).sum().item() + rare, int(common.sum())


@pytest.mark.parametrize("generation", [{}, {"temperature": 0.6, "top_k": 30, "top_p": 0.9}, {"min_p": 0.05}])
def test_first_tokens_follow_the_distribution_that_transformers_processors_leave(tiny, generation):
    model, tokenizer = tiny
    prompt = tuple(tokenizer.encode("abc"))
    draws = 20_000
    settings = decoding(tokenizer, max_new_tokens=1, batch_size=draws, **generation)
    (made,) = draw_all(model, [Request(prompt=prompt, seeds=tuple(range(draws)))], settings).values()
    counts = Counter(one.tokens[0] for one in made)
    with torch.inference_mode():
        scores = settings.processors(torch.tensor([prompt]), model(torch.tensor([prompt])).logits[:, -1])
    expected = scores[0].double().softmax(-1) * draws
    observed = torch.tensor([counts[token] for token in range(len(expected))], dtype=torch.float64)
    assert observed[expected == 0].sum() == 0
    value, degrees = statistic(observed, expected)
    assert value < chi_squared_bound(degrees)


def test_second_tokens_follow_the_distribution_after_each_first_one(tiny):
    """Branches that split and share pages still draw from their own distributions."""
    model, tokenizer = tiny
    prompt = tuple(tokenizer.encode("abc"))
    request = Request(prompt=prompt, seeds=tuple(range(20_000)))
    (made,) = draw_all(model, [request], decoding(tokenizer, max_new_tokens=2, batch_size=20_000)).values()
    by_first: dict[int, Counter] = {}
    for one in made:
        by_first.setdefault(one.tokens[0], Counter())[one.tokens[-1]] += 1
    first, counts = max(
        ((first, counts) for first, counts in by_first.items() if first != tokenizer.eos_token_id),
        key=lambda pair: pair[1].total(),
    )
    with torch.inference_mode():
        probabilities = model(torch.tensor([[*prompt, first]])).logits[0, -1].double().softmax(-1)
    observed = torch.tensor([counts[token] for token in range(len(probabilities))], dtype=torch.float64)
    value, degrees = statistic(observed, probabilities * counts.total())
    assert value < chi_squared_bound(degrees)


def test_a_sample_ends_at_an_end_token_or_at_the_limit(tiny):
    model, tokenizer = tiny
    made = draw_all(model, requests_for(tokenizer, seeds=40), decoding(tokenizer, max_new_tokens=30))
    for one in itertools.chain.from_iterable(made.values()):
        assert one.ended == (one.tokens[-1] == tokenizer.eos_token_id)
        assert tokenizer.eos_token_id not in one.tokens[:-1]
        assert one.ended or len(one.tokens) == 30


def test_a_sample_ends_where_a_stop_string_is_complete(bundled):
    model, tokenizer = bundled
    prompt = tuple(tokenizer.encode("One, two, three, four, five, six, seven,"))
    settings = decoding(tokenizer, max_new_tokens=20, do_sample=False, stop_strings=["ine,", "never there"])
    (made,) = draw_all(model, [Request(prompt=prompt, seeds=(0, 1))], settings).values()
    for one in made:
        assert one.ended
        assert tokenizer.decode(one.tokens).endswith("nine,")


@pytest.mark.parametrize("batch_size", [1, 7, 256])
def test_every_seed_of_every_request_comes_back_once(tiny, batch_size: int):
    model, tokenizer = tiny
    found = list(sample(model, requests_for(tokenizer, seeds=5), decoding(tokenizer, batch_size=batch_size)))
    assert sorted(index for index, _ in found) == list(range(len(PROMPTS)))
    assert all(len(samples) == 5 for _, samples in found)


def test_what_is_alike_is_computed_once(tiny):
    """Greedy completions of one prompt are one branch; what prompts share goes through the model once."""
    model, tokenizer = tiny
    shared = tuple(tokenizer.encode(SYSTEM))
    requests = [Request(prompt=(*shared, *tokenizer.encode(end)), seeds=tuple(range(50))) for end in ("one", "two")]
    decoder = Decoder(model, requests, decoding(tokenizer, max_new_tokens=9, batch_size=100, do_sample=False))
    with packed_attention(model):
        made = dict(decoder.run())
    generated_tokens = sum(len(made[index][0].tokens) - 1 for index in made)
    assert decoder.forwarded_tokens == len(shared) + 3 + 3 + generated_tokens


def test_pages_hold_hardly_more_than_what_is_live(tiny):
    """Every continuation of a tiny random model differs at once: nothing is shared, all of it is live."""
    model, tokenizer = tiny
    request = Request(prompt=tuple(tokenizer.encode("abc")), seeds=tuple(range(200)))
    decoder = Decoder(model, [request], decoding(tokenizer, max_new_tokens=41, batch_size=200, temperature=2.0))
    with packed_attention(model):
        ((_, made),) = decoder.run()
    live = max(sum(min(step, len(one.tokens) - 1) * (len(one.tokens) > step) for one in made) for step in range(1, 41))
    assert live < decoder.live_tokens <= len(request.prompt) + 1.5 * live


def test_the_model_is_left_as_it_was(tiny):
    model, tokenizer = tiny
    before = model.config._attn_implementation
    iterator = sample(model, requests_for(tokenizer), decoding(tokenizer))
    next(iterator)
    iterator.close()
    assert model.config._attn_implementation == before
    assert not any("forward" in vars(module) for module in model.modules())


def test_fast_linear_layers_compute_the_same(bundled):
    """Against float64, as closely as `F.linear` does."""
    model, _ = bundled
    layer = model.model.layers[0].mlp.gate_proj
    inputs = torch.randn(1, 40, layer.in_features, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        exact = torch.nn.functional.linear(inputs.double(), layer.weight.double())
        own = layer(inputs)
        with fast_linear(model):
            fast = layer(inputs)
    assert not torch.equal(fast, own)  # another order of summation: oneDNN did it
    assert (fast - exact).abs().max() < 4 * (own - exact).abs().max()


def test_an_unsupported_generation_setting_is_named():
    with pytest.raises(ConfigError, match=r"generation.num_beams is not supported; use do_sample, temperature"):
        build_processors({"num_beams": 4})


def test_a_bad_generation_value_is_one_line():
    with pytest.raises(ConfigError, match="generation: .*temperature"):
        build_processors({"temperature": -1.0})
    with pytest.raises(ConfigError, match="stop_strings must be a list of texts"):
        build_processors({"stop_strings": "]"})
