from __future__ import annotations

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

from pipelines.attention import encode, probe, symbol_ids
from pipelines.errors import DataError
from pipelines.text import escape
from tests.attention.planted import HANDOUT


def test_running_text_is_seven_tokens_where_symbols_are_five(bundled):
    _, tokenizer = bundled
    assert len(tokenizer.encode("1 a 2 b 3")) == 7
    assert len(symbol_ids(tokenizer, HANDOUT)) == 5


def test_a_symbol_of_several_tokens_is_named_with_its_pieces(bundled):
    _, tokenizer = bundled
    with pytest.raises(DataError, match=r"symbol '12' must be one token, got 2 \(\['1', '2'\]\)"):
        symbol_ids(tokenizer, ["1", "12"])


@pytest.mark.parametrize(
    ("text", "split"),
    [("1 a 2 b 3", "symbols"), ("Unbelievable prose, with commas.", "text"), ("1 a 12", "text")],
)
def test_a_text_is_split_a_token_a_symbol_where_each_symbol_is_one_and_as_the_tokenizer_does_elsewhere(
    bundled, text: str, split: str
):
    sequence = encode(bundled[1], text)
    assert sequence.split == split
    assert len(sequence.groups) == len(text.split())


def test_symbols_given_one_by_one_are_one_token_each_or_refused(bundled):
    with pytest.raises(DataError, match=r"symbol '12' must be one token.*--tokens text"):
        encode(bundled[1], ["1", "a", "12"])


@pytest.mark.parametrize("prefix", ["none", "bos", "chat"])
def test_a_prefix_stands_before_the_symbols(bundled, prefix: str):
    model, tokenizer = bundled
    maps = probe(model, tokenizer, encode(tokenizer, HANDOUT, prefix=prefix))
    assert maps.tokens[maps.prefix_tokens :] == HANDOUT
    assert (maps.prefix_tokens > 0) == (prefix != "none")
    assert maps.symbols_only().shape[-2:] == (5, 5)


def test_running_text_keeps_which_tokens_make_up_each_symbol(bundled):
    _, tokenizer = bundled
    sequence = encode(tokenizer, "1 a 2 b 3", split="text", prefix="chat")
    own = tokenizer.encode("1 a 2 b 3")
    assert list(sequence.ids[sequence.prefix_tokens :]) == own
    members = [tokenizer.decode([sequence.ids[position] for position in group]) for group in sequence.groups]
    assert [text.strip() for text in members] == list(HANDOUT)
    assert sorted(position for group in sequence.groups for position in group) == [
        sequence.prefix_tokens + place for place in range(len(own))
    ]


def test_merged_weights_are_sums_over_keys_and_means_over_queries(bundled):
    maps = probe(*bundled, encode(bundled[1], "1 a 2 b 3", split="text"))
    merged = maps.merged()
    for query, rows in enumerate(maps.groups):
        for key, columns in enumerate(maps.groups):
            by_hand = np.mean([maps.weights[6, 1, row, list(columns)].sum() for row in rows])
            assert merged[6, 1, query, key] == pytest.approx(by_hand, abs=1e-6)
    assert merged[..., *np.triu_indices(5, k=1)].max() == 0.0
    np.testing.assert_allclose(merged.sum(-1), 1, atol=1e-5)


def test_a_token_over_two_symbols_is_named():
    vocabulary = {"1": 0, " ": 1, "a": 2, "1 ": 3, "1 a": 4}
    merges = [("1", " "), ("1 ", "a")]
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab=vocabulary, merges=merges)))
    with pytest.raises(DataError, match="token '1 a' must lie within one symbol, got 2"):
        encode(tokenizer, "1 a", split="text")


def test_a_sequence_without_symbols_is_refused(bundled):
    with pytest.raises(DataError, match="must hold at least one symbol"):
        encode(bundled[1], "  ")


def test_a_prefix_that_the_tokenizer_lacks_is_refused():
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(BPE(vocab={"1": 0}, merges=[])))
    for prefix in ("bos", "chat"):
        with pytest.raises(DataError, match=f"got '{prefix}'"):
            encode(tokenizer, "1", prefix=prefix)


def test_a_symbol_cut_between_tokens_keeps_its_text(bundled):
    """Each of its tokens is part of a letter and decodes to no letter alone."""
    model, tokenizer = bundled
    sequence = encode(tokenizer, "😀 1 👩‍🔬", split="text")
    assert max(len(group) for group in sequence.groups) > 2
    assert probe(model, tokenizer, sequence).symbols() == ("😀", "1", "👩‍🔬")


@pytest.mark.parametrize(
    ("text", "shown"), [("\u202eabc", "\\u202eabc"), ("a\x1b[31m", "a\\u001b[31m"), ("é 👩‍🔬", "é 👩‍🔬")]
)
def test_what_would_move_the_cursor_or_turn_the_line_is_spelt_out(text: str, shown: str):
    assert escape(text) == shown
