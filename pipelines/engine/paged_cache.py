"""Keys and values of what has been generated, in pages that continuations share until they differ.

A continuation holds a list of page numbers. When it splits in two, both go on with the same full pages, and the one
page that is still being filled is copied (Kwon et al. 2023, arXiv 2309.06180, section 4.4). Room for the worst case is
reserved once and never moved; on a CPU the system hands out the memory when a page is first written.
"""

from __future__ import annotations

import math
import mmap
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

PAGE_TOKENS = 8


class PagePool:
    """Pages of all layers. A page number means the same tokens in every layer."""

    def __init__(self, pages: int) -> None:
        """Room for so many pages."""
        self._keys: list[Tensor] = []  # per layer [key_value_head, page, token, size]
        self._values: list[Tensor] = []
        self._users = [0] * pages
        self._free: list[int] = []
        self._opened = 0
        self.used = 0
        """Pages in use."""

    def take(self) -> int:
        """A page for one user, one used before rather than a new one; what it holds is stale."""
        if self._free:
            page = self._free.pop()
        else:
            page = self._opened
            self._opened += 1
        self._users[page] = 1
        self.used += 1
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
                self.used -= 1

    def write(
        self,
        layer: int,
        keys: Float[Tensor, "key_value_head row size"],
        values: Float[Tensor, "key_value_head row value_size"],
        step: PageStep,
    ) -> None:
        """Put one token's keys and values of every row into its page, after the copies that splits asked for."""
        for pools, new in ((self._keys, keys), (self._values, values)):
            if layer == len(pools):
                pools.append(_zeros((len(new), len(self._users), PAGE_TOKENS, new.shape[-1]), new))
            pool = pools[layer]
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


def _zeros(shape: tuple[int, ...], like: Tensor) -> Tensor:
    """Zeros, so that a weight of 0 times a page never written is 0; on a CPU not there before they are written."""
    if like.device.type != "cpu":
        return like.new_zeros(shape)
    reserved = mmap.mmap(-1, max(1, math.prod(shape)) * like.element_size())
    return torch.frombuffer(reserved, dtype=like.dtype, count=math.prod(shape)).view(shape)


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
