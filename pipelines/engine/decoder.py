"""The in-process sampler: many completions of many prompts, nothing computed twice.

Reads requests (token ids and a seed per completion); yields completions, a request at a time as it is finished. What
prompts share is computed once and each prompt once. Completions of a prompt that have drawn the same tokens so far are
one branch: their next distribution is computed once, and each draws from it with numbers of its own. So a sample does
not depend on which others share the batch, but for the rounding of the matrix products. Finished samples make room for
the next request in the same forward pass. A request may bring a grammar: each of its branches then draws among the
tokens that the grammar allows there. A model whose attention is not plain causal attention goes to transformers'
own `generate`, and of one with a sliding window the requests that outgrow it. Knows nothing of tasks or text.
"""

from __future__ import annotations

import dataclasses
import warnings
from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from llguidance import LLMatcher
from torch import Tensor
from transformers import PreTrainedModel

from pipelines.engine.drawing import draw
from pipelines.engine.fallback import generate_samples
from pipelines.engine.fast_linear import fast_linear
from pipelines.engine.grammar import allowed_next, forbid
from pipelines.engine.packed_attention import PackedPass, Row, packed_attention
from pipelines.engine.paged_cache import PAGE_TOKENS, PagePool
from pipelines.engine.prefixes import Segment, build_segments
from pipelines.engine.requests import Decoding, Drawn, Request
from pipelines.engine.support import divide_requests

_PROMPT_TOKENS_PER_PASS = 2048
"""Prompt tokens computed in one forward pass, at most, unless a single prompt has more: bounds its memory."""


def sample(
    model: PreTrainedModel, requests: Sequence[Request], decoding: Decoding
) -> Iterator[tuple[int, list[Drawn]]]:
    """(index of the request, its samples in the order of its seeds) as each is finished.

    Until the iterator is exhausted or closed the model is set up for sampling: use it for nothing else meanwhile.
    """
    here, elsewhere, reason = divide_requests(model, requests, decoding)
    if elsewhere:
        # By default Python shows one warning once.
        warnings.warn(f"{type(model).__name__}: {reason}; sampling with transformers' generate", stacklevel=2)
    if here:
        with packed_attention(model), fast_linear(model):
            for index, samples in Decoder(model, [requests[index] for index in here], decoding).run():
                yield here[index], samples
    for index, samples in generate_samples(model, [requests[index] for index in elsewhere], decoding):
        yield elsewhere[index], samples


@dataclasses.dataclass(frozen=True, slots=True)
class _Part:
    """As many samples of one request as are admitted together."""

    request: int
    leaf: Segment
    first: int
    """Index of the first of the samples."""
    seeds: tuple[int, ...]


@dataclasses.dataclass(slots=True, eq=False)
class _Branch:
    """Samples of one part that have drawn the same tokens."""

    part: int
    """Place of the part in the queue; branches are kept in this order, so that relatives stand side by side."""
    leaf: Segment
    samples: list[int]
    """Indices of the request's samples."""
    tokens: list[int] = dataclasses.field(default_factory=list)
    logprobs: list[float] = dataclasses.field(default_factory=list)
    allowed: list[float] = dataclasses.field(default_factory=list)
    """Log mass of what the grammar allowed, a token."""
    pages: list[int] = dataclasses.field(default_factory=list)
    matcher: LLMatcher | None = None
    """Where in its grammar the text stands."""

    @property
    def failed(self) -> str | None:
        """What the matcher says if it failed."""
        return self.matcher.get_error() if self.matcher is not None and self.matcher.is_error() else None


class Decoder:
    """The state of one call of `sample`."""

    def __init__(self, model: PreTrainedModel, requests: Sequence[Request], decoding: Decoding) -> None:
        """The model must already run `packed_attention`."""
        self._model, self._requests, self._decoding = model, requests, decoding
        self._parts = _cut(requests, decoding.batch_size)
        at_once = min(decoding.batch_size, sum(len(request.seeds) for request in requests))
        self._pool = PagePool(at_once * -(-decoding.max_new_tokens // PAGE_TOKENS))
        self._waiting = deque(range(len(self._parts)))
        self._uniforms: dict[tuple[int, int], Float[np.ndarray, " token"]] = {}
        self._samples: list[dict[int, Drawn]] = [{} for _ in requests]
        self._live: list[_Branch] = []
        self._computed: list[Segment] = []
        self.forwarded_tokens = 0
        """Tokens that went through the model so far, those of prompts included."""
        self.live_tokens = 0
        """The most tokens whose keys and values were in use at once, those of prompts included."""

    def run(self) -> Iterator[tuple[int, list[Drawn]]]:
        """Every request's samples, as it is finished."""
        while self._waiting or self._live:
            finished = self._advance()
            for request in finished:
                yield request, [sample for _, sample in sorted(self._samples[request].items())]
                self._samples[request] = {}

    @torch.inference_mode()
    def _advance(self) -> list[int]:
        """One forward pass and one draw for every sample in progress; the requests that this finished."""
        copies = self._make_room()
        fresh = self._admit()
        roots = [self._root(part) for part in fresh]
        segments = _uncomputed([branch.leaf for branch in roots])
        rows = [
            Row(leaf=branch.leaf, token=branch.tokens[-1], length=len(branch.tokens), pages=branch.pages)
            for branch in self._live
        ]
        packed = PackedPass(self._pool, rows, segments, copies, self._model.device)
        logits = packed.run(self._model, [branch.leaf for branch in roots])
        self.forwarded_tokens += len(rows) + sum(len(segment.tokens) for segment in segments)
        self._computed += segments
        self._computed = [segment for segment in self._computed if segment.keys]
        generated = len({page for branch in self._live for page in branch.pages[:-1]}) * PAGE_TOKENS
        generated += sum((len(branch.tokens) - 1) % PAGE_TOKENS + 1 for branch in self._live)
        prompts = sum(len(segment.tokens) for segment in self._computed)
        self.live_tokens = max(self.live_tokens, prompts + generated)
        ended: list[_Branch] = []
        self._live = self._divide([*self._live, *roots], logits, ended)
        self._live.sort(key=lambda branch: branch.part)  # stable: a branch's children stay side by side
        return self._finish(ended)

    def _admit(self) -> list[int]:
        """The next parts for which there is room."""
        room = self._decoding.batch_size - sum(len(branch.samples) for branch in self._live)
        fresh: list[int] = []
        tokens = 0
        while self._waiting:
            part = self._parts[self._waiting[0]]
            tokens += sum(len(segment.tokens) for segment in part.leaf.path() if not segment.keys)
            room -= len(part.seeds)
            if room < 0 or (fresh and tokens > _PROMPT_TOKENS_PER_PASS):
                break
            fresh.append(self._waiting.popleft())
        return fresh

    def _root(self, part: int) -> _Branch:
        """The branch that all samples of a part are on before the first is drawn."""
        request = self._requests[self._parts[part].request]
        matcher = request.grammar.start(request.prefix) if request.grammar else None
        return _Branch(part, self._parts[part].leaf, self._numbers(part), matcher=matcher)

    def _numbers(self, part: int) -> list[int]:
        """The part's samples, each with a generator of its own set up."""
        own = self._parts[part]
        samples = list(range(own.first, own.first + len(own.seeds)))
        for index, seed in zip(samples, own.seeds, strict=True):
            generator = np.random.Generator(np.random.Philox(key=seed))
            self._uniforms[own.request, index] = generator.random(self._decoding.max_new_tokens)
        return samples

    def _make_room(self) -> list[tuple[int, int]]:
        """A place for each branch's newest token; the pages to copy where several branches fill the same one."""
        copies = []
        for branch in self._live:
            if (len(branch.tokens) - 1) % PAGE_TOKENS == 0:
                branch.pages.append(self._pool.take())
            elif self._pool.is_shared(branch.pages[-1]):
                page = self._pool.take()
                copies.append((branch.pages[-1], page))
                self._pool.release(branch.pages[-1:])
                branch.pages[-1] = page
        return copies

    def _divide(
        self, branches: Sequence[_Branch], logits: Float[Tensor, "branch vocabulary"], ended: list[_Branch]
    ) -> list[_Branch]:
        """Draw for every sample; the branches that go on, one per distinct token drawn. The others go to `ended`."""
        owners = [row for row, branch in enumerate(branches) for _ in branch.samples]
        uniforms = [
            self._uniforms[self._parts[branch.part].request, index][len(branch.tokens)]
            for branch in branches
            for index in branch.samples
        ]
        device = logits.device
        drawn, logprobs, masses = draw(
            logits,
            torch.tensor(owners, device=device),
            torch.tensor(uniforms, dtype=torch.float64, device=device),
            self._decoding.processors,
            allowed=self._allowed(branches, logits.shape[-1]),
            greedy=self._decoding.greedy,
        )
        found = iter(zip(drawn.tolist(), logprobs.tolist(), strict=True))
        children: list[_Branch] = []
        for branch, mass in zip(branches, masses.tolist(), strict=True):
            draws = [next(found) for _ in branch.samples]
            if branch.failed:
                ended.append(branch)
                continue
            children += self._children(branch, draws, mass)
            self._pool.release(branch.pages)
        over = self._are_over(children)
        ended += [child for child, is_over in zip(children, over, strict=True) if is_over]
        living = [child for child, is_over in zip(children, over, strict=True) if not is_over]
        for child in living:
            if child.matcher is not None:
                child.matcher = child.matcher.deep_copy()
                child.matcher.consume_token(child.tokens[-1])  # should it fail, the next step finds out
        return living

    def _allowed(self, branches: Sequence[_Branch], width: int) -> Bool[Tensor, "branch vocabulary"] | None:
        """Which tokens each may draw next; None where all may draw all."""
        banned = [
            (row, self._requests[self._parts[branch.part].request].forbidden)
            for row, branch in enumerate(branches)
            if not branch.tokens
        ]
        matchers = [branch.matcher for branch in branches]
        if not any(matchers) and not any(tokens for _, tokens in banned):
            return None
        allowed = allowed_next(matchers, width)
        for row, tokens in banned:
            forbid(allowed[row : row + 1], tokens)
        return allowed

    def _children(self, branch: _Branch, draws: Sequence[tuple[int, float]], mass: float) -> list[_Branch]:
        """A branch per distinct (token, its log-probability) drawn, with the samples that drew it."""
        own: dict[int, _Branch] = {}
        for index, (token, logprob) in zip(branch.samples, draws, strict=True):
            if token not in own:
                own[token] = dataclasses.replace(
                    branch,
                    samples=[],
                    tokens=[*branch.tokens, token],
                    logprobs=[*branch.logprobs, logprob],
                    allowed=[*branch.allowed, mass],
                    pages=list(branch.pages),
                )
                self._pool.share(branch.pages)
            own[token].samples.append(index)
        return list(own.values())

    def _are_over(self, branches: Sequence[_Branch]) -> list[bool]:
        stopped = self._are_stopped(branches)
        return [stop or len(one.tokens) == self._limit(one) for stop, one in zip(stopped, branches, strict=True)]

    def _limit(self, branch: _Branch) -> int:
        return self._decoding.max_new_tokens - len(self._requests[self._parts[branch.part].request].prefix)

    def _are_stopped(self, branches: Sequence[_Branch]) -> list[bool]:
        """Whether an end token or a stop string has come."""
        ends = [bool(branch.tokens) and branch.tokens[-1] in self._decoding.end_tokens for branch in branches]
        if not self._decoding.stopping:
            return ends
        width = max(len(branch.tokens) for branch in branches)
        pad = self._decoding.pad_token
        ids = torch.tensor([[pad] * (width - len(branch.tokens)) + branch.tokens for branch in branches])
        stopped = self._decoding.stopping(ids, None)
        return [end or bool(stop) for end, stop in zip(ends, stopped.tolist(), strict=True)]

    def _finish(self, ended: Sequence[_Branch]) -> list[int]:
        """Put the ended branches' samples away; the requests that are complete now."""
        complete = []
        for branch, stopped in zip(ended, self._are_stopped(ended) if ended else [], strict=True):
            self._pool.release(branch.pages)
            request = self._parts[branch.part].request
            made = Drawn(
                tokens=tuple(branch.tokens),
                logprobs_nats=tuple(branch.logprobs),
                allowed_nats=tuple(branch.allowed),
                ended=stopped,
                failed=branch.failed,
            )
            for index in branch.samples:
                self._samples[request][index] = made
                del self._uniforms[request, index]
                branch.leaf.release()
            if len(self._samples[request]) == len(self._requests[request].seeds):
                complete.append(request)
        return complete


def _cut(requests: Sequence[Request], batch_size: int) -> list[_Part]:
    """Parts of at most `batch_size` samples; those whose prompts begin alike stand side by side."""
    cuts = [
        (request, first)
        for request in range(len(requests))
        for first in range(0, len(requests[request].seeds), batch_size)
    ]
    prompts = [(*request.prompt, *request.prefix) for request in requests]
    cuts.sort(key=lambda cut: prompts[cut[0]])
    leaves = build_segments([prompts[request] for request, _ in cuts])
    parts = [
        _Part(request, leaf, first, requests[request].seeds[first : first + batch_size])
        for (request, first), leaf in zip(cuts, leaves, strict=True)
    ]
    for part in parts:
        part.leaf.use(len(part.seeds))
    return parts


def _uncomputed(leaves: Sequence[Segment]) -> list[Segment]:
    """The segments above the leaves, and they, that have no keys yet; parents first."""
    found: dict[int, Segment] = {}
    for leaf in leaves:
        for segment in leaf.path():
            if not segment.keys:
                found.setdefault(id(segment), segment)
    return list(found.values())
