"""From a sequence of symbols to token ids, and which tokens make up which symbol.

`1 a 2 b 3` as running text is not five tokens to every tokenizer: SmolLM2's makes seven, because it isolates digits and
keeps the spaces before them. So there are two ways, and the maps say which: `symbols` encodes each symbol by itself and
wants exactly one token; `text` takes the tokenizer's own split and remembers each symbol's tokens. A text is split into
symbols where all of them are single tokens, and as the tokenizer does elsewhere: prose is rarely the former.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

from pipelines.errors import DataError

Prefix = Literal["none", "bos", "chat"]
Split = Literal["symbols", "text"]


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class TokenSequence:
    """Token ids with what stands for what."""

    ids: tuple[int, ...]
    """Prefix and symbols."""
    prefix_tokens: int
    groups: tuple[tuple[int, ...], ...]
    """Positions in `ids` of each symbol's tokens, in order."""
    split: Split
    prefix: Prefix

    @classmethod
    def of_ids(cls, ids: Sequence[int]) -> TokenSequence:
        """Ids as they are, each its own symbol, nothing before them."""
        groups = tuple((place,) for place in range(len(ids)))
        return cls(ids=tuple(ids), prefix_tokens=0, groups=groups, split="symbols", prefix="none")


def encode(
    tokenizer: PreTrainedTokenizerBase,
    text: str | Sequence[str],
    *,
    split: Split | None = None,
    prefix: Prefix = "none",
) -> TokenSequence:
    """The tokens of a text, or of symbols given one by one, after an optional prefix.

    Args:
        tokenizer: The model's own.
        text: Symbols separated by spaces, prose, or a list of symbols.
        split: `symbols` for one token a symbol, `text` for the tokenizer's own split; None takes `own_split` of a
            text, and one token a symbol of a list.
        prefix: What stands before the text: nothing, BOS, or the chat template up to the user's words.

    Returns:
        Token ids, and which of them make up each symbol.

    Raises:
        DataError: A symbol is not one token (`symbols`), a token reaches over two symbols (`text`), there is no
            symbol, or the tokenizer has no such prefix.

    Example:
        >>> encode(tokenizer, "1 a 2 b 3").groups
        ((0,), (1,), (2,), (3,), (4,))
    """
    symbols = text.split() if isinstance(text, str) else list(text)
    if not symbols:
        raise DataError("the sequence must hold at least one symbol, got none; e.g. 1 a 2 b 3")
    if split is None:
        split = own_split(tokenizer, text) if isinstance(text, str) else "symbols"
    before = prefix_ids(tokenizer, prefix)
    if split == "symbols":
        ids = symbol_ids(tokenizer, symbols)
        groups = [[position] for position in range(len(ids))]
    else:
        ids, groups = _text_groups(tokenizer, text if isinstance(text, str) else " ".join(symbols))
    return TokenSequence(
        ids=(*before, *ids),
        prefix_tokens=len(before),
        groups=tuple(tuple(len(before) + position for position in group) for group in groups),
        split=split,
        prefix=prefix,
    )


def own_split(tokenizer: PreTrainedTokenizerBase, text: str) -> Split:
    """`symbols` where each symbol of the text is one token by itself, else `text`."""
    pieces = _pieces(tokenizer, text.split())
    return "symbols" if all(len(ids) == 1 for ids in pieces) else "text"


def symbol_ids(tokenizer: PreTrainedTokenizerBase, symbols: Sequence[str]) -> list[int]:
    """One token id per symbol; DataError names the first symbol that is more or fewer, and its pieces."""
    pieces = _pieces(tokenizer, symbols)
    for symbol, ids in zip(symbols, pieces, strict=True):
        if len(ids) != 1:
            shown = [tokenizer.decode([one]) for one in ids]
            raise DataError(
                f"symbol {symbol!r} must be one token, got {len(ids)} ({shown}); choose others, or take the "
                "tokenizer's own split with --tokens text"
            )
    return [ids[0] for ids in pieces]


def _pieces(tokenizer: PreTrainedTokenizerBase, symbols: Sequence[str]) -> list[list[int]]:
    """Each symbol's tokens by itself."""
    pieces = [list(tokenizer.encode(symbol, add_special_tokens=False)) for symbol in symbols]
    if all(len(ids) == 1 for ids in pieces):
        return pieces
    vocabulary = tokenizer.get_vocab()
    # A tokenizer that puts a word mark before a text still has the bare symbol.
    return [
        [vocabulary[symbol]] if len(ids) != 1 and symbol in vocabulary else ids
        for symbol, ids in zip(symbols, pieces, strict=True)
    ]


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
    if tokenizer.chat_template is None:
        raise DataError("prefix must be none or bos for a tokenizer without a chat template, got 'chat'")
    marker = "\N{SNOWMAN}"
    rendered = str(tokenizer.apply_chat_template([{"role": "user", "content": marker}], tokenize=False))
    return list(tokenizer.encode(rendered.partition(marker)[0], add_special_tokens=False))


def _text_groups(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[list[int], list[list[int]]]:
    """The tokenizer's own split, and the tokens of each word; a token of spaces alone belongs to the word after it."""
    if not tokenizer.is_fast:
        raise DataError(
            "the tokenizer's own split needs a fast tokenizer, which knows where its tokens begin; "
            "give symbols of one token each"
        )
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    words = [match.span() for match in re.finditer(r"\S+", text)]
    groups: list[list[int]] = [[] for _ in words]
    waiting: list[int] = []
    for position, (start, end) in enumerate(encoded["offset_mapping"]):
        touched = [index for index, (first, last) in enumerate(words) if first < end and start < last]
        if len(touched) > 1:
            raise DataError(
                f"token {text[start:end]!r} must lie within one symbol, got {len(touched)}; put spaces elsewhere"
            )
        if not touched:
            waiting.append(position)
            continue
        groups[touched[0]] += [*waiting, position]
        waiting = []
    groups[-1] += waiting
    return list(encoded["input_ids"]), groups
