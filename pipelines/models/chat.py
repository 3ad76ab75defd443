"""From messages to the token ids a model reads, through its own chat template."""

from __future__ import annotations

from transformers import PreTrainedTokenizerBase

from pipelines.errors import ModelError
from pipelines.records import Message


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """Token ids of the conversation up to the point where the assistant's answer begins."""
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{tokenizer.name_or_path} has no chat template; use an instruction-tuned model, or put a "
            "chat_template.jinja into its folder"
        )
    encoding = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(encoding["input_ids"])
