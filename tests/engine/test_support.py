"""Which models the engine takes on, and what `generate` does for the others."""

from __future__ import annotations

import warnings

import pytest
from transformers import (
    LlamaConfig,
    LlamaForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from pipelines.config import ModelConfig
from pipelines.engine.requests import (
    Decoding,
    Drawn,
    Request,
    build_processors,
)
from pipelines.engine.support import unsupported_reason
from pipelines.models import load_model
from tests.attention.architectures import CONFIGS, build
from tests.engine.asking import decoding, draw_all, generated, requests_for, teacher_forced


@pytest.mark.parametrize("name", ["llama", "qwen3", "gpt2"])
def test_full_attention_of_any_architecture_is_computed_here(name: str):
    assert unsupported_reason(build(name)) is None


def test_a_model_in_bfloat16_is_sampled_here_too(tiny_folder):
    """As on a GPU; its log-probabilities are those of a teacher-forced pass, as far as 8 bits of mantissa go."""
    model, tokenizer = load_model(ModelConfig(name=str(tiny_folder), dtype="bfloat16"))
    assert unsupported_reason(model) is None
    requests = requests_for(tokenizer)
    for index, samples in draw_all(model, requests, decoding(tokenizer)).items():
        for one in samples:
            expected = teacher_forced(model, requests[index].prompt, one.tokens)
            assert one.logprobs_nats == pytest.approx(expected, abs=0.1)


@pytest.mark.parametrize("name", ["gemma2", "gemma3", "gpt_oss"])
def test_other_attention_falls_back_to_generate_and_says_so(name: str, tiny):
    model, (_, tokenizer) = build(name), tiny
    requests = requests_for(tokenizer, seeds=2)
    with pytest.warns(UserWarning, match="sampling with transformers' generate"):
        made = draw_all(model, requests, decoding(tokenizer, do_sample=False))
    for index, samples in made.items():
        expected = generated(model, tokenizer, requests[index].prompt, 12)
        assert [list(one.tokens) for one in samples] == [expected, expected]


@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_the_longest_sequence_fall_back(kind: str):
    rope = {"rope_type": kind, "rope_theta": 10000.0, "factor": 2.0, "original_max_position_embeddings": 32}
    factors = {"short_factor": [1.0] * 8, "long_factor": [2.0] * 8} if kind == "longrope" else {}
    config = LlamaConfig(**{**CONFIGS["llama"].to_dict(), "rope_parameters": {**rope, **factors}})
    assert "do not pack" in unsupported_reason(LlamaForCausalLM(config).eval())


def test_the_models_own_generation_config_does_not_bend_the_fallback(tiny):
    """transformers fills what a call leaves open from it."""
    model, (_, tokenizer) = build("gemma3"), tiny
    model.generation_config.temperature = 0.01
    request = Request(prompt=tuple(tokenizer.encode("abc")), seeds=tuple(range(64)))
    with pytest.warns(UserWarning, match="do not pack"):
        (made,) = draw_all(model, [request], decoding(tokenizer, max_new_tokens=1)).values()
    assert len({one.tokens for one in made}) > 10
    assert model.generation_config.temperature == 0.01


def test_an_encoder_decoder_is_sampled_by_generate():
    config = T5Config(vocab_size=64, d_model=16, d_kv=8, d_ff=32, num_layers=1, num_heads=2, decoder_start_token_id=0)
    settings = Decoding(
        max_new_tokens=5, end_tokens=(1,), pad_token=0, batch_size=4, processors=build_processors({}), greedy=False
    )
    with pytest.warns(UserWarning, match="do not pack"):
        (made,) = draw_all(
            T5ForConditionalGeneration(config).eval(), [Request(prompt=(5, 6), seeds=(1, 2))], settings
        ).values()
    assert all(1 <= len(one.tokens) == len(one.logprobs_nats) <= 5 for one in made)


def test_a_stop_string_counts_in_the_completion_alone(tiny):
    """Here as in the fallback: the prompt's last letters do not begin one."""
    (model, tokenizer), other = tiny, build("gemma3")
    for policy in (model, other):
        (plain,), *_ = made_of(policy, tokenizer)
        stop = "bz" + tokenizer.decode(plain.tokens[:1])
        assert stop not in tokenizer.decode(plain.tokens)
        (stopped,), *_ = made_of(policy, tokenizer, stop_strings=[stop])
        assert stopped.tokens == plain.tokens


def made_of(model, tokenizer, **generation) -> list[list[Drawn]]:
    request = Request(prompt=tuple(tokenizer.encode("abz")), seeds=(0,))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return list(draw_all(model, [request], decoding(tokenizer, do_sample=False, **generation)).values())


def test_attention_that_only_a_trial_gives_away_falls_back(tiny_folder):
    """A model whose config says nothing unusual, but whose layer scales what it attends to."""
    model, _ = load_model(str(tiny_folder))
    layer = model.model.layers[0].self_attn
    layer.forward = lambda *args, _own=layer.forward, **kwargs: (
        _own(*args, **kwargs)[0] * (2 if model.config._attn_implementation == "sdpa" else 1),
        None,
    )
    assert "computes something else" in unsupported_reason(model)


def test_fallback_samples_have_the_models_log_probabilities(tiny):
    model, (_, tokenizer) = build("gemma3"), tiny
    requests = requests_for(tokenizer, seeds=2)[:2]
    with pytest.warns(UserWarning, match="do not pack"):
        made = draw_all(model, requests, decoding(tokenizer, max_new_tokens=6))
    for index, one in ((index, one) for index, samples in made.items() for one in samples):
        expected = teacher_forced(model, requests[index].prompt, one.tokens)
        assert one.logprobs_nats == pytest.approx(expected, abs=1e-4)
