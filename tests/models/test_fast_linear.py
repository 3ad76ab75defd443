"""Products by oneDNN against float64, as closely as `F.linear` comes to it."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from peft import LoraConfig, get_peft_model
from torch import nn

from pipelines.models.fast_linear import fast_linear


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_a_models_layer_computes_the_same(bundled):
    model, _ = bundled
    layer = model.model.layers[0].mlp.gate_proj
    inputs = normal(1, 40, layer.in_features)
    with torch.inference_mode():
        exact = F.linear(inputs.double(), layer.weight.double())
        own = layer(inputs)
        with fast_linear(model):
            fast = layer(inputs)
    assert not torch.equal(fast, own)  # another order of summation: oneDNN did it
    assert (fast - exact).abs().max() < 4 * (own - exact).abs().max()


@pytest.mark.parametrize("rows", [1, 7, 8, 41])
@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("is_strided", [True, False])
def test_the_gradient_of_the_input_is_that_of_the_product(rows: int, has_bias: bool, is_strided: bool):
    layer = nn.Linear(48, 80, bias=has_bias).requires_grad_(False)
    inputs, upstream = normal(2, rows, 48).requires_grad_(), normal(2, rows, 80, seed=1)
    if is_strided:
        upstream = normal(2, 80, rows, seed=1).transpose(1, 2)
    with fast_linear(nn.Sequential(layer)):
        output = layer(inputs)
        (found,) = torch.autograd.grad(output, inputs, upstream)
    double = copy.deepcopy(layer).double()
    again = inputs.detach().double().requires_grad_()
    expected = double(again)
    torch.testing.assert_close(output, expected.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(
        found, torch.autograd.grad(expected, again, upstream.double())[0].float(), rtol=1e-5, atol=1e-5
    )


def test_weights_that_are_trained_keep_their_gradient():
    layer = nn.Linear(16, 24)
    inputs = normal(5, 16)
    expected = torch.autograd.grad(layer(inputs).square().sum(), tuple(layer.parameters()))
    with fast_linear(nn.Sequential(layer)):
        found = torch.autograd.grad(layer(inputs).square().sum(), tuple(layer.parameters()))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_under_autocast_a_frozen_layer_computes_in_the_lower_precision():
    layer = nn.Linear(16, 24).requires_grad_(False)
    with fast_linear(nn.Sequential(layer)), torch.autocast("cpu", torch.bfloat16):
        assert layer(normal(5, 16).requires_grad_()).dtype == torch.bfloat16


@pytest.mark.parametrize("use_reentrant", [True, False])
def test_an_adapter_trains_the_same_with_checkpointed_activations(tiny, use_reentrant: bool):
    model, tokenizer = tiny
    settings = LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    torch.manual_seed(0)
    adapted = get_peft_model(copy.deepcopy(model), settings).train()
    adapted.enable_input_require_grads()
    ids = torch.tensor([tokenizer("1 a 2 b 3 and so on")["input_ids"]])

    def gradients() -> list[torch.Tensor]:
        adapted.zero_grad()
        adapted(input_ids=ids, labels=ids).loss.backward()
        return [value.grad.clone() for value in adapted.parameters() if value.grad is not None]

    expected = gradients()
    adapted.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    with fast_linear(adapted):
        found = gradients()
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)
