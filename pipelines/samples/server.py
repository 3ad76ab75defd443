"""A policy behind an OpenAI-compatible server: one chat completion per seed, a bounded number of them under way.

Reads a `ServerConfig`, conversations and `SamplingConfig`; returns answers as the server counts and names them. What
the server leaves open is None; what it must tell and does not is an error, never a guess. Starts no server.
"""

from __future__ import annotations

import contextlib
import json
import math
import queue
import threading
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, TypeVar

from pipelines.config import SamplingConfig, ServerConfig
from pipelines.engine.requests import build_processors, is_greedy
from pipelines.errors import ModelError
from pipelines.records import FinishReason
from pipelines.samples.endpoint import Endpoint, RefusalError
from pipelines.samples.policies import Completion, Conversation

KEY_VARIABLE = "SAMPLING_API_KEY"
_RETRIES = 7
"""Half a minute of waiting between them: a server that restarts a worker is back by then, one that is gone is told."""
_SEED_BITS = 31
"""What every server takes: some read a signed 32-bit number."""
_FINISHED: dict[Any, FinishReason] = {
    "stop": "stop",
    "length": "length",
    # Text Generation Inference's own words for both ways to stop.
    "eos_token": "stop",
    "stop_sequence": "stop",
}
_SHAPING = {"top_p": 1.0, "top_k": 0, "min_p": 0.0}
"""Settings of `generation` that cut the distribution, with the value at which they do not."""
_OPTIONAL_FIELDS: dict[str, Any] = {
    "logprobs": True,
    "top_p": 1.0,
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "skip_special_tokens": False,
}
"""Sent with every request where `generation` does not say otherwise, dropped where the server refuses them. Left out,
they would mean the server's own defaults: the model's generation_config.json (vLLM, SGLang), or top-k 40, top-p 0.95
and min-p 0.05 (llama-server), and the completions would not be the policy's. -1 is the one top_k that all three read
as no limit."""
_NOT_UNDERSTOOD = (400, 422, 501)
"""What servers answer to a field they do not know, or to a value of it they do not take."""

Job = TypeVar("Job")
Result = TypeVar("Result")


class ServerPolicy:
    """A model on a server."""

    def __init__(
        self,
        config: ServerConfig,
        *,
        setting: str = "server.url",
        key_variable: str = KEY_VARIABLE,
        retries: int = _RETRIES,
    ) -> None:
        """`setting` is what the user calls the address, `key_variable` the environment variable that may hold a key."""
        self._config = config
        self._endpoint = Endpoint(
            config.url,
            setting=setting,
            key_variable=key_variable,
            timeout_seconds=config.timeout_seconds,
            retries=retries,
        )
        self._dropped: frozenset[str] = frozenset()
        self._warned: frozenset[str] = frozenset()

    def identity(self) -> dict[str, Any]:
        """What names the policy in a run. Not the address: the same model behind another port is the same policy."""
        return {"name": self._config.model, "served": True}

    def complete(
        self, conversations: Sequence[Conversation], settings: SamplingConfig
    ) -> Iterator[tuple[int, list[Completion]]]:
        """See Policy. ModelError when the server cannot be used; requests under way are then left to themselves."""
        common = {"model": self._config.model, **build_request(settings)}
        if any(asked.prefix for asked in conversations):
            raise ModelError("a server goes on from no text that is there already; leave repair out of the proposals")
        jobs = [(index, slot) for index, asked in enumerate(conversations) for slot in range(len(asked.seeds))]
        assert {index for index, _ in jobs} == set(range(len(conversations)))

        def ask(job: tuple[int, int]) -> Completion:
            conversation = conversations[job[0]]
            seed = conversation.seeds[job[1]] & ((1 << _SEED_BITS) - 1)
            own = {"messages": list(conversation.messages), "seed": seed, **_structured(conversation.schema)}
            return self._ask({**own, **common})

        answers: dict[int, dict[int, Completion]] = {}
        with contextlib.closing(map_concurrently(ask, jobs, self._config.concurrency)) as finished:
            for (index, slot), answer in finished:
                self._warn_dropped_fields()
                received = answers.setdefault(index, {})
                received[slot] = answer
                if len(received) == len(conversations[index].seeds):
                    del answers[index]
                    yield index, [received[place] for place in sorted(received)]

    def _ask(self, request: dict[str, Any]) -> Completion:
        """One completion. A refusal that names optional fields drops those; one that names none drops them all."""
        dropped = self._dropped
        while True:
            optional = {name: _OPTIONAL_FIELDS[name] for name in _OPTIONAL_FIELDS.keys() - request.keys() - dropped}
            try:
                reply = self._endpoint.complete_chat({**request, **optional})
            except RefusalError as refusal:
                if refusal.status not in _NOT_UNDERSTOOD or not optional:
                    raise
                dropped |= {name for name in optional if name in refusal.body} or set(optional)
            else:
                self._dropped |= dropped  # only now is it known that they were what the server refused
                return self._answer(reply)

    def _warn_dropped_fields(self) -> None:
        """Once for each: from here, not from a request's thread, so that it reaches whoever reads the answers."""
        if news := self._dropped - self._warned:
            self._warned |= news
            warnings.warn(
                f"{self._endpoint.url}: the server refuses {', '.join(sorted(news))}: its own defaults stand in "
                "their place; docs/sampling-servers.md says how to choose those when it is started",
                stacklevel=3,
            )

    def _answer(self, reply: dict[str, Any]) -> Completion:
        """What the first choice says. ModelError where it lacks what a record needs."""
        choice, usage = reply["choices"][0], reply.get("usage")
        message = choice.get("message")
        content = message.get("content") if isinstance(message, dict) else 0
        if content is not None and not isinstance(content, str):
            raise self._unusable("has no message with text", "is this a chat completions server?")
        finish = choice.get("finish_reason")
        if not isinstance(finish, str) or finish not in _FINISHED:
            shown = repr(finish)[:40]
            raise self._unusable(
                f"ended with finish_reason {shown}, neither stop nor length",
                "such a text is not a sample of the policy; turn filters and tool calls off on the server",
            )
        prompt_tokens, completion_tokens = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
        if prompt_tokens is None or completion_tokens is None:
            raise self._unusable(
                "does not count tokens in `usage`", "use a server that does, e.g. vLLM or llama-server"
            )
        return Completion(
            text=content or "",
            finish_reason=_FINISHED[finish],
            prompt_tokens=prompt_tokens,
            completion_tokens=completion_tokens,
            logprob_nats=sum_logprobs(choice.get("logprobs"), completion_tokens),
        )

    def _unusable(self, what: str, remedy: str) -> ModelError:
        return ModelError(f"{self._endpoint.url}: the reply for {self._config.model!r} {what}; {remedy}")


def build_request(settings: SamplingConfig) -> dict[str, Any]:
    """What every request of a call has in common; ConfigError for the settings that the model in this process refuses.

    The temperature is always there, because a server would otherwise take the model's generation_config.json for it.
    """
    generation = settings.generation
    build_processors(generation)
    if is_greedy(generation):
        request: dict[str, Any] = {"max_tokens": settings.max_new_tokens, "temperature": 0.0}
    else:
        request = {"max_tokens": settings.max_new_tokens, "temperature": float(generation.get("temperature", 1.0))}
        request |= {name: generation[name] for name, idle in _SHAPING.items() if generation.get(name, idle) != idle}
    if generation.get("stop_strings"):
        request["stop"] = list(generation["stop_strings"])
    return request


def _structured(schema: str | None) -> dict[str, Any]:
    """The field by which servers draw under a schema's grammar."""
    if schema is None:
        return {}
    wanted = {"name": "answer", "schema": json.loads(schema), "strict": True}
    return {"response_format": {"type": "json_schema", "json_schema": wanted}}


def _count(usage: Any, name: str) -> int | None:
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and count >= 0 else None


def sum_logprobs(logprobs: Any, tokens: int) -> float | None:
    """Nats of the whole completion; None unless there is a number for each of its tokens."""
    try:
        values = [float(entry["logprob"]) for entry in logprobs["content"]]
    except (TypeError, KeyError, ValueError, OverflowError):
        return None
    if len(values) != tokens or not all(map(math.isfinite, values)):
        return None
    return math.fsum(values)


def map_concurrently(
    ask: Callable[[Job], Result], jobs: Sequence[Job], concurrency: int
) -> Generator[tuple[Job, Result], None, None]:
    """(job, what `ask` made of it) as each is done, at most `concurrency` under way; jobs start in their order.

    The first error is raised here. Once there is one, or the loop is left early, no further job starts.
    """
    # Not an executor: the interpreter waits at its exit for an executor's threads, so that Ctrl-C would take as long as
    # the slowest request under way, up to its whole time limit. Daemon threads are left behind.
    pending, taking, stopping = iter(jobs), threading.Lock(), threading.Event()
    done: queue.SimpleQueue[tuple[Job, Future[Result]]] = queue.SimpleQueue()

    def work() -> None:
        while not stopping.is_set():
            with taking:
                job = next(pending, None)
            if job is None:
                return
            outcome: Future[Result] = Future()
            try:
                outcome.set_result(ask(job))
            except BaseException as error:  # not swallowed: raised where the outcome is read
                stopping.set()  # not by the reader, who may be slower than this thread's next job
                outcome.set_exception(error)
            done.put((job, outcome))

    try:
        for _ in range(min(concurrency, len(jobs))):
            threading.Thread(target=work, name="sampling-request", daemon=True).start()
        for _ in jobs:
            job, outcome = done.get()
            yield job, outcome.result()
    finally:
        stopping.set()
