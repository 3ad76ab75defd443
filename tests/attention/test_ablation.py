from __future__ import annotations

import copy

import numpy as np
import pytest
import torch

from pipelines.attention.ablation import ablate_heads
from pipelines.errors import ConfigError
from tests.attention.architectures import CONFIGS, IDS, build


def log_probabilities(model) -> np.ndarray:
    with torch.inference_mode():
        logits = model(torch.tensor([IDS])).logits[0, :-1].double().log_softmax(-1)
    return logits.gather(-1, torch.tensor(IDS)[1:, None])[:, 0].numpy()


@pytest.mark.parametrize("name", ["llama", "gpt2", "qwen3"])
def test_an_ablated_head_is_one_whose_columns_of_the_output_projection_are_zero(name: str):
    model = build(name)
    without = copy.deepcopy(model)
    with torch.no_grad():
        if name == "gpt2":  # Conv1D keeps its weight as inputs × outputs
            without.transformer.h[2].attn.c_proj.weight[8:16] = 0
        else:
            without.model.layers[2].self_attn.o_proj.weight[:, 16:32] = 0
    expected = log_probabilities(without) - log_probabilities(model)
    np.testing.assert_allclose(ablate_heads(model, IDS, 2, [1])[0], expected, atol=1e-5)
    assert np.abs(expected).max() > 1e-3


def test_the_mean_over_positions_is_another_ablation_than_nothing():
    model = build("llama")
    assert not np.allclose(ablate_heads(model, IDS, 2, [1]), ablate_heads(model, IDS, 2, [1], "mean"))


def test_several_heads_are_taken_away_one_at_a_time():
    model = build("llama")
    alone = np.concatenate([ablate_heads(model, IDS, 2, [head]) for head in (1, 3)])
    np.testing.assert_array_equal(ablate_heads(model, IDS, 2, [1, 3]), alone)
    assert not np.allclose(alone[0], alone[1])


def test_the_model_is_left_to_the_bit_as_it_was():
    model = build("llama")
    before = log_probabilities(model)
    ablate_heads(model, IDS, 0, [3])
    assert np.array_equal(log_probabilities(model), before)
    assert not any(module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(("layer", "head", "named"), [(4, 0, "layer"), (0, 4, "head")])
def test_a_head_that_is_not_there_is_named(layer: int, head: int, named: str):
    with pytest.raises(ConfigError, match=f"{named} must be a number from 0 to 3, got 4"):
        ablate_heads(build("llama"), IDS, layer, [head])


def test_every_covered_architecture_can_be_ablated():
    for name in CONFIGS:
        assert np.isfinite(ablate_heads(build(name), IDS, 1, [0])).all(), name
