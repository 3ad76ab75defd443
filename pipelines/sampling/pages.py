"""Keys and values of what has been generated, in pages that continuations share until they differ.

A continuation holds a list of page numbers. When it splits in two, both go on with the same full pages, and the one
page that is still being filled is copied (Kwon et al. 2023, arXiv 2309.06180, section 4.4). The pool grows by an eighth
at a time, layer by layer, so that little is held that nobody uses.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAGE_TOKENS = 8


class PagePool:
    """Pages of all layers. A page number means the same tokens in every layer."""

    def __init__(self) -> None:
        self._keys: list[Tensor] = []  # per layer [key_value_head, page, token, size]
        self._values: list[Tensor] = []
        self._users: list[int] = []
        self._free: list[int] = []
        self.peak = 0
        """The most pages in use at once."""

    def take(self) -> int:
        """A page for one user; what it holds is stale."""
        if not self._free:
            grown = max(16, math.ceil(len(self._users) / 8))
            self._free += range(len(self._users), len(self._users) + grown)
            self._users += [0] * grown
        page = self._free.pop()
        self._users[page] = 1
        self.peak = max(self.peak, len(self._users) - len(self._free))
        return page

    def share(self, pages: Sequence[int]) -> None:
        """One more user of each."""
        for page in pages:
            self._users[page] += 1

    def is_shared(self, page: int) -> bool:
        """Whether it has several users: to be copied before one of them writes."""
        return self._users[page] > 1

    def release(self, pages: Sequence[int]) -> None:
        """One user less of each; a page without users is taken again."""
        for page in pages:
            self._users[page] -= 1
            if self._users[page] == 0:
                self._free.append(page)

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "key_value_head row size"],
        values: Float[Tensor, "key_value_head row value_size"],
        step: PageStep,
    ) -> None:
        """Put one token's keys and values of every row into its page, after the copies that splits asked for."""
        for pools, new in ((self._keys, keys), (self._values, values)):
            pool = self._sized(pools, layer, new)
            if step.copies.numel():
                pool[:, step.copies[1]] = pool[:, step.copies[0]]
            pool[:, step.pages, step.places] = new

    def read(
        self, layer: int, table: Int[Tensor, "row page"]
    ) -> tuple[Float[Tensor, "key_value_head row token size"], Float[Tensor, "key_value_head row token value_size"]]:
        """Every row's keys and values, a whole number of pages long; what is past a row's end is stale but finite."""
        keys, values = (
            pool.index_select(1, table.flatten()).view(pool.shape[0], len(table), -1, pool.shape[-1])
            for pool in (self._keys[layer], self._values[layer])
        )
        return keys, values

    def _sized(self, pools: list[Tensor], layer: int, like: Tensor) -> Tensor:
        if layer == len(pools):
            pools.append(like.new_zeros((len(like), 0, PAGE_TOKENS, like.shape[-1])))
        pool = pools[layer]
        if pool.shape[1] < len(self._users):
            # Zeros, not whatever is there: a weight of 0 times a stale infinity would be no number.
            grown = pool.new_zeros((pool.shape[0], len(self._users), *pool.shape[2:]))
            grown[:, : pool.shape[1]] = pool
            pools[layer] = pool = grown
        return pool


class PageStep:
    """Where one token of every row goes, as tensors that all layers use."""

    def __init__(
        self,
        rows: Sequence[Sequence[int]],
        lengths: Sequence[int],
        copies: Sequence[tuple[int, int]],
        device: torch.device,
    ) -> None:
        """`rows` are the pages of each row, `lengths` its tokens with the new one, `copies` are (from, to)."""
        width = max(len(pages) for pages in rows)
        padded = [[*pages, *[pages[-1]] * (width - len(pages))] for pages in rows]
        self.table: Int[Tensor, "row page"] = torch.tensor(padded, device=device)
        self.lengths: Int[Tensor, " row"] = torch.tensor(lengths, device=device)
        self.pages: Int[Tensor, " row"] = torch.tensor([pages[-1] for pages in rows], device=device)
        self.places: Int[Tensor, " row"] = (self.lengths - 1) % PAGE_TOKENS
        self.copies: Int[Tensor, "from_to copy"] = torch.tensor(copies, dtype=torch.long, device=device).view(-1, 2).T
