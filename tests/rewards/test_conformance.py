"""RFC 8259 as a table: what is JSON and its value, what is not, why, and where it stops being a beginning of JSON."""

from __future__ import annotations

import re

import pytest

from pipelines.rewards import JSONRejected, parse_json

ACCEPTED: tuple[tuple[str, object], ...] = (
    ("[]", []),
    ("{}", {}),
    ("[[]   ]", [[]]),
    ("\t\n\r [\n]\r\n", []),
    ("null", None),
    ("true", True),
    ("false", False),
    ("42", 42),
    ("-0.1", -0.1),
    ('""', ""),
    ("[1,null,null,null,2]", [1, None, None, None, 2]),
    ("[0e+1]", [0.0]),
    ("[-0]", [0]),
    ("[-0.0]", [-0.0]),
    ("[-123]", [-123]),
    ("[20e1]", [200.0]),
    ("[1E22]", [1e22]),
    ("[1E-2]", [0.01]),
    ("[1e+2]", [100.0]),
    ("[123.456e78]", [123.456e78]),
    ("[0.000000000000000000000000000000000000000000000000000000000000000000000000000001]", [1e-78]),
    ("1e-400", 0.0),
    ("0e999999", 0.0),
    ("18446744073709551616", 2**64),
    ("-9223372036854775809", -(2**63) - 1),
    ("1.7976931348623157e308", 1.7976931348623157e308),
    ("1" + "0" * 400, 10**400),
    ("9" * 640, 10**640 - 1),
    ("0." + "3" * 640, 1 / 3),
    ("1e" + "0" * 639 + "5", 1e5),
    ('{"asd":"sdf", "dfg":"fgh"}', {"asd": "sdf", "dfg": "fgh"}),
    ('{"a":"b","a":"c"}', {"a": "c"}),
    ('{"":0}', {"": 0}),
    ('{"foo\\u0000bar": 42}', {"foo\0bar": 42}),
    ('{ "min": -1.0e+28, "max": 1.0e+28 }', {"min": -1e28, "max": 1e28}),
    ('{"x":[{"id": "xxx"}], "id": "yyy"}', {"x": [{"id": "xxx"}], "id": "yyy"}),
    ('{\n"a": "b"\n}', {"a": "b"}),
    ('["\\u0060\\u012a\\u12AB"]', ["`\u012a\u12ab"]),
    ('["\\uD801\\udc37"]', ["\U00010437"]),
    ('["\\ud83d\\ude39\\ud83d\\udc8d"]', ["\U0001f639\U0001f48d"]),
    ('["\\"\\\\\\/\\b\\f\\n\\r\\t"]', ['"\\/\b\f\n\r\t']),
    ('["\\\\u0000"]', ["\\u0000"]),
    ('["a/*b*/c/*d//e"]', ["a/*b*/c/*d//e"]),
    ('["\\uFFFF\\uFFFE\\uFDD0"]', ["\uffff\ufffe\ufdd0"]),
    ('["\uffff\U0010ffff\U0001bfff"]', ["\uffff\U0010ffff\U0001bfff"]),
    ('["\\u0821\u2028\u2029\u00a0\u200b\ufeff\x7f"]', ["\u0821\u2028\u2029\u00a0\u200b\ufeff\x7f"]),
    ('"\\ud800"', "\ud800"),
    ('"\\udc00\\ud800"', "\udc00\ud800"),
    ('"\\ud800\\ud800\\udc00"', "\ud800\U00010000"),
    ("[" * 200 + "]" * 200, None),
    ('{"a":' * 200 + "1" + "}" * 200, None),
)
"""(document, value); a value of None for the two deep ones, whose value is not compared."""

FAULTS = {
    "unexpected_end": r"""[¦   [1¦   [1,¦   nul¦   -¦   1.¦   1e+¦   "¦   "a¦   ["a¦   "\¦   "\"¦   "\u¦   "\u12¦
        {¦   {"a"¦   {"a":¦   {"a":1¦""",
    "unexpected_character": r"""[1, 2, 3, 4¦)   [1 ¦true]   [""¦: 1]   [1,¦,2]   [¦,1]   [¦,]   [1¦}   ¦]   [¦x
        [3¦[4]]   [1¦:2]   [¦*]   ¦True   ¦None   ¦undefined   ¦NaN   [¦NaN]   [1, ¦Infinity]   [¦Inf]   ¦'a'
        ¦<null>   [¦<null>]   [¦+1]   [¦++1]   [0¦x42]   [1¦_000]   [1 ¦000.0]   [¦.5]   [0.1¦.2]   [1e1¦.5]
        [1¦+2]   [1.2¦a-3]   {¦,}   {¦]   {¦1:1}   {¦a:1}   {¦'a':1}   {¦null:1}   {"a"¦}   {"a" ¦1}   {"a":¦:1}
        {"a":¦}   {"a":1 ¦"b":2}   {"a":1¦]   {"a"¦,1}   {"a":"b",¦1}   {"a":1,¦,}   {"a":¦/**/1}   ¦/**/[]   ¦# x""",
    "trailing_text": r"""[1]¦]   [1]¦x   {}¦}   true¦true   [1]¦//""",
    "trailing_comma": r"""[1,¦]   [1 , ¦]   {"a":1,¦}""",
    "invalid_literal": r"""[fals¦]   [nul¦]   [tru¦]   tru¦E   n¦an""",
    "invalid_number": r"""[-¦Infinity]   [-¦NaN]   -¦-1   -¦ 1   [-¦]   [-¦foo]   0¦1   [-0¦12]   0¦0   [-¦.5]   [2.¦]
        [0.¦e1]   [2.¦e+3]   [1e¦]   [1E+¦]   [1e¦E2]""",
    "number_out_of_range": r"""1e40¦0   -1E40¦0   [1e+040¦0]   [1.7976931348623159e30¦8]""",
    "invalid_escape": r"""["\u12¦"]   ["\u00A¦"]   "\u¦qqqq"   "\¦x00"   "\¦a"   "\¦'"   "\ud800\u1¦x"   "\¦U0001f60""",
}
"""reason → documents, set apart by three spaces or a new line; ¦ is where each stops being a beginning of JSON."""

REJECTED: tuple[tuple[str, str, int], ...] = (
    *(
        (marked.replace("¦", ""), reason, marked.index("¦"))
        for reason, documents in FAULTS.items()
        for marked in re.split(r"\n *| {3,}", documents)
    ),
    ("", "unexpected_end", 0),
    (" \n", "unexpected_end", 2),
    ('["a",\n4\n,1,', "unexpected_end", 11),
    ("[\v]", "unexpected_character", 1),
    ("[\f]", "unexpected_character", 1),
    ("[\u00a0]", "unexpected_character", 1),
    ("[\u2060]", "unexpected_character", 1),
    ("[\u3000]", "unexpected_character", 1),
    ("\x00", "unexpected_character", 0),
    ("123\x00", "trailing_text", 3),
    ("\ufeff", "byte_order_mark", 0),
    ("\ufeff{}", "byte_order_mark", 0),
    ("[\ufeff]", "unexpected_character", 1),
    ("[\uff11]", "unexpected_character", 1),
    ("[\u0661]", "unexpected_character", 1),
    ("1\u0662", "trailing_text", 1),
    ("9" * 400 + ".5", "number_out_of_range", 402),
    ("[" + "9" * 400 + ".5]", "number_out_of_range", 403),
    ("9" * 400 + "e5", "number_out_of_range", 401),
    ("[" + "9" * 400 + ".5e-1]", "number_out_of_range", 406),
    ("9" * 400 + ".5e", "unexpected_end", 403),
    ("1" * 10_000, "too_many_digits", 640),
    ("[0." + "1" * 641 + "]", "too_many_digits", 643),
    ("1e-" + "0" * 641, "too_many_digits", 643),
    ("\u201ca\u201d", "unexpected_character", 0),
    ('"\\\n"', "invalid_escape", 2),
    ('"\\\u00e9"', "invalid_escape", 2),
    ('"a\nb"', "control_character", 2),
    ('"a\tb"', "control_character", 2),
    ('"a\x00b"', "control_character", 2),
    ('"\x1f"', "control_character", 1),
    ('"\ud800"', "invalid_unicode", 1),
    ("\ud800", "unexpected_character", 0),
    ('"\\\udfff"', "invalid_escape", 2),
    ("[[" * 100 + "[", "too_deep", 200),
    ("[" * 60_000, "too_deep", 200),
    ('{"a":' * 10_000, "too_deep", 1000),
    ("[" * 201 + "]" * 201, "too_deep", 200),
    ("[" * 201 + "x", "too_deep", 200),
    ("[\U0001f600]", "unexpected_character", 1),
    ("[\ud83d\ude00]", "unexpected_character", 1),
    ("\u3010\u3011", "unexpected_character", 0),
)
"""(document, reason, offset in characters)."""

REJECTED_BYTES: tuple[tuple[bytes, str, int], ...] = (
    (b"\xef\xbb\xbf{}", "byte_order_mark", 0),
    (b"\xef", "unexpected_character", 0),
    (b'["\xff"]', "invalid_unicode", 2),
    (b'["\x80"]', "invalid_unicode", 2),
    (b'["\xc0\xaf"]', "invalid_unicode", 2),
    (b'["\xed\xa0\x80"]', "invalid_unicode", 3),
    (b'["\xe2\x82"]', "invalid_unicode", 4),
    (b'["\xf4\x90\x80\x80"]', "invalid_unicode", 3),
    (b'["\xf0\x9f\x98', "unexpected_end", 5),
    (b'["\xc3\xa9" x', "unexpected_character", 6),
    (b'"\\\xe2\x82\xac"', "invalid_escape", 2),
    (b"[1]\xe5", "trailing_text", 3),
    (b"123\xff", "trailing_text", 3),
    (b"[tr\xff", "invalid_literal", 3),
    (b"\xff\xfe[\x00]\x00", "unexpected_character", 0),
    (b"\x00[\x00]", "unexpected_character", 0),
    ("\u00e9".encode("latin-1"), "unexpected_character", 0),
)
"""(document, reason, offset in bytes)."""


def is_unicode(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def identity(value: object) -> str:
    """Tells `1`, `1.0`, `-0.0` and `true` apart, which `==` does not."""
    return repr(value)


@pytest.mark.parametrize(("document", "value"), ACCEPTED)
def test_a_document_of_the_grammar_is_accepted_with_its_value(document, value):
    assert value is None or identity(parse_json(document)) == identity(value)


@pytest.mark.parametrize("document", [document for document, _ in ACCEPTED])
def test_bytes_and_text_give_the_same_value(document):
    assert identity(parse_json(document.encode())) == identity(parse_json(document))


@pytest.mark.parametrize(("document", "reason", "offset"), REJECTED)
def test_a_document_outside_the_grammar_is_rejected_with_reason_and_offset(document, reason, offset):
    with pytest.raises(JSONRejected, match=f"^{reason} at offset {offset}$"):
        parse_json(document)


@pytest.mark.parametrize(("document", "reason", "offset"), [row for row in REJECTED if is_unicode(row[0])])
def test_bytes_are_rejected_at_the_same_place_counted_in_bytes(document, reason, offset):
    with pytest.raises(JSONRejected, match=f"^{reason} at offset {len(document[:offset].encode())}$"):
        parse_json(document.encode())


@pytest.mark.parametrize(("document", "reason", "offset"), REJECTED_BYTES)
def test_bytes_that_are_not_utf_8_are_rejected_where_they_stop_being_a_beginning_of_it(document, reason, offset):
    with pytest.raises(JSONRejected, match=f"^{reason} at offset {offset}$"):
        parse_json(document)
