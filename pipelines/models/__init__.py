"""Where policies come from: the bundled model, local folders, the Hub, and a tiny random model for tests."""

from pipelines.models.adapters import attach_adapter
from pipelines.models.chat import render_prompt
from pipelines.models.loading import load_model, load_tokenizer, model_identity
from pipelines.models.structure import can_be_packed

__all__ = ["attach_adapter", "can_be_packed", "load_model", "load_tokenizer", "model_identity", "render_prompt"]
