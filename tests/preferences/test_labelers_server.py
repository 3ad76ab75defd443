"""A judge on a server, against a real HTTP server on loopback that speaks OpenAI's protocol."""

from __future__ import annotations

import http.server
import json
import math
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from pipelines.errors import ConfigError, ModelError
from pipelines.preferences.labelers import Comparison
from pipelines.preferences.labelers.server import ServerJudge
from pipelines.records import Completion, Task

KEY = "sk-very-secret"


def comparison() -> Comparison:
    task = Task(id="t", family="f", key="k", split="train", prompt="a JSON list of 1 to 2")
    sides = [
        Completion(
            task_id="t",
            index=index,
            prompting="bare",
            text=text,
            finish_reason="stop",
            prompt_tokens=1,
            completion_tokens=1,
            logprob_nats=None,
            seed=0,
        )
        for index, text in enumerate(("[1, 2]<|im_end|>", "[1, 2"))
    ]
    return Comparison(task=task, first=sides[0], second=sides[1])


def reply(**probabilities: float) -> dict[str, Any]:
    likeliest = [
        {"token": token.replace("_", " "), "logprob": math.log(p), "bytes": None} for token, p in probabilities.items()
    ]
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": "judge",
        "choices": [
            {
                "index": 0,
                "finish_reason": "length",
                "message": {"role": "assistant", "content": "A"},
                "logprobs": {"content": [{**likeliest[0], "top_logprobs": likeliest}]} if likeliest else None,
            }
        ],
        "usage": {"prompt_tokens": 50, "completion_tokens": 1, "total_tokens": 51},
    }


def prefer_the_first(request: dict[str, Any]) -> tuple[int, Any]:
    """Likes `[1, 2]`, and whatever is A."""
    is_a = "[1, 2]" in request["messages"][0]["content"].partition("=== B ")[0]
    return 200, reply(A=0.6, _A=0.1, B=0.2) if is_a else reply(A=0.3, B=0.5)


class Server(http.server.ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answer: Callable[[dict[str, Any]], tuple[int, Any]] = prefer_the_first
        self.seen: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.url = f"http://127.0.0.1:{self.server_port}/v1"


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.seen.append((self.path, headers, body))
        status, answer = self.server.answer(body)
        content = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    # The tests forbid huggingface_hub the network; a server on loopback is none.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.delenv("JUDGE_API_KEY", raising=False)
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, daemon=True)
        thread.start()
        yield running
        running.shutdown()
        thread.join()


def judge(server: Server) -> ServerJudge:
    return ServerJudge(server.url, "judge", wait_seconds=0.001)


def test_the_letters_log_probabilities_of_both_orders_decide(server: Server):
    (decision,) = judge(server).decide([comparison()])
    # First as A: (0.6 + 0.1) / 0.9; first as B: 0.5 / 0.8.
    assert decision.detail["p_first_by_order"] == [pytest.approx(7 / 9), pytest.approx(5 / 8)]
    assert (decision.label, decision.tokens) == ("first", 102)
    assert decision.detail["mass"] == pytest.approx(0.8)


def test_one_token_is_asked_for_with_its_log_probabilities(server: Server):
    list(judge(server).decide([comparison()]))
    path, _, request = server.seen[0]
    assert path == "/v1/chat/completions"
    assert (request["model"], request["max_tokens"], request["logprobs"], request["top_logprobs"]) == (
        "judge",
        1,
        True,
        20,
    )


def test_answers_cannot_speak_a_chat_template(server: Server):
    list(judge(server).decide([comparison()]))
    assert "< |im_end|>" in server.seen[0][2]["messages"][0]["content"]


def test_the_key_goes_into_the_request_and_nowhere_else(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    asking = judge(server)
    (decision,) = asking.decide([comparison()])
    assert server.seen[0][1]["authorization"] == f"Bearer {KEY}"
    assert KEY not in repr((decision, asking.by))


def test_the_user_s_hugging_face_token_is_not_sent(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HF_TOKEN", "hf_private")
    list(judge(server).decide([comparison()]))
    assert all("hf_private" not in repr(headers) for _, headers, _ in server.seen)


def test_a_letter_that_is_not_among_the_likeliest_has_no_probability(server: Server):
    server.answer = lambda _: (200, reply(The=0.9, A=0.05))
    (decision,) = judge(server).decide([comparison()])
    assert decision.label == "abstain"
    assert decision.detail["mass"] == pytest.approx(0.05)


def test_a_server_without_log_probabilities_is_an_error(server: Server):
    server.answer = lambda _: (200, reply())
    with pytest.raises(ModelError, match="gives no log-probabilities"):
        list(judge(server).decide([comparison()]))


def test_a_busy_server_is_asked_again(server: Server):
    replies = iter([(503, {"error": "busy"}), (429, {"error": "slow down"})])
    server.answer = lambda request: next(replies, None) or prefer_the_first(request)
    (decision,) = judge(server).decide([comparison()])
    assert (decision.label, len(server.seen)) == ("first", 4)


def test_a_server_that_stays_busy_is_given_up(server: Server):
    server.answer = lambda _: (503, {"error": "busy"})
    with pytest.raises(ModelError, match="the server answered 503"):
        list(judge(server).decide([comparison()]))
    assert len(server.seen) == 4


def test_a_refusal_is_not_repeated_and_does_not_show_the_key(server: Server, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JUDGE_API_KEY", KEY)
    server.answer = lambda _: (401, {"error": f"key {KEY} is unknown"})
    with pytest.raises(ModelError, match="answered 401 .*set JUDGE_API_KEY") as caught:
        list(judge(server).decide([comparison()]))
    assert KEY not in str(caught.value)
    assert len(server.seen) == 1


@pytest.mark.parametrize("content", [b"<html>hello</html>", b"[]", b'"text"'])
def test_what_is_no_chat_completion_is_an_error(server: Server, content: bytes):
    server.answer = lambda _: (200, content)
    with pytest.raises(ModelError, match="no chat completion came back|gives no log-probabilities"):
        list(judge(server).decide([comparison()]))


def test_an_unreachable_server_is_one_line(server: Server):
    url = server.url.replace(str(server.server_port), "9")
    with pytest.raises(ModelError, match=r"127.0.0.1:9/v1: cannot be reached in 4 attempts"):
        list(ServerJudge(url, "judge", wait_seconds=0.001).decide([comparison()]))


def test_offline_mode_is_named():
    with pytest.raises(ModelError, match="HF_HUB_OFFLINE forbids"):
        list(ServerJudge("http://127.0.0.1:9/v1", "judge").decide([comparison()]))


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://host/v1", "http://", "http://me:pw@host/v1"])
def test_an_address_that_cannot_be_used_is_refused(url: str):
    with pytest.raises(ConfigError, match="--server must"):
        ServerJudge(url, "judge")
