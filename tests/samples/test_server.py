"""Sampling from a server: a real one (`transformers serve`), and one on loopback that can be made to misbehave."""

from __future__ import annotations

import json
import math
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pipelines.config import SamplingConfig, ServerConfig
from pipelines.errors import ConfigError, ModelError
from pipelines.models import load_tokenizer, render_prompt
from pipelines.samples import endpoint
from pipelines.samples.policies import Completion, Conversation
from pipelines.samples.server import ServerPolicy, map_concurrently
from tests.loopback import LoopbackServer, Reply, chat_completion, the_seed_as_text

KEY = "sk-very-secret"
ROOT = Path(__file__).resolve().parent.parent.parent


def conversations(count: int, seeds: tuple[int, ...] = (1,)) -> list[Conversation]:
    return [
        Conversation(messages=({"role": "user", "content": f"count to {number}"},), seeds=seeds)
        for number in range(count)
    ]


def policy(server: LoopbackServer, *, retries: int = 1, **settings: Any) -> ServerPolicy:
    return ServerPolicy(ServerConfig(url=server.url, model="m", **settings), retries=retries)


def sample(server: LoopbackServer, generation: dict[str, Any] | None = None) -> Completion:
    """One completion of one conversation."""
    settings = SamplingConfig(max_new_tokens=5, generation=generation or {})
    ((_, (answer,)),) = policy(server).complete(conversations(1), settings)
    return answer


def wait_for_workers() -> None:
    """Until no thread is left that could send a request."""
    for thread in threading.enumerate():
        if thread.name == "sampling-request":
            thread.join(60)
            assert not thread.is_alive()


# --- what is asked for --------------------------------------------------------------------------------------------


def test_a_request_asks_for_the_policy_s_own_distribution(server: LoopbackServer):
    sample(server)
    (request,) = server.requests()
    assert request["messages"] == [{"role": "user", "content": "count to 0"}]
    assert (request["model"], request["max_tokens"], request["temperature"], request["logprobs"]) == ("m", 5, 1.0, True)
    assert (request["top_p"], request["top_k"], request["min_p"], request["repetition_penalty"]) == (1.0, -1, 0.0, 1.0)
    assert "stop" not in request


def test_generation_settings_travel_with_the_request(server: LoopbackServer):
    shaping = {"temperature": 0.5, "top_p": 0.9, "top_k": 20, "min_p": 0.1}
    sample(server, {**shaping, "stop_strings": ["\n\n"]})
    (request,) = server.requests()
    assert {name: request[name] for name in shaping} == shaping
    assert request["stop"] == ["\n\n"]


def test_no_sampling_is_temperature_0(server: LoopbackServer):
    sample(server, {"do_sample": False, "temperature": 0.7})
    assert server.requests()[0]["temperature"] == 0.0


@pytest.mark.parametrize(("name", "value"), [("num_beams", 4), ("temperature", -1.0), ("top_p", -0.5)])
def test_what_the_model_in_this_process_refuses_is_refused_here_too(server: LoopbackServer, name: str, value: Any):
    with pytest.raises(ConfigError, match=name):
        sample(server, {name: value})
    assert not server.seen


def test_seeds_are_cut_to_31_bits(server: LoopbackServer):
    ((_, answers),) = policy(server).complete(conversations(1, (5, 2**62 + 6)), SamplingConfig())
    assert [answer.text for answer in answers] == ["5", "6"]


# --- many requests at once ----------------------------------------------------------------------------------------


def test_answers_come_in_the_order_of_the_seeds_whichever_is_first(server: LoopbackServer):
    second_came = threading.Event()

    def first_waits(request: dict[str, Any]) -> Reply:
        assert second_came.wait(60) if request["seed"] == 1 else second_came.set() is None
        return the_seed_as_text(request)

    server.answer = first_waits
    ((_, answers),) = policy(server).complete(conversations(1, (1, 2)), SamplingConfig())
    assert [answer.text for answer in answers] == ["1", "2"]


def test_a_conversation_is_given_as_soon_as_it_is_complete(server: LoopbackServer):
    def first_waits(request: dict[str, Any]) -> Reply:
        if request["messages"][0]["content"] == "count to 0":
            server.over.wait(60)
        return the_seed_as_text(request)

    server.answer = first_waits
    found = policy(server, concurrency=2).complete(conversations(2), SamplingConfig())
    assert next(found)[0] == 1
    server.over.set()
    assert next(found)[0] == 0


def test_as_many_requests_are_under_way_as_allowed_and_no_more(server: LoopbackServer):
    together = threading.Barrier(3)
    server.answer = lambda request: (together.wait(60), the_seed_as_text(request))[1]
    found = list(policy(server, concurrency=3).complete(conversations(4, (1, 2, 3)), SamplingConfig()))
    assert (len(found), len(server.seen), server.most_under_way) == (4, 12, 3)


def test_an_error_ends_the_sampling(server: LoopbackServer):
    server.answer = lambda request: (403, {}) if "2" in request["messages"][0]["content"] else the_seed_as_text(request)
    with pytest.raises(ModelError, match="answered 403"):
        list(policy(server, concurrency=1).complete(conversations(10), SamplingConfig()))
    wait_for_workers()
    assert len(server.seen) == 3


def test_after_an_error_no_job_starts_however_late_it_is_read():
    started = []

    def ask(job: int) -> int:
        started.append(job)
        if job == 2:
            raise ModelError("no")
        return job

    found = map_concurrently(ask, range(10), 1)
    assert next(found) == (0, 0)
    wait_for_workers()
    assert next(found) == (1, 1)
    with pytest.raises(ModelError, match="no"):
        next(found)
    assert started == [0, 1, 2]


def test_leaving_early_starts_no_further_request(server: LoopbackServer):
    left = threading.Event()
    server.answer = lambda request: (len(server.seen) == 1 or left.wait(60), the_seed_as_text(request))[1]
    found = policy(server, concurrency=1).complete(conversations(50), SamplingConfig())
    next(found)
    found.close()
    left.set()
    wait_for_workers()
    assert len(server.seen) <= 2


SAMPLE_ELSEWHERE = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever started the tests may have it ignored
from pipelines.config import SamplingConfig, ServerConfig
from pipelines.samples.policies import Conversation
from pipelines.samples.server import ServerPolicy
conversation = Conversation(messages=({"role": "user", "content": "count"},), seeds=(1, 2, 3))
list(ServerPolicy(ServerConfig(url=sys.argv[1], model="m")).complete([conversation], SamplingConfig()))
"""


def test_ctrl_c_does_not_wait_for_requests_under_way(server: LoopbackServer):
    server.never_answer()
    command = [sys.executable, "-c", SAMPLE_ELSEWHERE, server.url]
    with subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) as sampling:
        assert all(server.arrived.acquire(timeout=120) for _ in range(3))
        sampling.send_signal(signal.SIGINT)
        _, said = sampling.communicate(timeout=120)
    assert said.strip().endswith("KeyboardInterrupt")


# --- what a reply means -------------------------------------------------------------------------------------------


def logprobs(*values: float) -> dict[str, Any]:
    return {"content": [{"token": "t", "logprob": value} for value in values]}


def test_counts_and_log_probabilities_are_the_server_s(server: LoopbackServer):
    server.answer = lambda _: (200, chat_completion("[1", 2, finish_reason="length", logprobs=logprobs(-0.25, -1.5)))
    assert sample(server) == Completion(
        text="[1", finish_reason="length", prompt_tokens=7, completion_tokens=2, logprob_nats=-1.75
    )


@pytest.mark.parametrize(
    "given",
    [None, {}, {"content": None}, logprobs(-1.0, -1.0), logprobs(-1.0, -1.0, -math.inf), {"content": [1, 2, 3]}],
    ids=["null", "empty", "no content", "too few", "infinite", "not a table"],
)
def test_log_probabilities_that_do_not_cover_every_token_are_unknown(server: LoopbackServer, given: Any):
    server.answer = lambda _: (200, chat_completion(tokens=3, logprobs=given))
    assert sample(server).logprob_nats is None


def test_a_message_without_content_is_an_empty_completion(server: LoopbackServer):
    server.answer = lambda _: (200, chat_completion(None))
    assert sample(server).text == ""


@pytest.mark.parametrize(("said", "kept"), [("eos_token", "stop"), ("stop_sequence", "stop"), ("length", "length")])
def test_the_reason_to_finish_is_kept_in_the_record_s_words(server: LoopbackServer, said: str, kept: str):
    server.answer = lambda _: (200, chat_completion(finish_reason=said))
    assert sample(server).finish_reason == kept


@pytest.mark.parametrize("said", ["content_filter", None, ["stop"], 1])
def test_another_reason_to_finish_is_no_sample(server: LoopbackServer, said: Any):
    server.answer = lambda _: (200, chat_completion(finish_reason=said))
    with pytest.raises(ModelError, match=r"finish_reason .* not a sample of the policy"):
        sample(server)


@pytest.mark.parametrize("usage", [None, {"prompt_tokens": 7}, {"prompt_tokens": 7, "completion_tokens": "3"}, [7, 3]])
def test_a_server_that_does_not_count_tokens_is_an_error(server: LoopbackServer, usage: Any):
    server.answer = lambda _: (200, {**chat_completion(), "usage": usage})
    with pytest.raises(ModelError, match=r"for 'm' does not count tokens in `usage`"):
        sample(server)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>\r\n\x1b[2J</html>",
        b"\xff\xfe{",
        b"[" * 100_000,
        b"9" * 5000,
        b'"text"',
        b'{"choices": []}',
        b'{"choices": {"0": 1}}',
        b'{"choices": [{"message": {"content": 5}}]}',
    ],
)
def test_a_malformed_reply_is_one_clear_line(server: LoopbackServer, body: bytes):
    server.answer = lambda _: (200, body)
    with pytest.raises(ModelError, match=r"no chat completion came back|no message with text") as caught:
        sample(server)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_reply_without_an_end_is_not_read_to_its_end(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(endpoint, "_LARGEST_REPLY_BYTES", 2**20)
    server.answer = lambda _: (200, chat_completion("x" * 2**21))
    with pytest.raises(ModelError, match="longer than any completion"):
        sample(server)
    assert len(server.seen) == 1


# --- what a server does not take ----------------------------------------------------------------------------------


def refusing(*names: str, text: str = "Unexpected fields: {}") -> Callable[[dict[str, Any]], Reply]:
    def answer(request: dict[str, Any]) -> Reply:
        met = [name for name in names if name in request]
        return (422, {"detail": text.format(met)}) if met else the_seed_as_text(request)

    return answer


def test_only_what_the_server_refuses_is_dropped_and_said_once(server: LoopbackServer):
    server.answer = refusing("top_k", "logprobs")
    asking = policy(server, concurrency=1)
    with pytest.warns(UserWarning, match=r"refuses logprobs, top_k: its own defaults") as told:
        list(asking.complete(conversations(2), SamplingConfig()))
    list(asking.complete(conversations(1), SamplingConfig()))
    assert (len(told), len(server.seen)) == (1, 4)
    assert (server.requests()[-1]["min_p"], server.requests()[-1]["top_p"]) == (0.0, 1.0)


def test_a_refusal_that_names_nothing_drops_all_that_was_not_asked_for(server: LoopbackServer):
    server.answer = refusing("min_p", text="bad request")
    with pytest.warns(UserWarning, match="refuses logprobs, min_p, repetition_penalty"):
        sample(server, {"top_p": 0.5})
    assert set(server.requests()[-1]) == {"model", "messages", "seed", "max_tokens", "temperature", "top_p"}


def test_a_setting_that_was_asked_for_is_never_dropped(server: LoopbackServer):
    server.answer = refusing("top_k")
    with pytest.raises(ModelError, match=r"answered 422 .*top_k.*; fix the setting"):
        sample(server, {"top_k": 5})


# --- a server that does not answer --------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_busy_server_is_asked_again(server: LoopbackServer, status: int):
    server.answer_in_turn((status, {"error": "slow down"}))
    assert sample(server).text == "1"
    assert len(server.seen) == 2


def test_a_server_that_stays_broken_is_given_up(server: LoopbackServer):
    server.answer = lambda _: (500, b"Internal Server Error")
    with pytest.raises(ModelError, match=r"/v1: the server answered 500 \(Internal Server Error\); fix"):
        list(policy(server, retries=3).complete(conversations(1), SamplingConfig()))
    assert len(server.seen) == 4


def test_a_server_that_says_nothing_is_given_up(server: LoopbackServer):
    server.never_answer()
    with pytest.raises(ModelError, match=r"no reply in 0.1 s, 2 times; .* kept"):
        list(policy(server, timeout_seconds=0.1).complete(conversations(1), SamplingConfig()))


def test_a_server_that_is_not_there_is_one_line():
    asking = ServerPolicy(ServerConfig(url="http://127.0.0.1:9/v1", model="m"), retries=1)
    with pytest.raises(
        ModelError, match=r"127.0.0.1:9/v1: cannot be reached in 2 attempts \(.*refused.*fix server.url"
    ):
        list(asking.complete(conversations(1), SamplingConfig()))


def test_a_redirect_is_not_followed(server: LoopbackServer):
    server.headers["Location"] = f"{server.url}/elsewhere"
    server.answer = lambda _: (307, {})
    with pytest.raises(ModelError, match="answered 307"):
        sample(server)
    assert len(server.seen) == 1


# --- keys, proxies and addresses ----------------------------------------------------------------------------------


def test_the_key_goes_into_the_request_and_nowhere_else(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAMPLING_API_KEY", f" {KEY}\n")
    asking = policy(server)
    found = list(asking.complete(conversations(1), SamplingConfig()))
    assert server.seen[0][1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr((found, asking.identity(), vars(asking)))


def test_no_key_of_somebody_else_is_sent(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch):
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "HF_TOKEN"):
        monkeypatch.setenv(name, "private")
    sample(server)
    assert "authorization" not in server.seen[0][1]
    assert "private" not in repr(server.seen)


@pytest.mark.parametrize("padding", [0, 190])
def test_a_refused_key_is_not_shown_not_even_its_start(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, padding: int
):
    monkeypatch.setenv("SAMPLING_API_KEY", KEY)
    server.answer = lambda _: (401, f"{'.' * padding} {KEY} is unknown".encode())
    with pytest.raises(ModelError, match="answered 401 .*; set SAMPLING_API_KEY") as caught:
        sample(server)
    assert KEY[:4] not in str(caught.value)
    assert len(server.seen) == 1


def test_a_key_that_fits_no_header_is_refused_unseen(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("SAMPLING_API_KEY", f"{KEY}\nX: y")
    with pytest.raises(ConfigError, match="SAMPLING_API_KEY must be printable ASCII") as caught:
        policy(server)
    assert KEY not in str(caught.value)


def test_no_proxy_stands_between_this_machine_and_itself(server: LoopbackServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert sample(server).text == "1"


def test_a_proxy_that_cannot_be_used_is_one_line(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("all_proxy", "ftp://somewhere")
    with pytest.raises(ConfigError, match="proxy cannot be used"):
        ServerPolicy(ServerConfig(url="http://far.away/v1", model="m"))


@pytest.mark.parametrize(
    "url",
    [
        "localhost:8000",
        "ftp://host/v1",
        "http://",
        "http://[::1/v1",
        "http://host:0/v1",
        "http://a b/v1",
        "http://\x00",
    ],
)
def test_an_address_that_cannot_be_used_is_refused(url: str):
    with pytest.raises(ConfigError, match=r"server.url must be an http\(s\) address, got"):
        ServerPolicy(ServerConfig(url=url, model="m"))


@pytest.mark.parametrize("url", ["http://me:pw@host/v1", "me:pw@host/v1", "http://host/v1?key=pw"])
def test_a_secret_in_the_address_is_refused_unseen(url: str):
    with pytest.raises(ConfigError, match="must not hold a user, password or query") as caught:
        ServerPolicy(ServerConfig(url=url, model="m"))
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("ending", ["", "/", "/v1", "/v1/", "/v1/chat/completions"])
def test_the_address_may_end_anywhere(server: LoopbackServer, ending: str):
    config = ServerConfig(url=server.url.removesuffix("/v1") + ending, model="m")
    list(ServerPolicy(config).complete(conversations(1), SamplingConfig()))
    assert server.seen[0][0] == "/v1/chat/completions"


def test_the_identity_is_the_model_wherever_it_is_served(server: LoopbackServer):
    there = ServerPolicy(ServerConfig(url="https://elsewhere:8443/v1", model="m"))
    assert policy(server).identity() == there.identity() == {"name": "m", "served": True}


# --- transformers serve -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def served(tiny_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerConfig]:
    """A real server with the tiny model; one that does not start fails here with the line that says what it lacks."""
    folder = tmp_path_factory.mktemp("served") / "tiny"
    shutil.copytree(tiny_folder, folder)
    # transformers serve samples only where the model's own configuration says so.
    declared = folder / "generation_config.json"
    declared.write_text(json.dumps({**json.loads(declared.read_text()), "do_sample": True, "top_k": 0}))
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("transformers")
    command = [program, "serve", folder, "--host", "127.0.0.1", "--port", str(port), "--device", "cpu"]
    with (folder.parent / "log").open("w+") as log:
        running = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            while not _is_healthy(port):
                if running.poll() is not None:
                    last = (folder.parent / "log").read_text().strip().splitlines()[-1:]
                    pytest.fail(
                        f"transformers serve does not start ({last}): pip install -e '.[dev]' has what it needs"
                    )
                time.sleep(0.05)
            yield ServerConfig(url=f"http://127.0.0.1:{port}/v1", model=str(folder), concurrency=1)
        finally:
            running.terminate()
            running.wait(30)


def _is_healthy(port: int) -> bool:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(f"http://127.0.0.1:{port}/health", timeout=5) as response:
            return response.status == 200
    except OSError:
        return False


def draw(served: ServerConfig, count: int, seeds: tuple[int, ...]) -> list[list[Completion]]:
    """Answers by conversation; what this server does not take is the business of one test."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        found = dict(ServerPolicy(served).complete(conversations(count, seeds), SamplingConfig(max_new_tokens=8)))
    return [found[index] for index in range(count)]


def test_a_real_server_completes_every_conversation_for_every_seed(served: ServerConfig, tiny_folder: Path):
    tokenizer = load_tokenizer(str(tiny_folder))
    for conversation, answers in zip(conversations(2), draw(served, 2, (1, 2)), strict=True):
        assert len(answers) == len({answer.text for answer in answers}) == 2
        assert {answer.prompt_tokens for answer in answers} == {len(render_prompt(tokenizer, [*conversation.messages]))}
        assert {(answer.finish_reason, answer.completion_tokens) for answer in answers} == {("length", 8)}


def test_a_real_server_asked_one_at_a_time_repeats_itself_for_the_same_seed(served: ServerConfig):
    assert draw(served, 1, (11, 2**61 + 5)) == draw(served, 1, (11, 2**61 + 5))


def test_a_real_server_that_takes_no_top_k_samples_without_it(served: ServerConfig):
    with pytest.warns(UserWarning, match="refuses min_p, repetition_penalty, skip_special_tokens, top_k"):
        ((_, (answer,)),) = ServerPolicy(served).complete(conversations(1), SamplingConfig(max_new_tokens=2))
    assert (answer.completion_tokens, answer.logprob_nats) == (2, None)


def test_a_real_server_s_refusal_is_one_line(served: ServerConfig):
    other = ServerPolicy(ServerConfig(url=served.url, model="another"))
    with pytest.raises(ModelError, match=r"answered 400 .*Server is pinned to .*; fix the setting"):
        list(other.complete(conversations(1), SamplingConfig()))
