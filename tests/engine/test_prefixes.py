from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipelines.engine.prefixes import SHORTEST_SHARED, build_segments

LONG = tuple(range(100, 100 + SHORTEST_SHARED))


def test_a_common_beginning_is_one_segment():
    one, two = build_segments([(*LONG, 1, 2), (*LONG, 3)])
    assert one.parent is two.parent
    assert (one.parent.tokens, one.tokens, two.tokens) == (LONG, (1, 2), (3,))
    assert (one.start, one.end) == (len(LONG), len(LONG) + 2)


def test_groups_share_more_among_themselves():
    family = (*LONG, *range(50, 50 + SHORTEST_SHARED))
    one, two, other = build_segments([(*family, 1), (*family, 2), (*LONG, 3)])
    assert one.parent is two.parent
    assert one.parent.parent is other.parent
    assert len(one.path()) == 3


def test_equal_prompts_have_leaves_of_their_own():
    one, two = build_segments([LONG, LONG])
    assert one is not two
    assert one.tokens == two.tokens == LONG[-1:] or one.parent is None


def test_what_nobody_uses_is_freed():
    one, two = build_segments([(*LONG, 1), (*LONG, 2)])
    for leaf in (one, two):
        leaf.use(2)
    root = one.parent
    root.keys.append("kept")
    for _ in range(3):
        one.release() if one.users else two.release()
    assert root.keys == ["kept"]
    two.release()
    assert root.keys == []


prompts = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=60).map(tuple), min_size=1, max_size=12)


@given(prompts, st.sampled_from([(), LONG, LONG * 2]))
def test_paths_are_the_prompts_and_every_leaf_has_a_token(ends: list[tuple[int, ...]], beginning: tuple[int, ...]):
    wanted = [(*beginning, *end) for end in ends]
    for prompt, leaf in zip(wanted, build_segments(wanted), strict=True):
        assert tuple(token for segment in leaf.path() for token in segment.tokens) == prompt
        assert leaf.tokens
        assert all(above.end == below.start for above, below in zip(leaf.path(), leaf.path()[1:], strict=False))
