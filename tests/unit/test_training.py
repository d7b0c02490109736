"""The fine-tune: its loss, its determinism, and what it leaves alone."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from transformers import AutoConfig, AutoModelForCausalLM

from core.encoding import EncodedRow, encode_rows
from core.errors import UserError
from core.probe_settings import TrainSettings
from core.progress import Cancelled, Progress
from core.rows import Row, Turn
from core.training import evaluate_losses, micro_batches, row_losses, train
from tests.tiny import tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
ANSWERS = [
    "Yes.",
    "The sea is blue because the sky is blue.",
    "1. Bread 2. Eggs 3. Fruit",
    "No",
    "def f(x): return x",
]


def rows(n: int = 10) -> list[EncodedRow]:
    made = [
        Row(
            i,
            (
                Turn("user", "Say " * (1 + i % 4) + f"something {i}"),
                Turn("assistant", ANSWERS[i % len(ANSWERS)]),
            ),
        )
        for i in range(n)
    ]
    encoded, rejected = encode_rows(made, TOKENIZER)
    assert not rejected
    return encoded


def weights(model: Any) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor], tolerance: float = 0.0) -> bool:
    return a.keys() == b.keys() and all(torch.allclose(a[k], b[k], rtol=0, atol=tolerance) for k in a)


def random_model(kind: str, **config: Any) -> Any:
    torch.manual_seed(1)
    small = {
        "vocab_size": len(TOKENIZER),
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "pad_token_id": 2,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, **(small | config))).eval()


MODELS = {
    "llama tied": lambda: tiny_model(len(TOKENIZER)),
    "llama untied": lambda: tiny_model(len(TOKENIZER), tied=False),
    "gemma2 soft-capped": lambda: random_model(
        "gemma2", head_dim=8, final_logit_softcapping=2.0, attn_logit_softcapping=5.0
    ),
    "phi with output bias": lambda: random_model("phi", num_key_value_heads=4),
    "gpt2": lambda: random_model("gpt2", n_embd=32, n_head=4, n_layer=2, n_positions=256),
    "gpt_neox": lambda: random_model("gpt_neox"),
}


@pytest.mark.parametrize("name", MODELS)
def test_row_losses_are_those_of_the_full_logits(name: str) -> None:
    model = MODELS[name]()
    encoded = rows(5)
    found = row_losses(model, encoded)
    for row, loss in zip(encoded, found, strict=True):
        ids, labels = torch.tensor([row.input_ids]), torch.tensor([row.labels])
        assert torch.allclose(model(input_ids=ids, labels=labels).loss, loss, rtol=1e-5, atol=1e-6)


def test_only_supervised_positions_reach_the_output_layer() -> None:
    model, encoded = tiny_model(len(TOKENIZER)), rows(4)
    seen: list[int] = []
    hook = model.lm_head.register_forward_hook(lambda _m, _a, out: seen.append(out.shape[:-1].numel()))
    row_losses(model, encoded)
    hook.remove()
    assert seen == [sum(row.supervised_tokens for row in encoded)]
    assert not model.lm_head._forward_pre_hooks


def test_losses_do_not_depend_on_the_batch() -> None:
    model, encoded = tiny_model(len(TOKENIZER)), rows(9)
    one_by_one = evaluate_losses(model, encoded, token_budget=1)
    assert evaluate_losses(model, encoded, token_budget=100_000) == pytest.approx(one_by_one, rel=1e-5)
    assert evaluate_losses(model, encoded[::-1], 200) == pytest.approx(one_by_one[::-1], rel=1e-5)


def test_micro_batches_fit_the_budget_and_lose_no_row() -> None:
    encoded = rows(20)
    batches = list(micro_batches(range(20), encoded, 100))
    assert sorted(i for batch in batches for i in batch) == list(range(20))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(len(encoded[i].input_ids) for i in batch) <= 100


@pytest.mark.parametrize("method", ["lora", "full"])
def test_training_learns_and_leaves_the_caller_s_model_alone(method: str) -> None:
    model = tiny_model(len(TOKENIZER)).requires_grad_(False)
    before, encoded = weights(model), rows()
    tuned, report = train(model, encoded, TrainSettings(method=method, epochs=15, learning_rate=0.01))
    assert same(weights(model), before)
    assert not model.training and not any(p.requires_grad for p in model.parameters())
    assert type(tuned) is type(model) and not tuned.training
    assert not any(p.requires_grad for p in tuned.parameters())
    assert weights(tuned).keys() == before.keys()
    first, last = sum(evaluate_losses(model, encoded)), sum(evaluate_losses(tuned, encoded))
    assert last < 0.8 * first
    assert report.loss_curve[0] == pytest.approx(first / len(encoded), rel=1e-4)
    assert (report.rows, report.row_ids, report.steps) == (10, list(range(10)), 15)
    assert report.supervised_tokens == sum(row.supervised_tokens for row in encoded)
    assert report.tokens_per_second > 0 and report.trainable_parameters > 0


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_same_seed_gives_the_same_weights_and_another_does_not(method: str) -> None:
    model = tiny_model(len(TOKENIZER))
    settings = TrainSettings(method=method, epochs=2, batch_rows=3, lora_dropout=0.2)
    first, second = (weights(train(model, rows(), settings)[0]) for _ in range(2))
    other = weights(train(model, rows(), settings.model_copy(update={"seed": 1}))[0])
    assert same(first, second)
    assert not same(first, other)


@pytest.mark.parametrize("method", ["lora", "full"])
def test_the_token_budget_only_cuts_micro_batches(method: str) -> None:
    model = tiny_model(len(TOKENIZER))
    runs = [
        train(
            model,
            rows(),
            TrainSettings(method=method, epochs=2, batch_rows=4, token_budget=budget, precision="float32"),
        )
        for budget in (1, 130, 100_000)
    ]
    for tuned, report in runs[1:]:
        assert same(weights(tuned), weights(runs[0][0]), tolerance=1e-4)
        assert report.loss_curve == pytest.approx(runs[0][1].loss_curve, rel=1e-4)
        assert report.steps == 6


def test_a_full_step_is_one_adamw_step_on_the_mean_of_row_means() -> None:
    model, encoded = tiny_model(len(TOKENIZER), tied=False), rows(3)
    tuned, _ = train(
        model, encoded, TrainSettings(method="full", epochs=1, learning_rate=1e-3, token_budget=60, precision="float32")
    )
    reference = tiny_model(len(TOKENIZER), tied=False)
    loss = torch.stack(
        [reference(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss for row in encoded]
    ).mean()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
    torch.optim.AdamW(reference.parameters(), lr=1e-3, weight_decay=0.0).step()
    for ours, theirs in zip(tuned.parameters(), reference.parameters(), strict=True):
        # Adam's first step is the sign of the gradient, which is noise where the gradient is zero.
        assert ((ours - theirs).abs() < 1e-5).float().mean() > 0.99


def test_torch_s_global_random_state_is_given_back() -> None:
    model = tiny_model(len(TOKENIZER))
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    train(model, rows(4), TrainSettings(epochs=1))
    assert torch.equal(torch.rand(3), expected)


def test_progress_comes_with_every_micro_batch_and_may_cancel() -> None:
    model, encoded = tiny_model(len(TOKENIZER)), rows(6)
    seen: list[Progress] = []
    train(model, encoded, TrainSettings(epochs=2, token_budget=1), seen.append)
    assert [item.done for item in seen] == list(range(1, 13))
    assert seen[-1].total == 12
    assert seen[-1].tokens_done == seen[-1].tokens_total == 2 * sum(len(row.input_ids) for row in encoded)

    def cancel(progress: Progress) -> None:
        if progress.done == 3:
            raise Cancelled

    before = weights(model)
    with pytest.raises(Cancelled):
        train(model, encoded, TrainSettings(epochs=2, token_budget=1), cancel)
    assert same(weights(model), before)


def test_nothing_to_train_on_and_divergence_are_user_errors() -> None:
    model = tiny_model(len(TOKENIZER))
    with pytest.raises(UserError, match="no rows"):
        train(model, [], TrainSettings())
    with torch.no_grad():
        model.model.norm.weight.fill_(float("inf"))
    with pytest.raises(UserError, match="diverged at step 1"):
        train(model, rows(2), TrainSettings())


def test_the_learning_rate_follows_the_method_unless_given() -> None:
    assert TrainSettings().learning_rate == 1e-3
    assert TrainSettings(method="full").learning_rate == 5e-5
    assert TrainSettings(method="full", learning_rate=1e-3).learning_rate == 1e-3
    assert TrainSettings(learning_rate=None).learning_rate == 1e-3  # type: ignore[arg-type]
    with pytest.raises(ValidationError):
        TrainSettings(epochs=0)


def test_a_gpt2_with_conv1d_takes_lora() -> None:
    model = MODELS["gpt2"]()
    _, report = train(model, rows(4), TrainSettings(epochs=3, learning_rate=0.02))
    assert report.loss_curve[-1] < report.loss_curve[0]


def test_settings_and_selection_need_no_torch() -> None:
    code = "import sys, core.probe_settings, core.selection; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
