"""Rows to token ids: what is supervised, what truncation cuts, which templates work."""

import pytest

from core.encoding import IGNORE, NO_ANSWER_LEFT, Unencodable, encode_prompt, encode_row, encode_rows
from core.models import FALLBACK_TEMPLATE
from core.rows import Row, Turn
from tests.tiny import tiny_tokenizer

# Knows user and assistant only, strictly in turns, like Gemma's and Mistral's templates.
STRICT = (
    "{% for m in messages %}"
    "{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) or m['role'] not in ['user', 'assistant'] %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}"
    "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] | trim + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


def row(prompt: str, answer: str, row_id: int = 0) -> Row:
    return Row(row_id, (Turn("user", prompt), Turn("assistant", answer)))


def supervised_text(encoded, tokenizer) -> str:
    return tokenizer.decode([label for label in encoded.labels if label != IGNORE])


def test_supervised_are_the_answer_and_its_end_of_turn_token() -> None:
    tokenizer = tiny_tokenizer()
    encoded = encode_row(row("What colour is snow?", "White."), tokenizer)
    assert supervised_text(encoded, tokenizer) == "White.<|im_end|>"
    assert encoded.supervised_tokens == encoded.answer_tokens + 1
    assert tokenizer.decode(encoded.input_ids).startswith("<|im_start|>system\nYou are a helpful assistant.")
    assert encoded.answer_words == 1 and not encoded.truncated
    assert [a for a, b in zip(encoded.input_ids, encoded.labels, strict=True) if b != IGNORE] == [
        label for label in encoded.labels if label != IGNORE
    ]


def test_labels_match_the_template_applied_by_hand() -> None:
    tokenizer = tiny_tokenizer()
    one = row("List three things.", "Bread, eggs and fruit.\n\nThat is all.")
    encoded = encode_row(one, tokenizer)
    messages = [{"role": t.role, "content": t.content} for t in one.turns]
    whole = tokenizer.apply_chat_template(messages, tokenize=False)
    prompt = tokenizer.apply_chat_template(messages[:-1], tokenize=False, add_generation_prompt=True)
    ids = tokenizer(whole, add_special_tokens=False)["input_ids"]
    start = len(tokenizer(prompt, add_special_tokens=False)["input_ids"])
    end = max(i for i, token in enumerate(ids) if token == tokenizer.eos_token_id) + 1
    assert encoded.input_ids == ids[:end]
    assert encoded.labels == [IGNORE] * start + ids[start:end]


def test_earlier_turns_calls_and_tools_are_context_never_supervised() -> None:
    tokenizer = tiny_tokenizer()
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "Weather?"),
        Turn("function_call", '{"name": "weather"}'),
        Turn("tool", "sunny"),
        Turn("assistant", "It is sunny."),
    )
    encoded = encode_row(Row(0, turns), tokenizer)
    assert supervised_text(encoded, tokenizer) == "It is sunny.<|im_end|>"
    assert '{"name": "weather"}' in tokenizer.decode(encoded.input_ids)


def test_a_call_right_before_the_answer_stays_context_under_a_strict_template() -> None:
    tokenizer = tiny_tokenizer(chat_template=STRICT)
    turns = (
        Turn("system", "Be brief."),
        Turn("user", "Weather?"),
        Turn("function_call", "CALL"),
        Turn("assistant", "Sunny."),
    )
    encoded = encode_row(Row(0, turns), tokenizer)
    assert supervised_text(encoded, tokenizer) == "Sunny.<|im_end|>"
    text = tokenizer.decode(encoded.input_ids)
    assert "CALL" in text and "Be brief." in text


def test_prompt_truncation_keeps_the_answer_and_every_template_token() -> None:
    tokenizer = tiny_tokenizer()
    whole = encode_row(row("word " * 300, "The answer stays."), tokenizer, max_length=2000)
    cut = encode_row(row("word " * 300, "The answer stays."), tokenizer, max_length=64)
    assert len(cut.input_ids) == 64 and cut.truncated and not whole.truncated
    assert supervised_text(cut, tokenizer) == "The answer stays.<|im_end|>"
    assert cut.supervised_tokens == whole.supervised_tokens
    text = tokenizer.decode(cut.input_ids)
    assert text.startswith("<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\nword word")
    assert "<|im_end|>\n<|im_start|>assistant\nThe answer" in text


def test_the_oldest_turns_give_way_first_and_a_given_system_turn_last() -> None:
    tokenizer = tiny_tokenizer()
    turns = (
        Turn("system", "Keep this rule."),
        Turn("user", "old " * 60),
        Turn("assistant", "Older answer."),
        Turn("user", "newest question"),
        Turn("assistant", "Yes."),
    )
    text = tokenizer.decode(encode_row(Row(0, turns), tokenizer, max_length=100).input_ids)
    assert "Keep this rule." in text and "newest question" in text and text.count("old ") < 60


def test_tail_truncation_cuts_the_end_and_leaves_a_stub() -> None:
    tokenizer = tiny_tokenizer()
    one = row("What is the capital of France?", "Paris " * 200)
    encoded = encode_row(one, tokenizer, max_length=80, truncate="tail")
    assert len(encoded.input_ids) == 80 and encoded.truncated
    assert 0 < encoded.supervised_tokens < encoded.answer_tokens
    assert encoded.input_ids[-1] != tokenizer.eos_token_id


def test_an_answer_longer_than_the_window_keeps_part_of_its_prompt() -> None:
    tokenizer = tiny_tokenizer()
    encoded = encode_row(row("question " * 50, "answer " * 400), tokenizer, max_length=120)
    text = tokenizer.decode(encoded.input_ids)
    assert len(encoded.input_ids) == 120 and encoded.truncated
    assert "question" in text and encoded.supervised_tokens > 30


def test_a_row_without_a_supervised_token_is_reported_not_scored() -> None:
    tokenizer = tiny_tokenizer()
    rows = [row("short", "fine", 0), row("word " * 300, "lost", 1)]
    encoded, unscorable = encode_rows(rows, tokenizer, max_length=64, truncate="tail")
    assert [e.row_id for e in encoded] == [0]
    assert [(r.row_id, r.reason) for r in unscorable] == [(1, NO_ANSWER_LEFT)]


def test_the_fallback_template_supervises_the_answer_and_the_end_of_sequence() -> None:
    tokenizer = tiny_tokenizer(chat_template=FALLBACK_TEMPLATE)
    encoded = encode_row(row("What colour is snow?", "White."), tokenizer)
    assert supervised_text(encoded, tokenizer) == "White.<|im_end|>"
    assert "### Instruction:\nWhat colour is snow?" in tokenizer.decode(encoded.input_ids)


def test_a_template_that_cannot_express_the_turns_is_a_reason_not_a_crash() -> None:
    tokenizer = tiny_tokenizer(chat_template="{{ raise_exception('never') }}")
    with pytest.raises(Unencodable):
        encode_row(row("a", "b"), tokenizer)


def test_answer_length_counts_the_whole_answer_in_both_units() -> None:
    tokenizer = tiny_tokenizer()
    answer = "The capital of France is Paris. " * 30
    encoded = encode_row(row("q", answer), tokenizer, max_length=64)
    assert encoded.answer_words == 180
    assert encoded.answer_tokens == len(tokenizer(answer, add_special_tokens=False)["input_ids"])


def test_a_prompt_for_generation_ends_where_the_answer_begins() -> None:
    tokenizer = tiny_tokenizer()
    ids = encode_prompt((Turn("user", "word " * 200),), tokenizer, max_length=50)
    assert len(ids) == 50
    assert tokenizer.decode(ids).endswith("<|im_end|>\n<|im_start|>assistant\n")
