"""Grammars over token ids: which tokens may come next, for every branch of a batch, by `llguidance`.

Reads a tokenizer and a grammar in llguidance's Lark form; gives a boolean mask of the vocabulary for each branch. No
tokenization is forced: wherever a text can be spelt in several ways, every spelling is allowed, so that drawing under
the masks is drawing from the policy's own distribution, renormalised token by token. Knows nothing of JSON.

llguidance never raises: a matcher that fails allows only the end tokens, which would look like an ordinary end. So its
state is asked for at each step, and a branch whose matcher failed is over, and says so.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool
from llguidance import LLExecutor, LLMatcher, LLTokenizer
from llguidance.hf import from_tokenizer
from llguidance.numpy import allocate_token_bitmask, fill_next_token_bitmask_par
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from pipelines.errors import ModelError


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Grammar:
    """A compiled grammar; `start` begins a text."""

    _initial: LLMatcher

    def start(self, tokens: Sequence[int] = ()) -> LLMatcher | None:
        """A matcher at the beginning of a text, or behind its first tokens; None where no text begins with these."""
        matcher = self._initial.deep_copy()
        return matcher if matcher.validate_tokens(list(tokens)) == len(tokens) and follow(matcher, tokens) else None


class Vocabulary:
    """A tokenizer as llguidance needs it: made once per model, about half a second."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase, width: int, end_tokens: Sequence[int]) -> None:
        """`width` is that of the logits. Raises ModelError for a tokenizer that is not a fast one."""
        try:
            self._tokenizer: LLTokenizer = from_tokenizer(tokenizer, n_vocab=width, eos_token=list(end_tokens))
        except ValueError as error:
            raise ModelError(f"no grammar can be drawn under with this tokenizer ({error}); use a fast one") from error
        self._compiled = functools.lru_cache(maxsize=1024)(self._compile)

    def compile(self, text: str) -> Grammar | str:
        """The grammar of a Lark text, or in words why llguidance refuses it. The same text is compiled once."""
        return self._compiled(text)

    def _compile(self, text: str) -> Grammar | str:
        is_error, messages = LLMatcher.validate_grammar_with_warnings(text, self._tokenizer)
        if is_error:
            return str(messages[0])
        matcher = LLMatcher(self._tokenizer, text, log_level=0)
        return matcher.get_error() if matcher.is_error() else Grammar(_initial=matcher)


def follow(matcher: LLMatcher, tokens: Sequence[int]) -> bool:
    """Move a matcher on; False where it fails."""
    return bool(matcher.consume_tokens(list(tokens))) and not matcher.is_error()


@functools.cache
def _executor() -> LLExecutor:
    return LLExecutor(torch.get_num_threads())


def allowed_next(matchers: Sequence[LLMatcher | None], width: int) -> Bool[Tensor, "branch vocabulary"]:
    """Which tokens each may draw next; all of them where there is no matcher. To be asked `is_error()` afterwards."""
    bits = allocate_token_bitmask(len(matchers), width)
    asked = [(matcher, row) for row, matcher in enumerate(matchers) if matcher is not None]
    if asked:
        fill_next_token_bitmask_par(_executor(), asked, bits)
    unpacked = np.unpackbits(bits.view(np.uint8), axis=1, count=width, bitorder="little")
    return torch.from_numpy(unpacked.view(np.bool_))


def forbid(allowed: Bool[Tensor, "branch vocabulary"], tokens: Sequence[int]) -> None:
    """Take tokens out of what each may draw, in place, but where nothing else would be left."""
    left = allowed.clone()
    left[:, list(tokens)] = False
    allowed &= left | ~left.any(-1, keepdim=True)
