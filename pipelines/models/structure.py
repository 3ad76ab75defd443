"""What a model's config says of its attention."""

from __future__ import annotations

import inspect
import sys
from typing import Any

from transformers import PreTrainedModel

_LENGTH_DEPENDENT = ("dynamic", "longrope")
"""Position embeddings whose frequencies follow from the longest sequence of the batch."""


def packable_tokens(model: PreTrainedModel) -> int:
    """Up to how many tokens sequences computed in one row, told apart by a mask and `position_ids`, get what they would
    get alone: `sys.maxsize`, the sliding window, or 0 for none.

    Every layer must let a token see all earlier ones, wherever `position_ids` says it stands; one that slides does so
    for sequences no longer than its window, the token itself included. Linear attention, state spaces, encoders, and
    position embeddings that depend on the longest sequence make it 0.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    window = getattr(config, "sliding_window", None)
    packs = (
        not getattr(config, "is_encoder_decoder", False)
        and kinds <= {"full_attention", "sliding_attention"}
        and not ("sliding_attention" in kinds and not window)
        and not _depends_on_length(getattr(config, "rope_parameters", None))
        and "position_ids" in inspect.signature(type(model).forward).parameters
    )
    return (window or sys.maxsize) if packs else 0


def _depends_on_length(rope: Any) -> bool:
    """`rope` is a mapping of parameters, or of one such mapping per kind of layer."""
    if not isinstance(rope, dict):
        return False
    own = rope.get("rope_type") in _LENGTH_DEPENDENT
    return own or any(_depends_on_length(parameters) for parameters in rope.values())
