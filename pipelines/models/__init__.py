"""Where policies come from: the bundled model, local folders and the Hub; adapters, chat templates, KL."""

from pipelines.models.adapters import adapter_identity, attach_adapter, load_trainable, silence_peft_warning
from pipelines.models.chat import render_prompt, turn_end
from pipelines.models.divergence import Continuation, mean_kl_nats, next_tokens
from pipelines.models.loading import load_model, load_tokenizer, model_identity
from pipelines.models.structure import can_be_packed

__all__ = [
    "Continuation",
    "adapter_identity",
    "attach_adapter",
    "can_be_packed",
    "load_model",
    "load_tokenizer",
    "load_trainable",
    "mean_kl_nats",
    "model_identity",
    "next_tokens",
    "render_prompt",
    "silence_peft_warning",
    "turn_end",
]
