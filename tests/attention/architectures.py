"""Tiny random models of every attention that the probe claims to read, and what their configs say of it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GPT2Config,
    GptOssConfig,
    LlamaConfig,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
    Qwen3Config,
)

from pipelines.attention import AttentionMaps, TokenSequence, probe
from tests.tiny import tiny_tokenizer

IDS = tuple(int(token) for token in np.random.default_rng(0).integers(3, 259, size=11))
WINDOW = 4
_SIZES = {
    "vocab_size": 259,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 256,
    "initializer_range": 0.2,
}
_SLIDING = {"layer_types": ["sliding_attention", "full_attention"] * 2, "sliding_window": WINDOW}
CONFIGS = {
    "llama": LlamaConfig(**_SIZES),
    "qwen3": Qwen3Config(**_SIZES),
    "gpt2": GPT2Config(vocab_size=259, n_embd=32, n_layer=4, n_head=4, n_positions=256, initializer_range=0.2),
    "gemma2": Gemma2Config(**_SIZES, **_SLIDING, attn_logit_softcapping=2.0),
    "gemma3": Gemma3TextConfig(**_SIZES, **_SLIDING),
    "gpt_oss": GptOssConfig(**_SIZES, **_SLIDING, num_local_experts=2, num_experts_per_tok=1),
}
SINKS = {"gpt_oss"}
EAGER_ONLY = {"gemma2", "gpt_oss"}
"""Soft caps and sinks: transformers has no SDPA for them."""


def build(name: str, seed: int = 0) -> PreTrainedModel:
    """A model with random weights whose attention is far from uniform."""
    return build_of(CONFIGS[name], "eager" if name in EAGER_ONLY else "sdpa", seed)


def windowed(name: str, window: int, **changes: Any) -> PreTrainedModel:
    """`build` with another sliding window, wide enough for a whole sequence."""
    known = {**CONFIGS, "mistral": MistralConfig(**_SIZES)}[name]
    sliding = {"sliding_window": window}
    if name != "mistral":  # whose layers all slide
        sliding["layer_types"] = _SLIDING["layer_types"]
    if name == "qwen3":
        sliding["use_sliding_window"] = True
    config = type(known)(**{**known.to_dict(), **sliding, **changes})
    return build_of(config, "eager" if name in EAGER_ONLY else "sdpa")


def build_of(config: PreTrainedConfig, implementation: str, seed: int = 0) -> PreTrainedModel:
    """The config's model with random weights; the same seed gives the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForCausalLM.from_config(config, attn_implementation=implementation)
        for part in model.modules():
            if getattr(part, "sinks", None) is not None:
                torch.nn.init.normal_(part.sinks)
    return model.eval()


def probe_ids(model: PreTrainedModel, ids: tuple[int, ...] = IDS) -> AttentionMaps:
    """The maps of ids as they are; a byte-level tokenizer names them."""
    return probe(model, tiny_tokenizer(), TokenSequence.of_ids(ids))
