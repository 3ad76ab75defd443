"""What a refusal of a document says, and the limits a document is held to.

Leaves `JSONRejected`, its closed vocabulary `REASONS`, and the limits as constants. The limits are this package's own,
below those of any interpreter or parser underneath, so that a document's verdict depends on the document alone.
Decides nothing itself: `parsing` accepts, `automaton` finds the fault.
"""

from __future__ import annotations

from typing import Final, Literal, get_args

MAX_BYTES: Final = 16 * 1024 * 1024
"""Largest document, in bytes of UTF-8 (of a str: of its encoding). A larger one is refused unread, at offset 0."""
MAX_DEPTH: Final = 200
"""Deepest nesting of arrays and objects; `[]` is 1 deep. The schema validator takes in no more than 253."""
MAX_DIGITS: Final = 640
"""Longest run of digits in a number: its integer part, its fraction and its exponent each. Python's limit on int <->
str can be set no lower (`sys.int_info.str_digits_check_threshold`), so no setting of the process changes a verdict."""

Reason = Literal[
    "unexpected_end",  # nothing wrong so far, but the text is over
    "unexpected_character",
    "trailing_text",  # anything but white space after a whole document
    "trailing_comma",
    "invalid_literal",  # `nul]`, `falze`
    "invalid_number",  # `01`, `1.]`, `-x`
    "invalid_escape",
    "control_character",  # a raw one inside a string
    "invalid_unicode",  # bytes that are not UTF-8, or a raw surrogate, inside a string
    "byte_order_mark",
    "number_out_of_range",  # has a fraction or an exponent and would overflow a 64-bit float
    "too_many_digits",
    "too_deep",
    "too_large",
]
REASONS: Final[tuple[str, ...]] = get_args(Reason)


class JSONRejected(ValueError):  # noqa: N818 - a verdict on the document, not an error
    """A document that is not JSON, or is beyond the limits: `.reason` says why and `.offset` where.

    `.offset` is the length of the longest prefix that some continuation would make an accepted document, limits
    included; 0-based, in characters of a str or bytes of bytes. It equals the document's length when the document is
    merely unfinished. Only `too_large` is not located: such a document is not read, and its offset is 0.
    """

    def __init__(self, reason: Reason, offset: int) -> None:
        super().__init__(reason, offset)  # both in args, so that it pickles
        self.reason: Reason = reason
        self.offset = offset

    def __str__(self) -> str:
        return f"{self.reason} at offset {self.offset}"
