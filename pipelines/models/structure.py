"""What a model's config says of its attention."""

from __future__ import annotations

import inspect

from transformers import PreTrainedModel


def attends_to_all(model: PreTrainedModel) -> bool:
    """Whether every layer lets a token see all earlier ones, wherever `position_ids` says it stands.

    Sliding windows, linear attention, state spaces and encoders make it False.
    """
    config = model.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return (
        not getattr(config, "is_encoder_decoder", False)
        and not getattr(config, "sliding_window", None)
        and kinds == {"full_attention"}
        and "position_ids" in inspect.signature(type(model).forward).parameters
    )
