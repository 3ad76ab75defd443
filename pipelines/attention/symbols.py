"""From the handout's symbols to token ids, one token each, and what may stand before them.

`1 a 2 b 3` as running text is not five tokens to every tokenizer (SmolLM2's makes seven: it isolates digits and keeps
the spaces). So each symbol is encoded by itself and must be exactly one token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from pipelines.errors import DataError

Prefix = Literal["none", "bos", "chat"]


def symbol_ids(tokenizer: PreTrainedTokenizerBase, symbols: Sequence[str]) -> list[int]:
    """One token id per symbol; DataError names the first symbol that is more or fewer, and its pieces."""
    if not symbols:
        raise DataError("the sequence must hold at least one symbol, got none; e.g. 1 a 2 b 3")
    ids = []
    vocabulary = tokenizer.get_vocab()
    for symbol in symbols:
        pieces = tokenizer.encode(symbol, add_special_tokens=False)
        if len(pieces) != 1 and symbol in vocabulary:
            pieces = [vocabulary[symbol]]  # a tokenizer that puts a word mark before a text still has the bare symbol
        if len(pieces) != 1:
            shown = [tokenizer.decode([piece]) for piece in pieces]
            raise DataError(f"symbol {symbol!r} must be one token, got {len(pieces)} ({shown}); choose others")
        ids.append(pieces[0])
    return ids


def text_tokens(tokenizer: PreTrainedTokenizerBase, text: str) -> list[str]:
    """The tokenizer's own split of running text, each piece as text, spaces visible as `␣`."""
    ids = tokenizer.encode(text, add_special_tokens=False)
    return [tokenizer.decode([token]).replace(" ", "␣") for token in ids]


def prefix_ids(tokenizer: PreTrainedTokenizerBase, prefix: Prefix) -> list[int]:
    """Token ids before the symbols: none, the tokenizer's BOS, or its chat template up to the user's text."""
    if prefix == "none":
        return []
    if prefix == "bos":
        if tokenizer.bos_token_id is None:
            raise DataError(
                "prefix must be none or chat for a tokenizer without BOS, got 'bos'; change attention.prefix"
            )
        return [tokenizer.bos_token_id]
    marker = "\N{SNOWMAN}"
    rendered = str(tokenizer.apply_chat_template([{"role": "user", "content": marker}], tokenize=False))
    return list(tokenizer.encode(rendered.partition(marker)[0], add_special_tokens=False))
