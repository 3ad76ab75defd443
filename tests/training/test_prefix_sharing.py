from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig
from transformers import AutoModelForCausalLM, Qwen3Config, Qwen3MoeConfig
from trl import DPOConfig, DPOTrainer
from trl.trainer.dpo_trainer import DataCollatorForPreference
from trl.trainer.utils import add_fused_lm_head

from pipelines.models import load_model
from pipelines.training.prefix_sharing import lay_out, pack, share_prefixes, supports_prefix_sharing
from pipelines.training.trainer import PrefixSharingDPOTrainer
from tests.attention.architectures import windowed
from tests.tiny import build_tiny_model

FIELDS = ("log_probs", "entropy", "mean_logits", "is_top1")
LOSSES = (["sigmoid"], ["ipo"], ["sigmoid", "sft"], ["apo_zero"])


def batch_of(tokenizer, pairs: int = 5, seed: int = 0) -> dict[str, torch.Tensor]:
    rng = random.Random(seed)

    def tokens(least: int, most: int) -> list[int]:
        return [rng.randrange(3, len(tokenizer)) for _ in range(rng.randint(least, most))]

    examples = [
        {"prompt_ids": tokens(1, 30), "chosen_ids": tokens(1, 25), "rejected_ids": tokens(1, 25)} for _ in range(pairs)
    ]
    return DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id, max_length=512)(examples)


def labels_of(batch: dict[str, torch.Tensor]) -> torch.Tensor:
    return batch["input_ids"].masked_fill(batch["completion_mask"] == 0, -100)


def fused(model, batch: dict[str, torch.Tensor]):
    return model(
        input_ids=batch["input_ids"],
        attention_mask=batch["attention_mask"],
        labels=labels_of(batch),
        fused_lm_head=True,
        use_cache=False,
    )


def test_a_mixture_of_experts_goes_trls_own_way():
    """Its balancing loss reads the attention mask as one value per token, not as a matrix."""
    sizes = {"hidden_size": 32, "intermediate_size": 32, "moe_intermediate_size": 32, "num_hidden_layers": 2}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 2, "head_dim": 16, "vocab_size": 64}
    mixture = Qwen3MoeConfig(**sizes, **heads, num_experts=2, num_experts_per_tok=1)
    dense = Qwen3Config(**{name: value for name, value in sizes.items() if name != "moe_intermediate_size"}, **heads)
    taken = [supports_prefix_sharing(AutoModelForCausalLM.from_config(config)) for config in (dense, mixture)]
    assert taken == [True, False]


@given(st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=12), min_size=1, max_size=20))
def test_a_layout_holds_every_sequence_on_a_path_of_its_own_ancestors(rows: list[list[int]]):
    width = 1 + max(map(len, rows))
    ids = torch.tensor([[*row, 9, *[0] * (width - len(row) - 1)] for row in rows])
    labels = torch.full_like(ids, -100)
    for row, tokens in enumerate(rows):
        labels[row, len(tokens)] = 9
    layout = lay_out(ids, labels)
    for place, row in zip(layout.scatter // (width - 1), rows_of(layout), strict=True):
        assert row == rows[place]


def rows_of(layout) -> list[list[int]]:
    """For each predicted value: the tokens that its position sees, in order."""
    flat_mask = layout.mask[:, 0].flatten(0, 1)[layout.gather]
    tree = layout.gather // layout.mask.shape[-1]
    seen = [layout.input_ids[row][mask].tolist() for row, mask in zip(tree, flat_mask, strict=True)]
    depths = [layout.position_ids[row][mask].tolist() for row, mask in zip(tree, flat_mask, strict=True)]
    assert all(depth == list(range(len(depth))) for depth in depths)
    return [seen[index] for index in layout.source.tolist()]


@given(st.lists(st.tuples(st.integers(1, 300), st.integers(0, 300)), min_size=1, max_size=40))
def test_every_sequence_is_in_one_row_that_holds_its_tree(sizes: list[tuple[int, int]]):
    lengths = [length for length, _ in sizes]
    shared = [0, *(min(common, length, before) for (length, common), before in zip(sizes[1:], lengths, strict=False))]
    runs, width = pack(lengths, shared)
    assert [index for run in runs for index in run] == list(range(len(lengths)))
    assert all(sum(lengths[i] - (shared[i] if i != run[0] else 0) for i in run) <= width for run in runs)


@pytest.mark.parametrize("implementation", ["sdpa", "eager"])
@pytest.mark.parametrize("seed", range(4))
def test_every_value_and_gradient_equals_that_of_the_plain_batch(tiny_folder: Path, implementation: str, seed: int):
    model, tokenizer = load_model(str(tiny_folder))
    model.set_attn_implementation(implementation)
    add_fused_lm_head(model, outputs=FIELDS)
    batch = batch_of(tokenizer, seed=seed)

    def run() -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
        model.zero_grad()
        output = fused(model, batch)
        output.log_probs.sum().backward()
        return {name: getattr(output, name) for name in FIELDS}, [value.grad.clone() for value in model.parameters()]

    plain, plain_gradients = run()
    share_prefixes(model)
    shared, shared_gradients = run()
    for name in FIELDS:
        torch.testing.assert_close(shared[name].float(), plain[name].float(), rtol=1e-4, atol=1e-5)
    for one, other in zip(shared_gradients, plain_gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)


def test_one_branch_does_not_see_the_other(tiny_folder: Path):
    model, tokenizer = load_model(str(tiny_folder))
    add_fused_lm_head(model, outputs=FIELDS)
    share_prefixes(model)
    batch = batch_of(tokenizer, pairs=3)
    before = fused(model, batch).log_probs
    chosen = batch["completion_mask"].bool()
    chosen[3:] = False
    batch["input_ids"] = torch.where(chosen, (batch["input_ids"] - 3 + 7) % 200 + 3, batch["input_ids"])
    after = fused(model, batch).log_probs
    assert torch.equal(before[3:], after[3:])
    assert not torch.equal(before[:3], after[:3])


def test_what_rows_have_in_common_is_laid_out_once():
    # two pairs of one prompt (1 2 3); the second rejected begins like its chosen
    ids = torch.tensor([[1, 2, 3, 4, 5], [1, 2, 3, 6, 7], [1, 2, 3, 8, 9], [1, 2, 3, 6, 5]])
    labels = ids.masked_fill(torch.arange(5) < 3, -100)
    layout = lay_out(ids, labels)
    assert layout.input_ids.tolist() == [[1, 2, 3, 4, 6, 8]]
    assert layout.position_ids.tolist() == [[0, 1, 2, 3, 3, 3]]
    # 3 → 4, 6, 8; 4 → 5; 6 → 7 and 5; 8 → 9
    assert len(layout.labels) == 7
    assert layout.mask[0, 0, 4].tolist() == [True, True, True, False, True, False]


def test_a_batch_padded_on_the_left_goes_the_plain_way(tiny_folder: Path):
    model, tokenizer = load_model(str(tiny_folder))
    add_fused_lm_head(model, outputs=FIELDS)
    batch = {name: value.flip(-1) for name, value in batch_of(tokenizer, pairs=2).items()}
    plain = fused(model, batch).log_probs
    share_prefixes(model)
    assert torch.equal(fused(model, batch).log_probs, plain)


@pytest.mark.parametrize("too_long", [False, True])
@pytest.mark.parametrize("name", ["gemma3", "mistral"])
def test_rows_that_fit_a_sliding_window_share_and_longer_ones_do_not(tiny, name: str, too_long: bool):
    batch = batch_of(tiny[1])
    model = windowed(name, batch["input_ids"].shape[1] - too_long)
    assert supports_prefix_sharing(model)
    add_fused_lm_head(model, outputs=FIELDS)
    plain = fused(model, batch).log_probs
    share_prefixes(model)
    if too_long:
        with pytest.warns(UserWarning, match="share no prefixes"):
            shared = fused(model, batch).log_probs
        assert torch.equal(shared, plain)
    else:
        shared = fused(model, batch).log_probs
        torch.testing.assert_close(shared, plain, rtol=1e-4, atol=1e-5)
        assert not torch.equal(shared, plain)  # another way to the same numbers


def preference_rows(count: int) -> Dataset:
    rng = random.Random(1)

    def answer() -> list[dict[str, str]]:
        return [{"role": "assistant", "content": str([rng.randrange(9) for _ in range(rng.randint(1, 5))])}]

    rows = [
        {"prompt": [{"role": "user", "content": f"ask {index}"}], "chosen": answer(), "rejected": answer()}
        for index in range(count)
    ]
    return Dataset.from_list(rows)


def train(
    trainer_class: type, folder: Path, source: Path | str, *, lora: bool, pairs: Dataset | None = None, **settings
) -> DPOTrainer:
    model, tokenizer = load_model(str(source))
    values = {"per_device_train_batch_size": 4, "max_steps": 20, "learning_rate": 1e-3, **settings}
    arguments = DPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to="none", logging_steps=1, save_strategy="no",
        gradient_checkpointing=False, disable_tqdm=True, **values,
    )  # fmt: skip
    trainer = trainer_class(
        model=model,
        args=arguments,
        train_dataset=pairs or preference_rows(40),
        processing_class=tokenizer,
        peft_config=LoraConfig(r=4, target_modules="all-linear", task_type="CAUSAL_LM") if lora else None,
    )
    trainer.train()
    return trainer


def assert_same_course(one: DPOTrainer, other: DPOTrainer, relative: float = 1e-4) -> None:
    """Per-step loss, rewards, margins and gradient norm, and the weights at the end."""
    for mine, theirs in zip(one.state.log_history[:-1], other.state.log_history[:-1], strict=True):
        for name in ("loss", "grad_norm", "rewards/chosen", "rewards/rejected", "rewards/margins", "logps/chosen"):
            assert mine[name] == pytest.approx(theirs[name], rel=relative, abs=2e-5), (mine["step"], name)
    weights = dict(other.model.named_parameters())
    for name, value in one.model.named_parameters():
        torch.testing.assert_close(value, weights[name], rtol=relative, atol=1e-4)


@pytest.mark.parametrize(
    ("loss", "lora"),
    [
        *((loss, True) for loss in LOSSES),
        (LOSSES[0], False),
        *(pytest.param(loss, False, marks=pytest.mark.slow) for loss in LOSSES[1:]),
    ],
    ids=str,
)
def test_twenty_steps_equal_those_of_trls_own_trainer(tiny_folder: Path, tmp_path: Path, loss: list[str], lora: bool):
    ours = train(PrefixSharingDPOTrainer, tmp_path / "ours", tiny_folder, lora=lora, loss_type=loss)
    theirs = train(DPOTrainer, tmp_path / "theirs", tiny_folder, lora=lora, loss_type=loss)
    assert_same_course(ours, theirs)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("loss", "lora"),
    [*((loss, True) for loss in LOSSES), (LOSSES[0], False)],
    ids=str,
)
def test_twenty_steps_of_the_bundled_model_equal_those_of_trls_own_trainer(tmp_path: Path, loss: list[str], lora: bool):
    settings = {"per_device_train_batch_size": 1, "learning_rate": 1e-4 if lora else 1e-6, "loss_type": loss}
    ours = train(PrefixSharingDPOTrainer, tmp_path / "ours", "bundled", lora=lora, **settings)
    theirs = train(DPOTrainer, tmp_path / "theirs", "bundled", lora=lora, **settings)
    assert_same_course(ours, theirs)


def test_a_reference_computed_beforehand_gives_the_same_course(tiny_folder: Path, tmp_path: Path):
    ours = train(PrefixSharingDPOTrainer, tmp_path / "a", tiny_folder, lora=True, precompute_ref_log_probs=True)
    theirs = train(PrefixSharingDPOTrainer, tmp_path / "b", tiny_folder, lora=True, loss_type=["sigmoid"])
    assert_same_course(ours, theirs)


def test_the_reference_is_computed_once_per_dataset_and_model(tiny_folder: Path, tmp_path: Path):
    preference_rows(6).to_parquet(tmp_path / "pairs.parquet")
    batches = []

    class Counting(PrefixSharingDPOTrainer):
        def compute_ref_log_probs(self, model, inputs):
            batches.append(len(inputs["input_ids"]))
            return super().compute_ref_log_probs(model, inputs)

    def build(seed: int) -> int:
        source = build_tiny_model(tmp_path / f"model{seed}", seed=seed)
        pairs = Dataset.from_parquet(str(tmp_path / "pairs.parquet"), cache_dir=str(tmp_path / "cache"))
        batches.clear()
        train(Counting, tmp_path / "t", source, lora=True, max_steps=4, precompute_ref_log_probs=True, pairs=pairs)
        return len(batches)

    assert [build(0), build(0), build(1)] == [2, 0, 2]


def test_one_pair_accumulated_eight_times_equals_eight_at_once(tiny_folder: Path, tmp_path: Path):
    ones = train(
        PrefixSharingDPOTrainer, tmp_path / "1", tiny_folder, lora=True, per_device_train_batch_size=1,
        gradient_accumulation_steps=8, max_steps=5,
    )  # fmt: skip
    eight = train(
        PrefixSharingDPOTrainer, tmp_path / "8", tiny_folder, lora=True, per_device_train_batch_size=8, max_steps=5
    )
    assert_same_course(ones, eight)
