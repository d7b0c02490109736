"""Formats and their columns are recognised, and records become turns."""

import json
from typing import Any

import pytest

from core.errors import UserError
from core.fields import FORMATS, FieldMapping, columns_seen, detect_mapping, looks_like_row
from core.rows import (
    ANSWER_NOT_TEXT,
    BAD_TURN,
    BAD_UTF8,
    EMPTY_ANSWER,
    EMPTY_PROMPT,
    HALF_CHARACTER,
    MISSING_FIELD,
    NO_ASSISTANT,
    PROMPT_NOT_TEXT,
    TURNS_NOT_LIST,
    Record,
    Turn,
    Unusable,
)
from core.turns import row_label, row_turns

USER, ANSWER = Turn("user", "Hi"), Turn("assistant", "Hello")


def detect(*values: dict[str, Any]) -> FieldMapping:
    return detect_mapping([Record(i, i + 1, value) for i, value in enumerate(values)])


def turns(value: dict[str, Any], mapping: FieldMapping | None = None) -> list[Turn]:
    return list(row_turns(value, mapping or detect(value)))


def reason(value: dict[str, Any], mapping: FieldMapping) -> str:
    with pytest.raises(Unusable) as caught:
        row_turns(value, mapping)
    return caught.value.reason


def chat(*pairs: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"messages": [{"role": role, "content": content} for role, content in pairs], **more}


def sharegpt(*pairs: tuple[str, Any], **more: Any) -> dict[str, Any]:
    return {"conversations": [{"from": role, "value": content} for role, content in pairs], **more}


ALPACA = detect({"instruction": "i", "input": "", "output": "o"})
QA = detect({"question": "q", "answer": "a"})
MESSAGES = detect(chat(("user", "Hi"), ("assistant", "Hello")))
SHAREGPT = detect(sharegpt(("human", "Hi"), ("gpt", "Hello")))


# -- detection ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "format_name", "columns"),
    [
        ({"instruction": "a", "input": "b", "output": "c"}, "alpaca", "instruction input output"),
        ({"instruction": "a", "output": "c"}, "alpaca", "instruction output"),
        ({"instruction": "a", "context": "b", "response": "c"}, "dolly", "instruction context response"),
        ({"question": "a", "answer": "b"}, "qa", "question answer"),
        ({"prompt": "a", "completion": "b"}, "prompt_completion", "prompt completion"),
    ],
)
def test_the_named_formats(value: dict[str, Any], format_name: str, columns: str) -> None:
    mapping = detect(value)
    assert mapping.format == format_name
    assert mapping.columns == {name: name for name in columns.split()}
    assert set(FORMATS[mapping.format].required) <= set(mapping.columns)


def test_conversations_are_told_apart_by_name_then_by_keys() -> None:
    assert MESSAGES.format == "messages"
    assert SHAREGPT.format == "conversations"
    assert detect({"chat": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}).format == "conversations"
    assert detect({"dialogue": chat(("user", "a"))["messages"]}) == FieldMapping(
        format="messages", columns={"messages": "dialogue"}
    )
    assert detect({"conversations": chat(("user", "a"))["messages"]}).format == "conversations"


def test_names_are_matched_without_case_space_or_hyphen() -> None:
    mapping = detect({" Instruction": "a", "OUTPUT": "b", "Task-Type": "c", "Annotator ID": 3})
    assert mapping.columns == {
        "instruction": " Instruction",
        "output": "OUTPUT",
        "category": "Task-Type",
        "supplier": "Annotator ID",
    }


@pytest.mark.parametrize("name", ["category", "topic", "task_type"])
@pytest.mark.parametrize("other", ["supplier", "source", "vendor", "provider", "annotator"])
def test_category_and_supplier_columns(name: str, other: str) -> None:
    columns = detect({"question": "q", "answer": "a", name: "c", other: "s"}).columns
    assert (columns["category"], columns["supplier"]) == (name, other)


def test_a_few_records_without_a_field_do_not_change_the_format() -> None:
    full = {"instruction": "a", "input": "b", "output": "c"}
    no_instruction = {"input": "b", "output": "c"}
    no_output = {"instruction": "a", "input": "b", "target": "t"}
    mapping = detect(no_instruction, no_output, full, full, full)
    assert mapping.columns == {"instruction": "instruction", "input": "input", "output": "output"}


def test_columns_that_a_table_adds_as_nulls_do_not_count() -> None:
    with_nulls = {"instruction": None, "output": None, **chat(("user", "a"), ("assistant", "b"))}
    assert detect(with_nulls, with_nulls).format == "messages"
    assert detect({"question": "q", "answer": None}, {"question": "q", "answer": None}).format == "qa"


def test_records_that_fit_nothing_are_refused_with_their_columns() -> None:
    with pytest.raises(UserError, match="text, label"):
        detect({"text": "a"}, {"label": 1})
    with pytest.raises(UserError, match="Not valid JSON"):
        detect_mapping([Record(0, 1, None, "Not valid JSON", "detail")])
    assert columns_seen([Record(0, 1, {"b": 1}), Record(1, 2, None), Record(2, 3, {"a": 1, "b": 2})]) == ["b", "a"]


def test_one_object_as_a_row() -> None:
    assert looks_like_row({"question": "q", "answer": "a"})
    assert not looks_like_row({"data": [{"question": "q"}]})
    assert not looks_like_row({"messages": "text"})


# -- one column for each part ------------------------------------------------------------------------------


def test_context_follows_the_prompt_after_a_blank_line() -> None:
    for value in (
        {"instruction": "Sum up.", "input": "Long\ntext ", "output": "Hello"},
        {"instruction": "Sum up.", "context": "Long\ntext ", "response": "Hello"},
        {"question": "Sum up.", "context": "Long\ntext ", "answer": "Hello"},
    ):
        assert turns(value) == [Turn("user", "Sum up.\n\nLong\ntext "), ANSWER]


def test_no_context_leaves_the_prompt_as_it_is() -> None:
    for empty in ("", " \n", None):
        assert turns({"instruction": "Hi", "input": empty, "output": "Hello"}, ALPACA) == [USER, ANSWER]
    assert turns({"instruction": "Hi", "output": "Hello"}, ALPACA) == [USER, ANSWER]
    assert turns({"instruction": "", "input": "Hi", "output": "Hello"}, ALPACA) == [USER, ANSWER]


def test_alpaca_system_and_history_are_earlier_turns() -> None:
    value = {"instruction": "Hi", "output": "Hello", "system": "Be kind.", "history": [["a", "b"], ("c", "d")]}
    assert turns(value) == [
        Turn("system", "Be kind."),
        Turn("user", "a"),
        Turn("assistant", "b"),
        Turn("user", "c"),
        Turn("assistant", "d"),
        USER,
        ANSWER,
    ]
    mapping = detect(value)
    assert turns({**value, "system": "", "history": []}, mapping) == [USER, ANSWER]
    assert turns({**value, "system": None, "history": '[["a", "b"]]'}, mapping)[0] == Turn("user", "a")
    assert reason({**value, "history": [["a"]]}, mapping) == BAD_TURN
    assert reason({**value, "history": 3}, mapping) == BAD_TURN


def test_prompt_and_completion_as_lists_of_messages() -> None:
    value = {
        "prompt": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi"}],
        "completion": [{"role": "assistant", "content": "Hello"}],
    }
    assert turns(value) == [Turn("system", "Be kind."), USER, ANSWER]


def test_custom_columns() -> None:
    mapping = FieldMapping(format="custom", columns={"prompt": "in", "answer": "out"})
    assert turns({"in": "Hi", "out": "Hello", "more": 1}, mapping) == [USER, ANSWER]


def test_answers_keep_their_white_space() -> None:
    assert turns({"question": " Hi\n", "answer": " Hello\r\n"}, QA) == [
        Turn("user", " Hi\n"),
        Turn("assistant", " Hello\r\n"),
    ]


@pytest.mark.parametrize("empty", ["", "  \n\t", None, float("nan"), "\u200b", "\ufeff\u3000", "\x00"])
def test_an_answer_or_prompt_with_nothing_to_see_is_empty(empty: Any) -> None:
    assert reason({"question": "q", "answer": empty}, QA) == EMPTY_ANSWER
    assert reason({"question": empty, "answer": "a"}, QA) == EMPTY_PROMPT


@pytest.mark.parametrize("wrong", [42, 4.2, True, ["a"], {"text": "a"}])
def test_answers_and_prompts_of_a_wrong_type(wrong: Any) -> None:
    assert reason({"question": "q", "answer": wrong}, QA) == ANSWER_NOT_TEXT
    if not isinstance(wrong, list):
        assert reason({"question": wrong, "answer": "a"}, QA) == PROMPT_NOT_TEXT
    assert reason({"instruction": "i", "input": wrong, "output": "o"}, ALPACA) == PROMPT_NOT_TEXT


def test_other_faults_of_a_field() -> None:
    assert reason({"question": "q"}, QA) == MISSING_FIELD
    assert reason({"answer": "a"}, QA) == MISSING_FIELD
    assert reason({"question": "q", "answer": "a \ud83d"}, QA) == HALF_CHARACTER
    assert reason({"question": "q \udc00", "answer": "a"}, QA) == HALF_CHARACTER
    assert reason({"question": "q", "answer": b"\xff"}, QA) == BAD_UTF8
    assert turns({"question": "q\x00", "answer": "\x00a"}, QA)[1].content == "\x00a"
    assert turns({"question": "q", "answer": "\ud83d\ude00".encode("utf-16", "surrogatepass").decode("utf-16")}, QA)


# -- conversations -----------------------------------------------------------------------------------------


def test_the_last_assistant_turn_is_scored_and_what_follows_is_dropped() -> None:
    value = chat(("system", "s"), ("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", "d"), ("user", "e"))
    assert [t.content for t in turns(value)] == ["s", "a", "b", "c", "d"]
    assert [t.role for t in turns(value)] == ["system", "user", "assistant", "user", "assistant"]


def test_an_empty_last_assistant_turn_is_passed_over() -> None:
    for empty in ("", None, " "):
        value = chat(("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", empty))
        assert [t.content for t in turns(value, MESSAGES)] == ["a", "b"]


def test_content_as_a_list_of_parts_keeps_the_text_parts() -> None:
    image = {"type": "image_url", "image_url": {"url": "https://example.org/a.png"}}
    parts = [{"type": "text", "text": "What is"}, image, {"type": "text", "text": "this?"}]
    value = chat(("user", parts), ("assistant", [{"type": "output_text", "text": "A cat."}]))
    assert turns(value) == [Turn("user", "What is\nthis?"), Turn("assistant", "A cat.")]
    only_image = chat(("user", [image]), ("assistant", "A cat."))
    assert reason(only_image, MESSAGES) == EMPTY_PROMPT
    # Parquet fills the keys that a part does not have with nulls.
    nulls = [{"type": "text", "text": "Hi", "image_url": None}, {"type": "image_url", "text": None, "image_url": "u"}]
    assert turns(chat(("user", nulls), ("assistant", "Hello"))) == [USER, ANSWER]


def test_tool_calls_are_context() -> None:
    calls = [{"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"x": "é"}'}}]
    value = {
        "messages": [
            {"role": "developer", "content": "s"},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": None, "tool_calls": calls},
            {"role": "tool", "tool_call_id": "1", "content": "42"},
            {"role": "assistant", "content": "Hello", "tool_calls": None},
        ]
    }
    call = Turn("function_call", '{"name": "f", "arguments": {"x": "é"}}')
    assert turns(value) == [Turn("system", "s"), USER, call, Turn("tool", "42"), ANSWER]
    value["messages"].append({"role": "assistant", "content": "Wait.", "tool_calls": calls * 2})
    assert turns(value)[-1] == Turn("assistant", "Wait.")
    assert reason({"messages": value["messages"][:4]}, MESSAGES) == NO_ASSISTANT
    older = {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "not json"}}
    assert turns({"messages": [older, value["messages"][4]]})[0].content == '{"name": "f", "arguments": "not json"}'


def test_sharegpt_roles() -> None:
    value = sharegpt(
        ("system", "s"), ("human", "a"), ("function_call", "f"), ("observation", "o"), ("gpt", "b"), ("human", "c")
    )
    assert [(t.role, t.content) for t in turns(value)] == [
        ("system", "s"),
        ("user", "a"),
        ("function_call", "f"),
        ("tool", "o"),
        ("assistant", "b"),
    ]
    assert turns(sharegpt(("user", "Hi"), ("assistant", "Hello"))) == [USER, ANSWER]
    assert turns({"conversations": chat(("USER", "Hi"), ("Assistant", "Hello"))["messages"]}) == [USER, ANSWER]


def test_the_last_answer_wins_over_a_later_function_call() -> None:
    value = sharegpt(("human", "Hi"), ("gpt", "Hello"), ("human", "Do it"), ("function_call", "{}"))
    assert turns(value) == [USER, ANSWER]


def test_system_and_tools_columns_make_one_system_turn() -> None:
    value = sharegpt(("human", "Hi"), ("gpt", "Hello"), system="Be kind.", tools='[{"name": "f"}]')
    mapping = detect(value)
    assert turns(value) == [Turn("system", 'Be kind.\n\n[{"name": "f"}]'), USER, ANSWER]
    for none in ("", "[]", None, []):
        assert turns({**value, "system": None, "tools": none}, mapping) == [USER, ANSWER]
    assert turns({**value, "system": "", "tools": [{"name": "f"}]}, mapping)[0].content == '[{"name": "f"}]'
    own = sharegpt(("system", "Be kind."), ("human", "Hi"), ("gpt", "Hello"), system="Be kind.", tools="T")
    assert turns(own, mapping) == [Turn("system", "Be kind.\n\nT"), USER, ANSWER]
    empty = sharegpt(("system", ""), ("human", "Hi"), ("gpt", "Hello"))
    assert turns(empty) == [USER, ANSWER]


def test_conversations_written_as_text_or_as_lists_of_fields() -> None:
    messages = chat(("user", "Hi"), ("assistant", "Hello"))["messages"]
    for content in (json.dumps(messages), repr(messages), {"role": ["user", "assistant"], "content": ["Hi", "Hello"]}):
        assert turns({"messages": content}) == [USER, ANSWER]


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ([("user", "a")], NO_ASSISTANT),
        ([], NO_ASSISTANT),
        ([("user", "a"), ("assistant", "")], EMPTY_ANSWER),
        ([("user", "a"), ("assistant", None)], EMPTY_ANSWER),
        ([("user", "a"), ("assistant", 42)], ANSWER_NOT_TEXT),
        ([("user", "a"), ("assistant", {"text": "b"})], ANSWER_NOT_TEXT),
        ([("user", 42), ("assistant", "b")], BAD_TURN),
        ([("narrator", "a"), ("assistant", "b")], BAD_TURN),
        ([(None, "a"), ("assistant", "b")], BAD_TURN),
        ([("assistant", "b")], EMPTY_PROMPT),
        ([("user", " "), ("assistant", "b")], EMPTY_PROMPT),
        ([("user", "a"), ("assistant", "b"), ("user", "c"), ("assistant", 42)], ANSWER_NOT_TEXT),
        ([("user", "a"), ("assistant", "\ud800")], HALF_CHARACTER),
    ],
)
def test_conversations_that_cannot_be_used(pairs: list[tuple[Any, Any]], expected: str) -> None:
    assert reason(chat(*pairs), MESSAGES) == expected


def test_faults_after_the_answer_cost_nothing() -> None:
    value = chat(("user", "Hi"), ("assistant", "Hello"), ("narrator", "x"), ("user", 42))
    value["messages"].append("text")
    assert turns(value, MESSAGES) == [USER, ANSWER]


def test_values_that_are_no_list_of_turns() -> None:
    assert reason({"messages": "Hi"}, MESSAGES) == TURNS_NOT_LIST
    assert reason({"messages": {"role": "user"}}, MESSAGES) == TURNS_NOT_LIST
    assert reason({"messages": None}, MESSAGES) == NO_ASSISTANT
    assert reason({"messages": ["Hi", "Hello"]}, MESSAGES) == BAD_TURN
    assert reason({"text": "Hi"}, MESSAGES) == MISSING_FIELD


def test_a_conversation_that_begins_with_the_assistant() -> None:
    value = sharegpt(("gpt", "Welcome"), ("human", "Hi"), ("gpt", "Hello"))
    assert turns(value) == [Turn("assistant", "Welcome"), USER, ANSWER]


# -- labels ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "label"),
    [(" open qa ", "open qa"), (3, "3"), (3.0, "3"), (2.5, "2.5"), (None, ""), (float("nan"), ""), (["a"], "")],
)
def test_labels_become_text_and_never_cost_a_row(value: Any, label: str) -> None:
    assert row_label({"category": value}, "category") == label
    assert row_label({}, "category") == row_label({"category": value}, None) == ""


def test_labels_can_be_stored_anywhere() -> None:
    assert row_label({"c": "a\ud800\x00b"}, "c") == "a\ufffdb"
