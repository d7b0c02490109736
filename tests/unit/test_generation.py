"""Greedy answers do not depend on how they are batched."""

import pytest
import torch
from transformers import GenerationConfig

from core.encoding import encode_prompt
from core.generation import generate, stop_ids
from core.probe_settings import TrainSettings
from core.progress import Cancelled, Progress
from core.rows import Row, Turn
from core.training import train
from tests.tiny import CHATML, tiny_model, tiny_tokenizer

TOKENIZER = tiny_tokenizer()
MODEL = tiny_model(len(TOKENIZER))
QUESTIONS = [
    "Hi",
    "Why is the sky blue?",
    "List three things that people eat in the morning.",
    "日本",
    "Hi there " * 9,
]
PROMPTS = [encode_prompt([Turn("user", text)], TOKENIZER) for text in QUESTIONS]


def greedy(prompt: list[int], n: int) -> str:
    """The plainest loop there is: no batch, no padding, no cache."""
    ids = list(prompt)
    for _ in range(n):
        token = int(MODEL(input_ids=torch.tensor([ids])).logits[0, -1].argmax())
        if token == TOKENIZER.eos_token_id:
            break
        ids.append(token)
    return TOKENIZER.decode(ids[len(prompt) :], skip_special_tokens=True).strip()


@pytest.mark.parametrize("batch_size", [1, 2, 5, 16])
def test_answers_are_those_of_a_plain_loop_in_the_order_asked(batch_size: int) -> None:
    assert generate(MODEL, TOKENIZER, PROMPTS, 12, batch_size) == [greedy(prompt, 12) for prompt in PROMPTS]


def test_the_model_s_own_generation_defaults_neither_count_nor_change() -> None:
    plain = generate(MODEL, TOKENIZER, PROMPTS, 12)
    own = GenerationConfig(do_sample=True, temperature=5.0, repetition_penalty=9.0, eos_token_id=2, min_new_tokens=9)
    kept, MODEL.generation_config = MODEL.generation_config, own
    try:
        assert generate(MODEL, TOKENIZER, PROMPTS, 12) == plain
        assert MODEL.generation_config is own
    finally:
        MODEL.generation_config = kept


def test_answers_end_at_the_end_of_turn() -> None:
    from core.encoding import encode_rows

    rows, _ = encode_rows([Row(0, (Turn("user", "Hi"), Turn("assistant", "Hello you")))], TOKENIZER)
    tuned, _ = train(MODEL, rows, TrainSettings(method="full", epochs=40, learning_rate=0.02))
    assert generate(tuned, TOKENIZER, [PROMPTS[0]], 30) == ["Hello you"]


def test_the_template_s_end_of_turn_stops_even_when_it_is_not_the_eos_token() -> None:
    tokenizer = tiny_tokenizer()
    tokenizer.eos_token = "<|endoftext|>"
    assert stop_ids(MODEL, tokenizer) >= {0, 2}
    plain = tiny_tokenizer(chat_template=CHATML.replace("<|im_end|>", ""))
    plain.eos_token = "<|endoftext|>"
    model = tiny_model(len(plain))
    model.generation_config.eos_token_id = None
    assert stop_ids(model, plain) == {0}


def test_progress_comes_with_every_batch_and_may_cancel() -> None:
    seen: list[Progress] = []
    generate(MODEL, TOKENIZER, PROMPTS, 3, 2, seen.append, "Answers before")
    assert [(item.stage, item.done, item.total) for item in seen] == [
        ("Answers before", 2, 5),
        ("Answers before", 4, 5),
        ("Answers before", 5, 5),
    ]

    def cancel(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        generate(MODEL, TOKENIZER, PROMPTS, 3, 2, cancel)


def test_no_prompts_give_no_answers() -> None:
    assert generate(MODEL, TOKENIZER, [], 3) == []
