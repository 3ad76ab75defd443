"""Random byte strings against the parser: nothing but JSONRejected may come out.

    python tests/rewards/fuzz.py --cases 10000000 --seed 1

Half of the cases are uniform bytes, half are pieces of JSON in random order, which get further before they break.
"""

from __future__ import annotations

import argparse
import random
import time
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


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=1_000_000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    started = time.monotonic()
    found = fuzz(arguments.cases, arguments.seed)
    print(f"{sum(found.values()):,} cases in {time.monotonic() - started:.0f} s: {dict(found.most_common())}")
