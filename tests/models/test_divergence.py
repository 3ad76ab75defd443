from __future__ import annotations

import pytest
import torch

from pipelines.models import Continuation, mean_kl_nats, next_tokens

SOME = [Continuation((5, 6, 7), (8, 9)), Continuation((5,), (10, 11, 12, 13))]


def test_next_tokens_are_those_of_each_sequence_alone(tiny):
    model, _ = tiny
    found = next_tokens(model, SOME)
    alone = []
    for one in SOME:
        with torch.inference_mode():
            logits = model(torch.tensor([[*one.prompt, *one.completion]])).logits[0]
        alone.append(logits[len(one.prompt) - 1 : -1].log_softmax(-1))
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-5, rtol=1e-5)


def test_a_model_is_no_way_from_itself(tiny):
    model, _ = tiny
    assert mean_kl_nats(SOME, lambda some: next_tokens(model, some), lambda some: next_tokens(model, some)) == 0


def test_the_divergence_is_the_textbook_one_averaged_over_tokens():
    p, q = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.25, 0.75], [0.9, 0.1]])
    expected = (0.5 * torch.log(torch.tensor(2.0)) + 0.5 * torch.log(torch.tensor(2 / 3))) / 2
    found = mean_kl_nats(SOME[:1], lambda _: p.log(), lambda _: q.log())
    assert found == pytest.approx(float(expected), rel=1e-6)
