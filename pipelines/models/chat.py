"""From messages to the token ids a model reads, through its own chat template, and what that template puts after an
answer."""

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


def turn_end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that the chat template puts after an answer: what a completion that was cut off never wrote."""
    answer = "answer"
    turns = [{"role": "user", "content": "question"}, {"role": "assistant", "content": answer}]
    _, _, after = str(tokenizer.apply_chat_template(turns, tokenize=False)).rpartition(answer)
    return list(tokenizer(after, add_special_tokens=False)["input_ids"])
