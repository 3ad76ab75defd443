from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from pipelines.attention import Selection, encode, probe, probe_scores
from pipelines.attention.checks import check_layer, check_recomputed
from pipelines.attention.scores import score_maps
from pipelines.errors import ConfigError, DataError, ModelError
from tests.attention.planted import HANDOUT


@pytest.fixture(params=["tiny", "bundled"])
def policy(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


def test_every_layer_and_head_has_one_row_per_symbol(bundled):
    maps = probe(*bundled, HANDOUT)
    assert maps.weights.shape == (30, 9, 5, 5)
    assert maps.tokens == HANDOUT


def test_weights_on_later_tokens_are_exactly_zero_and_rows_sum_to_one(policy):
    maps = probe(*policy, HANDOUT)
    assert maps.weights[..., np.triu_indices(5, k=1)[0], np.triu_indices(5, k=1)[1]].max() == 0.0
    np.testing.assert_allclose(maps.weights.sum(-1), 1, atol=1e-5)


def test_weights_equal_the_models_own_output_to_the_bit(policy):
    model, _ = policy
    maps = probe(*policy, HANDOUT)
    model.set_attn_implementation("eager")
    with torch.inference_mode():
        ids = torch.tensor([maps.ids])
        own = model(ids, attention_mask=torch.ones_like(ids), use_cache=False, output_attentions=True).attentions
    model.set_attn_implementation("sdpa")
    assert np.array_equal(maps.weights, torch.cat(own).numpy())


def test_weights_equal_a_recomputation_from_queries_and_keys(bundled):
    """Softmax of the scaled, masked products, by hand from the projections' outputs."""
    model, _ = bundled
    maps = probe(*bundled, HANDOUT)
    ids = torch.tensor([maps.ids])
    layer = 6
    attention = model.model.layers[layer].self_attn
    with torch.inference_mode():
        states = model(ids, output_hidden_states=True).hidden_states[layer]
        normed = model.model.layers[layer].input_layernorm(states)
        query = attention.q_proj(normed).view(1, 5, 9, 64).transpose(1, 2)
        key = attention.k_proj(normed).view(1, 5, 3, 64).transpose(1, 2)
        query, key = apply_rotary_pos_emb(query, key, *model.model.rotary_emb(normed, torch.arange(5)[None]))
        scores = query @ key.repeat_interleave(3, dim=1).transpose(-1, -2) / 8
        scores = scores.masked_fill(torch.triu(torch.ones(5, 5, dtype=torch.bool), 1), float("-inf"))
        expected = scores.softmax(-1)[0].numpy()
    np.testing.assert_allclose(maps.weights[layer], expected, atol=1e-6)


def test_changing_the_last_symbol_changes_no_earlier_row(policy):
    one, other = probe(*policy, HANDOUT), probe(*policy, (*HANDOUT[:-1], "7"))
    assert np.array_equal(one.weights[:, :, :-1], other.weights[:, :, :-1])
    assert not np.array_equal(one.weights[:, :, -1], other.weights[:, :, -1])


def test_the_model_is_left_as_it_was_found(policy):
    model, tokenizer = policy
    model.train()
    hooks = sum(len(module._forward_hooks) for module in model.modules())
    probe(model, tokenizer, HANDOUT)
    assert model.training
    assert model.config._attn_implementation == "sdpa"
    assert sum(len(module._forward_hooks) for module in model.modules()) == hooks
    model.eval()


@pytest.mark.parametrize(
    ("weights", "broken"),
    [
        ([[1.0, 1e-9], [0.5, 0.5]], "hidden_max, future_max"),
        ([[1.0, 0.0], [0.5, 0.4]], "row_sum_error"),
        ([[1.0, 0.0], [float("nan"), 0.5]], "finite"),
    ],
)
def test_a_broken_map_is_an_error(weights: list, broken: str):
    visible = np.tril(np.ones((2, 2), dtype=bool))
    with pytest.raises(DataError, match=f"attention maps break {broken}"):
        check_layer(np.array([weights], dtype=np.float32), visible)


def test_a_sinks_share_is_no_excuse_for_weights_of_another_softmax():
    logits = np.zeros((1, 2, 2), np.float32)
    weights = np.array([[[0.5, 0.0], [0.2, 0.2]]], np.float32)  # half of row 0 and a third of row 1 are the sink's
    visible, sink = np.tri(2, dtype=bool), np.array([[0.5, 1 / 3]], np.float32)
    with pytest.raises(DataError, match="recomputed_difference"):
        check_recomputed(weights, visible, logits, sink=sink)
    weights[0, 1] = 1 / 3
    assert check_recomputed(weights, visible, logits, sink=sink)["recomputed_difference"] < 1e-6


def test_weights_that_are_no_softmax_of_their_logits_are_an_error(tiny):
    maps = probe(*tiny, HANDOUT)
    with pytest.raises(DataError, match="recomputed_difference"):
        check_recomputed(maps.weights[0], maps.visible[0], maps.logits[0] * 1.1)


def test_softmax_of_the_stored_logits_under_the_stored_mask_gives_the_weights(bundled):
    maps = probe(*bundled, HANDOUT)
    shown = torch.from_numpy(maps.logits).masked_fill(~torch.from_numpy(maps.visible)[:, None], float("-inf"))
    np.testing.assert_allclose(maps.weights, shown.softmax(-1).numpy(), atol=1e-6)


def test_without_a_mask_the_same_weights_look_ahead_and_rows_still_sum_to_one(bundled):
    maps = probe(*bundled, HANDOUT, Selection(masked=False))
    assert maps.visible.all()
    assert maps.checks["future_max"] > 0.1
    np.testing.assert_allclose(maps.weights.sum(-1), 1, atol=1e-5)
    # The first layer has seen no other layer's change: its logits are those of the masked pass.
    np.testing.assert_allclose(maps.logits[0], probe(*bundled, HANDOUT).logits[0], atol=1e-5)


def test_a_selection_is_the_same_numbers_as_in_the_whole(bundled):
    some = probe(*bundled, HANDOUT, Selection(layers=(6, 2), heads=(1, 8)))
    assert (some.layers, some.heads) == ((2, 6), (1, 8))
    assert np.array_equal(some.weights, probe(*bundled, HANDOUT).weights[[2, 6]][:, [1, 8]])


@pytest.mark.parametrize(("field", "highest"), [("layers", 29), ("heads", 8)])
def test_a_layer_or_head_that_is_not_there_is_named(bundled, field: str, highest: int):
    with pytest.raises(ConfigError, match=rf"{field} must be numbers from 0 to {highest}, got \[99\]"):
        probe(*bundled, HANDOUT, Selection(**{field: (99,)}))


def test_the_model_is_left_as_it_was_found_after_an_error_in_the_pass(tiny):
    model, tokenizer = tiny
    hook = model.model.layers[1].mlp.register_forward_pre_hook(lambda *_: 1 / 0)
    model.train()
    with pytest.raises(ZeroDivisionError):
        probe(model, tokenizer, HANDOUT)
    hook.remove()
    assert (model.training, model.config._attn_implementation) == (True, "sdpa")
    model.eval()
    probe(model, tokenizer, HANDOUT)


def test_a_pass_that_is_not_the_models_own_is_refused(tiny, monkeypatch: pytest.MonkeyPatch):
    """An eager implementation that disagrees with the default one by more than rounding."""
    import transformers.models.llama.modeling_llama as llama

    eager = llama.eager_attention_forward

    def shifted(*arguments, **settings):
        output, weights = eager(*arguments, **settings)
        return output + 0.1, weights

    monkeypatch.setattr(llama, "eager_attention_forward", shifted)
    with pytest.raises(ModelError, match="eager attention changes the logits by"):
        probe(*tiny, HANDOUT)


def test_scores_of_a_streamed_pass_are_those_of_the_whole_maps(tiny):
    model, tokenizer = tiny
    sequence = encode(tokenizer, [*"1a2b3c4d5e"] * 4)
    streamed, checks = probe_scores(model, tokenizer, sequence)
    maps = probe(model, tokenizer, sequence)
    whole = {score.definition.name: score.values for score in score_maps(maps)}
    assert len(streamed) > 5
    for name, values in streamed.items():
        np.testing.assert_allclose(values, whole[name], atol=1e-6, err_msg=name)
    assert checks["row_sum_error"] == pytest.approx(maps.checks["row_sum_error"], abs=1e-6)
