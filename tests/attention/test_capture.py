from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from pipelines.attention import AttentionMaps, probe, symbol_ids
from pipelines.attention.maps import check
from pipelines.errors import DataError

HANDOUT = ("1", "a", "2", "b", "3")


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


def test_running_text_is_seven_tokens_where_symbols_are_five(bundled):
    _, tokenizer = bundled
    assert len(tokenizer.encode("1 a 2 b 3")) == 7
    assert len(symbol_ids(tokenizer, HANDOUT)) == 5


def test_a_symbol_of_several_tokens_is_named_with_its_pieces(bundled):
    _, tokenizer = bundled
    with pytest.raises(DataError, match=r"symbol '12' must be one token, got 2 \(\['1', '2'\]\)"):
        symbol_ids(tokenizer, ["1", "12"])


@pytest.mark.parametrize("prefix", ["none", "bos", "chat"])
def test_a_prefix_stands_before_the_symbols(policy, prefix: str):
    maps = probe(*policy, HANDOUT, prefix=prefix)
    assert maps.tokens[maps.prefix_tokens :] == HANDOUT
    assert (maps.prefix_tokens > 0) == (prefix != "none")
    assert maps.symbols_only().shape[-2:] == (5, 5)


def test_maps_come_back_from_their_files_without_a_model(tiny, tmp_path: Path):
    maps = probe(*tiny, HANDOUT, info={"phase": "before"})
    maps.save(tmp_path / "before")
    back = AttentionMaps.load(tmp_path / "before")
    assert np.array_equal(back.weights, maps.weights)
    assert (back.tokens, back.ids, back.checks, back.info) == (maps.tokens, maps.ids, maps.checks, maps.info)


def test_a_damaged_file_is_named(tiny, tmp_path: Path):
    probe(*tiny, HANDOUT).save(tmp_path / "before")
    (tmp_path / "before.safetensors").write_bytes(b"torn")
    with pytest.raises(DataError, match=r"before.\*: cannot be read"):
        AttentionMaps.load(tmp_path / "before")


@pytest.mark.parametrize(
    ("weights", "broken"),
    [
        ([[1.0, 1e-9], [0.5, 0.5]], "hidden_max, future_max"),
        ([[1.0, 0.0], [0.5, 0.4]], "row_sum_error"),
        ([[1.0, 0.0], [float("nan"), 0.5]], "finite"),
    ],
)
def test_a_broken_map_is_an_error(weights: list, broken: str):
    visible = np.tril(np.ones((1, 2, 2), dtype=bool))
    with pytest.raises(DataError, match=f"attention maps break {broken}"):
        check(np.array([[weights]], dtype=np.float32), visible)
