"""What a model's config says of its attention."""

from __future__ import annotations

import inspect
from typing import Any

from transformers import PreTrainedModel

_LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Position embeddings whose frequencies follow from the longest sequence of the batch."""


def can_be_packed(model: PreTrainedModel) -> bool:
    """Whether sequences computed in one row, told apart by a mask and `position_ids`, get what they would get alone.

    Every layer must let a token see all earlier ones, wherever `position_ids` says it stands. Sliding windows, linear
    attention, state spaces, encoders, and position embeddings that depend on the longest sequence make it False.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        not getattr(config, "is_encoder_decoder", False)
        and not getattr(config, "sliding_window", None)
        and kinds == {"full_attention"}
        and not _depends_on_length(getattr(config, "rope_parameters", None))
        and "position_ids" in inspect.signature(type(model).forward).parameters
    )


def _depends_on_length(rope: Any) -> bool:
    """`rope` is a mapping of parameters, or of one such mapping per kind of layer."""
    if not isinstance(rope, dict):
        return False
    own = rope.get("rope_type") in _LENGTH_DEPENDENT
    return own or any(_depends_on_length(parameters) for parameters in rope.values())
