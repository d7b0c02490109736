"""The batched engine against row-by-row autograd over all parameters, family by family."""

import random

import pytest
import torch
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    Gemma2Config,
    Gemma3TextConfig,
    GemmaConfig,
    GPT2Config,
    GPTNeoXConfig,
    LlamaConfig,
    MistralConfig,
    MixtralConfig,
    Phi3Config,
    PhiConfig,
    Qwen2Config,
    Qwen3Config,
)

from core.encoding import IGNORE, EncodedRow
from core.errors import UserError
from core.exact_loop import ExactLoop
from core.gradients import GradientEngine

VOCAB = 97
COMMON = {
    "vocab_size": VOCAB,
    "hidden_size": 24,
    "intermediate_size": 40,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 128,
    "initializer_range": 0.3,
    "pad_token_id": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
PLAIN = {k: v for k, v in COMMON.items() if k != "num_key_value_heads"}
FAMILIES = {
    "llama-tied": LlamaConfig(**COMMON, tie_word_embeddings=True),
    "llama-untied": LlamaConfig(**COMMON, tie_word_embeddings=False),
    "llama-biases": LlamaConfig(**COMMON, attention_bias=True, mlp_bias=True),
    "mistral": MistralConfig(**COMMON, sliding_window=16),
    "qwen2": Qwen2Config(**COMMON, tie_word_embeddings=True),
    "qwen3": Qwen3Config(**COMMON, head_dim=8, tie_word_embeddings=True),
    "gemma": GemmaConfig(**COMMON, head_dim=8),
    "gemma2-softcap": Gemma2Config(
        **COMMON, head_dim=8, final_logit_softcapping=5.0, attn_logit_softcapping=4.0, sliding_window=16
    ),
    "gemma3": Gemma3TextConfig(**COMMON, head_dim=8, sliding_window=16),
    "gpt2": GPT2Config(
        vocab_size=VOCAB,
        n_embd=24,
        n_layer=2,
        n_head=4,
        n_positions=128,
        initializer_range=0.3,
        pad_token_id=2,
    ),
    "gpt-neox": GPTNeoXConfig(**PLAIN),
    "gpt-neox-sequential": GPTNeoXConfig(**PLAIN, use_parallel_residual=False, tie_word_embeddings=True),
    "phi": PhiConfig(**{**COMMON, "hidden_size": 32}),
    "phi3": Phi3Config(**COMMON),
}


def family(name: str) -> nn.Module:
    torch.manual_seed(7)
    attention = "eager" if "softcap" in name else "sdpa"
    model = AutoModelForCausalLM.from_config(FAMILIES[name], attn_implementation=attention).eval()
    # Biases and norm weights start at 0 and 1, where a wrong formula can still look right.
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.data += 0.2 * torch.randn_like(parameter)
    return model.requires_grad_(False)


def row(row_id: int, prompt: int, answer: int, seed: int | None = None) -> EncodedRow:
    draw = random.Random(row_id if seed is None else seed)
    ids = [draw.randrange(VOCAB) for _ in range(prompt + answer)]
    ids[-1] = 2  # The end-of-turn token is also the padding token, as in SmolLM2.
    labels = [IGNORE] * prompt + ids[prompt:]
    return EncodedRow(row_id, ids, labels, answer, answer, answer, False)


ROWS = [row(0, 5, 1), row(1, 3, 30), row(2, 40, 2), row(3, 12, 12), row(4, 1, 60), row(5, 20, 7)]


def relative_error(ours: torch.Tensor, exact: torch.Tensor) -> float:
    return float(((ours - exact).abs() / exact).max())


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_agrees_with_autograd_over_all_parameters(name: str) -> None:
    model = family(name)
    exact = ExactLoop(model).score(ROWS)
    ours = GradientEngine(model).score(ROWS)
    assert relative_error(ours.self_inf, exact.self_inf) <= 1e-4
    assert torch.allclose(ours.loss, exact.loss, rtol=1e-4)
    assert torch.allclose(ours.features, exact.features, atol=1e-4)
    assert float(exact.self_inf.min()) > 0


@pytest.mark.parametrize("name", ["llama-tied", "gemma2-softcap", "gpt2", "gpt-neox"])
def test_batch_size_order_and_padding_side_change_nothing(name: str) -> None:
    engine = GradientEngine(family(name))
    alone = torch.cat([engine.score([r]).self_inf for r in ROWS])
    assert relative_error(engine.score(ROWS).self_inf, alone) <= 1e-4
    assert relative_error(engine.score(ROWS[::-1]).self_inf.flip(0), alone) <= 1e-4
    assert relative_error(engine.score(ROWS, padding_side="left").self_inf, alone) <= 1e-4


def test_the_oracle_is_the_square_norm_of_plain_autograd() -> None:
    model = family("llama-tied")
    reference = family("llama-tied").requires_grad_(True)
    for one in ROWS:
        reference.zero_grad()
        out = reference(input_ids=torch.tensor([one.input_ids]), labels=torch.tensor([one.labels]))
        out.loss.backward()
        squared = sum(float(p.grad.double().square().sum()) for p in reference.parameters() if p.grad is not None)
        ours = ExactLoop(model).score([one])
        assert float(ours.self_inf[0]) == pytest.approx(squared, rel=1e-5)
        assert ours.loss[0].item() == pytest.approx(out.loss.item(), rel=1e-5)


def test_both_forms_of_the_norm_are_used_and_agree() -> None:
    """Long rows in narrow layers form the gradient, short rows take Gram matrices."""
    model = family("llama-untied")
    rows = [row(0, 2, 2), row(1, 20, 80)]
    exact = ExactLoop(model).score(rows).self_inf
    engine = GradientEngine(model)
    assert relative_error(torch.cat([engine.score([r]).self_inf for r in rows]), exact) <= 1e-4


def test_scoring_leaves_the_model_as_it_was() -> None:
    model = family("llama-tied")
    before = {name: p.clone() for name, p in model.named_parameters()}
    GradientEngine(model).score(ROWS)
    ExactLoop(model).score(ROWS[:2])
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None and not parameter.requires_grad
    assert not any(module._forward_hooks for module in model.modules() if isinstance(module, nn.Linear))


def test_features_are_unit_vectors_whose_inner_products_follow_the_gradients() -> None:
    model = family("llama-untied")
    rows = [row(i, 10, 10) for i in range(6)] + [row(6, 10, 10, seed=0)]
    features = GradientEngine(model).score(rows).features
    assert torch.allclose(features.norm(dim=1), torch.ones(7), atol=1e-5)
    cosine = features @ features.T
    assert float(cosine[0, 6]) == pytest.approx(1, abs=1e-5)  # the same row twice
    assert float(cosine[0, 1:6].max()) < 0.9


def test_an_unknown_module_is_an_error_that_names_it_and_the_way_out() -> None:
    config = MixtralConfig(**COMMON, num_local_experts=2, num_experts_per_tok=1)
    model = AutoModelForCausalLM.from_config(config).eval().requires_grad_(False)
    with pytest.raises(UserError, match=r"does not know the module model\.layers\.0\.mlp.*--exact-loop"):
        GradientEngine(model)
    assert float(ExactLoop(model).score(ROWS[:1]).self_inf) > 0


def test_logits_changed_in_an_unknown_way_are_an_error() -> None:
    model = family("llama-tied")
    model.register_forward_hook(lambda module, args, out: setattr(out, "logits", out.logits * 3) or out)
    with pytest.raises(UserError, match="changes its logits"):
        GradientEngine(model)
