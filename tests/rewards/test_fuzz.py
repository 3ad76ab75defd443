"""Random byte strings against the parser: nothing but JSONRejected may come out.

Half of the cases are uniform bytes, half are pieces of JSON in random order, which get further before they break. A
longer run than the test's: `PYTHONPATH=. python tests/rewards/test_fuzz.py 10000000`.
"""

from __future__ import annotations

import random
import sys
from collections import Counter

from pipelines.rewards import JSONRejected, parse_json

PIECES = [
    *(b"[", b"]", b"{", b"}", b",", b":", b'"', b"\\", b"\\u", b"d800", b"\x00", b" ", b"\n"),
    *(b"-", b"+", b".", b"e", b"E9", b"0", b"1", b"9" * 30, b"1e400", b"true", b"nul", b"NaN", b"Infinity"),
    *(b'"a"', b'"a":', b"[1,", b'{"a":', b"//", b"'", b"[[[[", b"]]]]"),
    *(b"\xff", b"\xc3", b"\xe2\x98", b"\xef\xbb\xbf"),
]


def fuzz(cases: int, seed: int) -> Counter[str]:
    """How many cases were accepted, or rejected for which reason. Any other exception comes through, with its case."""
    rng = random.Random(seed)
    outcomes: Counter[str] = Counter()
    for number in range(cases):
        if number % 2:
            document = rng.randbytes(rng.randrange(24))
        else:
            document = b"".join(rng.choices(PIECES, k=rng.randrange(1, 9)))
        try:
            parse_json(document)
            outcomes["accepted"] += 1
        except JSONRejected as rejected:
            outcomes[rejected.reason if 0 <= rejected.offset <= len(document) else "offset outside"] += 1
        except BaseException as error:
            raise AssertionError(f"{document!r} raised {error!r}") from error
    return outcomes


def test_random_bytes_are_accepted_or_rejected_and_nothing_else_happens():
    outcomes = fuzz(20_000, seed=0)
    assert sum(outcomes.values()) == 20_000
    assert outcomes["accepted"] > 100
    assert "offset outside" not in outcomes


if __name__ == "__main__":
    print(dict(fuzz(int(sys.argv[1]), seed=1).most_common()))
