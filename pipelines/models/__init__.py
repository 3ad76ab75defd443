"""Where policies come from: the bundled model, local folders, the Hub, and a tiny random model for tests."""

from pipelines.models.adapters import adapter_identity, attach_adapter, load_trainable
from pipelines.models.chat import render_prompt
from pipelines.models.loading import load_model, load_tokenizer, model_identity
from pipelines.models.structure import can_be_packed

__all__ = [
    "adapter_identity",
    "attach_adapter",
    "can_be_packed",
    "load_model",
    "load_tokenizer",
    "load_trainable",
    "model_identity",
    "render_prompt",
]
