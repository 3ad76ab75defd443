"""From messages to the token ids a model reads, through its own chat template, and what that template puts after an
answer."""

from __future__ import annotations

from jinja2 import TemplateError
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from pipelines.errors import ModelError
from pipelines.records import Message

_ANSWER = "forty-two"


def render_prompt(tokenizer: PreTrainedTokenizerBase, messages: list[Message]) -> list[int]:
    """Token ids of the conversation up to the point where the assistant's answer begins."""
    require_chat_template(tokenizer)
    encoding = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=True)
    return list(encoding["input_ids"])


def require_chat_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """ModelError for a tokenizer that cannot write conversations."""
    if tokenizer.chat_template is None:
        raise ModelError(
            f"{tokenizer.name_or_path} has no chat template; use an instruction-tuned model, or put a "
            "chat_template.jinja into its folder"
        )


def turn_end(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """Token ids that the chat template puts after an answer: what a completion that was cut off never wrote."""
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": _ANSWER}]
    try:
        rendered = str(tokenizer.apply_chat_template(turns, tokenize=False))
    except (TemplateError, ValueError):  # it wants other conversations, or there is none
        return []
    before, answer, after = rendered.rpartition(_ANSWER)
    if not answer:
        return []
    # Within the text, where a tokenizer may cut it differently than alone.
    upto, whole = (list(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (before + answer, rendered))
    if whole[: len(upto)] == upto:
        return whole[len(upto) :]
    return list(tokenizer(after, add_special_tokens=False)["input_ids"])


def closing_token(tokenizer: PreTrainedTokenizerBase) -> int | None:
    """The special or added token with which the chat template ends an answer, at most white space before it."""
    added = getattr(tokenizer, "added_tokens_decoder", {})  # of which line breaks may be some
    for token in turn_end(tokenizer):
        if str(tokenizer.decode([token], skip_special_tokens=False)).strip():
            return token if token in added or token in tokenizer.all_special_ids else None
    return None


def end_tokens(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """Ids that end a completion: the model's and the tokenizer's end tokens, and the chat template's."""
    declared = model.generation_config.eos_token_id
    ids = declared if isinstance(declared, list) else [declared]
    found = {*ids, tokenizer.eos_token_id, closing_token(tokenizer)}
    return tuple(sorted(token for token in found if token is not None))
