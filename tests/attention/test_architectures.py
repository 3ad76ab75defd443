"""Every architecture that the probe claims to read, against what its own queries and keys must give."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from pipelines.attention import TokenSequence, probe_batch
from pipelines.attention.capture import LayerAttention, captured, forward
from pipelines.errors import DataError
from tests.attention.architectures import CONFIGS, IDS, SINKS, WINDOW, build, probe_ids
from tests.tiny import tiny_tokenizer


@pytest.fixture(params=sorted(CONFIGS))
def name(request: pytest.FixtureRequest) -> str:
    return request.param


def shown(name: str, layer: int, tokens: int) -> np.ndarray:
    """What the config says that a layer's mask shows."""
    distance = np.arange(tokens)[:, None] - np.arange(tokens)
    kinds = getattr(CONFIGS[name], "layer_types", None)
    sliding = kinds is not None and kinds[layer] == "sliding_attention"
    return (distance >= 0) & ((distance < WINDOW) | (not sliding))


def recomputed(name: str, attention: LayerAttention, module: torch.nn.Module) -> np.ndarray:
    """Softmax in float64 from the layer's queries and keys, the mask from the config, the sink from the parameters."""
    query, key = (tensor[0].double().numpy() for tensor in (attention.queries, attention.keys))
    key = key.repeat(query.shape[0] // key.shape[0], axis=0)
    config = CONFIGS[name]
    logits = query @ key.transpose(0, 2, 1) / np.sqrt(getattr(config, "query_pre_attn_scalar", query.shape[-1]))
    if name == "gemma2":
        logits = config.attn_logit_softcapping * np.tanh(logits / config.attn_logit_softcapping)
    logits = np.where(shown(name, attention.layer, logits.shape[-1]), logits, -np.inf)
    if name in SINKS:
        sink = module.sinks.detach().double().numpy()[:, None, None]
        logits = np.concatenate([logits, np.broadcast_to(sink, (*logits.shape[:-1], 1))], axis=-1)
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return (exponentials / exponentials.sum(-1, keepdims=True))[..., : attention.weights.shape[-1]]


def test_weights_equal_a_recomputation_from_the_models_own_queries_and_keys(name: str):
    model = build(name)
    modules = {getattr(part, "layer_idx", None): part for part in model.modules() if hasattr(part, "layer_idx")}
    modules |= {part.layer_idx: part for part in model.modules() if getattr(part, "sinks", None) is not None}
    worst = []

    def compare(attention: LayerAttention) -> None:
        expected = recomputed(name, attention, modules[attention.layer])
        worst.append(np.abs(attention.weights[0].numpy() - expected).max())

    with captured(model, compare):
        forward(model, torch.tensor([IDS]))
    assert len(worst) == 4
    assert max(worst) < 1e-6


def test_streamed_weights_equal_the_models_own_output_to_the_bit(name: str):
    model = build(name)
    maps = probe_ids(model)
    model.set_attn_implementation("eager")
    ids = torch.tensor([IDS])
    with torch.inference_mode():
        own = model(ids, attention_mask=torch.ones_like(ids), use_cache=False, output_attentions=True).attentions
    assert np.array_equal(maps.weights, torch.cat(own).numpy())


def test_what_the_layers_own_mask_hides_is_exactly_zero_and_nothing_else_is(name: str):
    maps = probe_ids(build(name))
    for layer in range(4):
        expected = shown(name, layer, len(IDS))
        assert np.array_equal(maps.visible[layer], expected)
        assert np.array_equal(maps.weights[layer] > 0, np.broadcast_to(expected, maps.weights[layer].shape))


def test_rows_sum_to_one_less_the_learned_sinks_mass(name: str):
    maps = probe_ids(build(name))
    assert (maps.sink is not None) == (name in SINKS)
    mass = 0 if maps.sink is None else maps.sink
    np.testing.assert_allclose(maps.weights.sum(-1) + mass, 1, atol=1e-6)
    assert maps.sink is None or 0.01 < maps.sink.mean() < 0.99


def test_mass_that_no_sink_takes_is_an_error_on_a_model_with_sinks(monkeypatch: pytest.MonkeyPatch):
    """Rows that lose a tenth: the sink's share comes from its parameter, so it cannot make up for what is missing."""
    import transformers.models.gpt_oss.modeling_gpt_oss as gpt_oss

    eager = gpt_oss.eager_attention_forward

    def leaking(*arguments, **settings):
        output, weights = eager(*arguments, **settings)
        return output, weights * 0.9

    monkeypatch.setattr(gpt_oss, "eager_attention_forward", leaking)
    with pytest.raises(DataError, match="row_sum_error"):
        probe_ids(build("gpt_oss"))


def test_changing_the_last_token_changes_no_earlier_row(name: str):
    model = build(name)
    one, other = probe_ids(model), probe_ids(model, (*IDS[:-1], IDS[-1] - 1))
    # Experts take their tokens in groups: another token among them changes the rounding of their product.
    np.testing.assert_allclose(one.weights[:, :, :-1], other.weights[:, :, :-1], atol=1e-6 if name == "gpt_oss" else 0)
    assert not np.array_equal(one.weights[:, :, -1], other.weights[:, :, -1])


def test_a_left_padded_batch_gives_each_sequence_the_maps_it_has_alone(name: str):
    model = build(name)
    lengths = (11, 3, 7)
    together = probe_batch(model, tiny_tokenizer(), [TokenSequence.of_ids(IDS[:length]) for length in lengths])
    for length, maps in zip(lengths, together, strict=True):
        assert maps.ids == IDS[:length]
        np.testing.assert_allclose(maps.weights, probe_ids(model, IDS[:length]).weights, atol=1e-5)


def test_an_adapter_changes_the_maps_when_it_is_on_and_not_when_it_is_off(name: str):
    alone = probe_ids(build(name))
    targets = ["c_attn"] if name == "gpt2" else ["q_proj", "k_proj"]
    config = LoraConfig(r=2, target_modules=targets, init_lora_weights=False, fan_in_fan_out=name == "gpt2")
    model = get_peft_model(build(name), config)
    with model.disable_adapter():
        assert np.array_equal(probe_ids(model).weights, alone.weights)
    assert np.abs(probe_ids(model).weights - alone.weights).max() > 1e-3


def test_grouped_queries_equal_all_heads_with_their_groups_keys_repeated():
    """Llama's k_proj and v_proj, each key head's rows written out once per query head."""
    grouped = build("llama")
    config = CONFIGS["llama"].__class__(**{**CONFIGS["llama"].to_dict(), "num_key_value_heads": 4})
    full = type(grouped)(config).eval()
    state = grouped.state_dict()
    for name in [name for name in state if name.endswith(("k_proj.weight", "v_proj.weight"))]:
        state[name] = state[name].view(2, 16, 32).repeat_interleave(2, dim=0).reshape(64, 32)
    full.load_state_dict(state)
    np.testing.assert_allclose(probe_ids(full).weights, probe_ids(grouped).weights, atol=1e-6)


def test_value_norms_are_the_length_of_each_keys_value_through_the_heads_own_projection(name: str):
    model = build(name)
    norms, found = probe_ids(model).value_norms, []
    projections = {"gpt2": lambda layer: model.transformer.h[layer].attn.c_proj.weight.T}
    of_layer = projections.get(name, lambda layer: model.model.layers[layer].self_attn.o_proj.weight)

    def compare(attention: LayerAttention) -> None:
        values = attention.values[0].repeat_interleave(4 // attention.values.shape[1], dim=0)
        parts = of_layer(attention.layer).unflatten(1, (4, -1))
        expected = torch.einsum("hkd,ohd->hko", values, parts).norm(dim=-1)
        found.append(np.abs(norms[attention.layer] - expected.detach().numpy()).max())

    with captured(model, compare):
        forward(model, torch.tensor([IDS]))
    assert max(found) < 1e-4
