"""Drawing under a grammar, against the distribution worked out by hand: a walk over the language's own strings."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch
from llguidance import LLMatcher, LLParserLimits

from pipelines.engine.decoder import sample
from pipelines.engine.fallback import generate_samples
from pipelines.engine.grammar import Grammar, Vocabulary
from pipelines.engine.requests import Request
from tests.engine.asking import decoding, draw_all, teacher_forced
from tests.engine.test_decoder import chi_squared_bound, statistic

LANGUAGE = ("ab", "aba", "abb", "b", "ca", "cab")
LARK = '%llguidance {"no_forcing": true}\nstart: /ab|aba|abb|b|ca|cab/'
DRAWS = 20_000


@pytest.fixture(scope="module")
def vocabulary(tiny) -> Vocabulary:
    model, tokenizer = tiny
    return Vocabulary(tokenizer, model.config.vocab_size, [tokenizer.eos_token_id])


@pytest.fixture(scope="module")
def grammar(vocabulary: Vocabulary) -> Grammar:
    compiled = vocabulary.compile(LARK)
    assert isinstance(compiled, Grammar)
    return compiled


def spelled(tokenizer) -> list[tuple[int, ...]]:
    """Every text of the language as the tiny model's tokens, one a byte, and its end."""
    return [(*tokenizer.encode(text), tokenizer.eos_token_id) for text in LANGUAGE]


def walk(model, prompt: tuple[int, ...], texts: list[tuple[int, ...]], text: tuple[int, ...]) -> tuple[float, float]:
    """(probability of a text when each token is drawn among those the language allows, that mass as a product)."""
    drawn = mass = 1.0
    for step, token in enumerate(text):
        allowed = sorted({other[step] for other in texts if other[:step] == text[:step] and len(other) > step})
        with torch.inference_mode():
            probabilities = model(torch.tensor([[*prompt, *text[:step]]])).logits[0, -1].double().softmax(-1)
        here = probabilities[allowed].sum().item()
        drawn *= probabilities[token].item() / here
        mass *= here
    return drawn, mass


def test_texts_follow_the_distribution_renormalised_at_each_token(tiny, grammar: Grammar):
    model, tokenizer = tiny
    prompt, texts = tuple(tokenizer.encode("abc")), spelled(tokenizer)
    request = Request(prompt=prompt, seeds=tuple(range(DRAWS)), grammar=grammar)
    (made,) = draw_all(model, [request], decoding(tokenizer, max_new_tokens=8, batch_size=DRAWS)).values()
    counts = Counter(one.tokens for one in made)
    assert set(counts) <= set(texts)
    expected = torch.tensor([walk(model, prompt, texts, text)[0] for text in texts], dtype=torch.float64) * DRAWS
    observed = torch.tensor([counts[text] for text in texts], dtype=torch.float64)
    value, degrees = statistic(observed, expected)
    assert value < chi_squared_bound(degrees)


@pytest.mark.parametrize("engine", [sample, generate_samples])
def test_the_mass_allowed_is_kept_at_each_token_and_estimates_the_languages_probability(tiny, grammar, engine):
    model, tokenizer = tiny
    prompt, texts = tuple(tokenizer.encode("abc")), spelled(tokenizer)
    request = Request(prompt=prompt, seeds=tuple(range(4000)), grammar=grammar)
    ((_, made),) = engine(model, [request], decoding(tokenizer, max_new_tokens=8, batch_size=4000))
    one = max(made, key=lambda one: len(one.tokens))
    assert math.exp(math.fsum(one.allowed_nats)) == pytest.approx(walk(model, prompt, texts, one.tokens)[1], rel=1e-3)
    assert one.logprobs_nats == pytest.approx(teacher_forced(model, prompt, one.tokens), abs=1e-4)
    truth = sum(math.exp(sum(teacher_forced(model, prompt, text))) for text in texts)
    products = torch.tensor([math.exp(math.fsum(one.allowed_nats)) for one in made], dtype=torch.float64)
    assert abs(products.mean().item() - truth) < 4 * products.std().item() / len(made) ** 0.5


@pytest.mark.parametrize("engine", [sample, generate_samples])
def test_a_greedy_text_takes_the_likeliest_token_that_is_allowed(tiny, grammar: Grammar, engine):
    model, tokenizer = tiny
    prompt, texts = tuple(tokenizer.encode("xyz")), spelled(tokenizer)
    settings = decoding(tokenizer, max_new_tokens=8, do_sample=False)
    ((_, (one,)),) = engine(model, [Request(prompt=prompt, seeds=(0,), grammar=grammar)], settings)
    expected: tuple[int, ...] = ()
    while expected not in texts:
        allowed = sorted({text[len(expected)] for text in texts if text[: len(expected)] == expected})
        with torch.inference_mode():
            logits = model(torch.tensor([[*prompt, *expected]])).logits[0, -1]
        expected = (*expected, allowed[int(logits[allowed].argmax())])
    assert one.tokens == expected
    assert one.ended


@pytest.mark.parametrize("engine", [sample, generate_samples])
def test_a_prefix_is_gone_on_from_and_counts_towards_the_limit(tiny, grammar: Grammar, engine):
    model, tokenizer = tiny
    prompt, prefix = tuple(tokenizer.encode("abc")), tuple(tokenizer.encode("ab"))
    request = Request(prompt=prompt, seeds=tuple(range(60)), prefix=prefix, grammar=grammar)
    ((_, made),) = engine(model, [request], decoding(tokenizer, max_new_tokens=3))
    rest = {(*prefix, *one.tokens) for one in made}
    end = (tokenizer.eos_token_id,)
    assert rest == {(*prefix, *end), *((*prefix, *tokenizer.encode(last)) for last in "ab")}
    assert {one.ended for one in made if one.tokens != end} == {False}


@pytest.mark.parametrize("engine", [sample, generate_samples])
@pytest.mark.parametrize("bound", [True, False])
def test_a_forbidden_token_never_comes_first_and_may_come_later(tiny, grammar: Grammar, engine, bound: bool):
    model, tokenizer = tiny
    prompt, prefix = tuple(tokenizer.encode("abc")), tuple(tokenizer.encode("ab"))
    (letter,) = tokenizer.encode("a")
    seeds = tuple(range(300))
    request = Request(
        prompt=prompt, seeds=seeds, prefix=prefix, forbidden=(letter,), grammar=grammar if bound else None
    )
    ((_, made),) = engine(model, [request], decoding(tokenizer, max_new_tokens=12, batch_size=300))
    assert letter not in {one.tokens[0] for one in made}
    if bound:
        assert {one.tokens[0] for one in made} == {tokenizer.eos_token_id, *tokenizer.encode("b")}
    else:
        assert letter in {token for one in made for token in one.tokens}


def test_where_nothing_else_is_allowed_a_forbidden_token_may_come_all_the_same(tiny, grammar: Grammar):
    model, tokenizer = tiny
    (only,) = tokenizer.encode("a")
    request = Request(
        prompt=tuple(tokenizer.encode("abc")), seeds=(0,), prefix=tuple(tokenizer.encode("c")), forbidden=(only,),
        grammar=grammar,
    )  # fmt: skip
    ((one,),) = draw_all(model, [request], decoding(tokenizer)).values()
    assert one.tokens[0] == only


def test_with_and_without_a_grammar_side_by_side_each_draws_as_alone(tiny, grammar: Grammar):
    model, tokenizer = tiny
    prompt, settings = tuple(tokenizer.encode("abc")), decoding(tokenizer)
    free, bound = (Request(prompt=prompt, seeds=(1, 2, 3), grammar=one) for one in (None, grammar))
    together = draw_all(model, [free, bound], settings)
    assert [one.tokens for one in together[0]] == [one.tokens for one in draw_all(model, [free], settings)[0]]
    assert [one.tokens for one in together[1]] == [one.tokens for one in draw_all(model, [bound], settings)[0]]
    assert {nats for one in together[0] for nats in one.allowed_nats} == {0.0}


@pytest.mark.parametrize("engine", [sample, generate_samples])
def test_a_failed_matcher_is_told_from_an_end(tiny, vocabulary: Vocabulary, engine):
    """One that runs out of its limits allows the end token only, as an accepted text does."""
    model, tokenizer = tiny
    limits = LLParserLimits(max_items_in_row=3)
    lark = (
        '%llguidance {"no_forcing": true}\nstart: "a" (b | c | d)*\nb: "a" b? | "b"\nc: "a" c? | "c"\nd: "a" d? | "d"'
    )
    failing = Grammar(_initial=LLMatcher(vocabulary._tokenizer, lark, log_level=0, limits=limits))
    request = Request(prompt=tuple(tokenizer.encode("abc")), seeds=(0, 1), grammar=failing)
    ((_, made),) = engine(model, [request], decoding(tokenizer, max_new_tokens=6))
    assert all(one.failed and not one.ended for one in made)
    assert all(tokenizer.eos_token_id not in one.tokens for one in made)


def test_a_grammar_that_cannot_begin_so_or_cannot_be_compiled_says_so(tiny, vocabulary: Vocabulary, grammar: Grammar):
    _, tokenizer = tiny
    assert grammar.start(tokenizer.encode("ca")) is not None
    assert grammar.start(tokenizer.encode("cb")) is None
    assert "look-ahead" in vocabulary.compile("start: /(?=a)b/")
