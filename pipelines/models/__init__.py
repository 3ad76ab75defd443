"""Where policies come from: the bundled model, local folders, the Hub, and a tiny random model for tests."""

from pipelines.models.adapters import attach_adapter
from pipelines.models.chat import render_prompt
from pipelines.models.loading import load_model, load_tokenizer, model_identity
from pipelines.models.structure import attends_to_all

__all__ = ["attach_adapter", "attends_to_all", "load_model", "load_tokenizer", "model_identity", "render_prompt"]
