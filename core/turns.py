"""One record's fields into the turns of a row, or the reason why not."""

import json
import math
from collections.abc import Mapping
from typing import Any

from core.fields import FORMATS, FieldMapping, Format, as_turn_list, is_missing
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
    SURROGATE,
    TURNS_NOT_LIST,
    Role,
    Turn,
    Unusable,
    is_blank,
)

_ROLES: dict[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "prompter": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "chatgpt": "assistant",
    "bing": "assistant",
    "bard": "assistant",
    "bot": "assistant",
    "model": "assistant",
    "ai": "assistant",
    "function_call": "function_call",
    "tool_call": "function_call",
    "tool_calls": "function_call",
    "tool": "tool",
    "tool_response": "tool",
    "function": "tool",
    "function_response": "tool",
    "observation": "tool",
    "ipython": "tool",
}
_TEXT_PARTS = {"text", "input_text", "output_text"}


def row_turns(value: Mapping[str, Any], mapping: FieldMapping) -> tuple[Turn, ...]:
    """Build the turns of a row; the last one is the scored assistant turn.

    Parameters
    ----------
    value : mapping
        The record's fields.
    mapping : FieldMapping
        What they mean.

    Returns
    -------
    tuple of Turn
        System text and tool definitions come first, as one system turn. Text is kept exactly as it is.

    Raises
    ------
    Unusable
        With a reason of `core.rows`.
    """
    shape = FORMATS[mapping.format]
    turns = _conversation(value, mapping, shape) if shape.turns else _columns(value, mapping, shape)
    for number, turn in enumerate(turns, start=1):
        if SURROGATE.search(turn.content):
            raise Unusable(HALF_CHARACTER, f"turn {number}, {turn.role}")
    return tuple(turns)


def row_label(value: Mapping[str, Any], column: str | None) -> str:
    """Return the category or supplier of a record as text, "" where there is none."""
    content = value.get(column) if column else None
    if is_missing(content) or not isinstance(content, str | int | float):
        return ""
    if isinstance(content, float) and math.isfinite(content) and content == int(content):
        # A column of whole numbers with gaps is read as 3.0 by table readers.
        content = int(content)
    return SURROGATE.sub("\ufffd", str(content)).replace("\x00", "").strip()


# -- one column for the prompt, one for the answer ---------------------------------------------------------


def _columns(value: Mapping[str, Any], mapping: FieldMapping, shape: Format) -> list[Turn]:
    columns = mapping.columns
    answer_column, prompt_column = columns[shape.answer], columns[shape.prompt]
    context_column = columns.get(shape.context)
    if answer_column not in value:
        raise Unusable(MISSING_FIELD, answer_column)
    if prompt_column not in value and (context_column is None or context_column not in value):
        raise Unusable(MISSING_FIELD, prompt_column)
    answer = _answer(value, answer_column)
    if is_blank(answer):
        raise Unusable(EMPTY_ANSWER)
    before, prompt = _prompt(value, prompt_column)
    parts = [part for part in (prompt, _text(value, context_column, PROMPT_NOT_TEXT)) if not is_blank(part)]
    if parts:
        before.append(Turn("user", "\n\n".join(parts)))
    if all(is_blank(turn.content) for turn in before):
        raise Unusable(EMPTY_PROMPT)
    history = _history(value, columns.get("history"))
    return [*_with_system(value, mapping, [*history, *before]), Turn("assistant", answer)]


def _prompt(value: Mapping[str, Any], column: str) -> tuple[list[Turn], str]:
    """Return the prompt as turns (some datasets have messages there) and as text; one of them is empty."""
    content = value.get(column)
    if isinstance(content, list) and content:
        return _parse_turns(content), ""
    return [], _text(value, column, PROMPT_NOT_TEXT)


def _answer(value: Mapping[str, Any], column: str) -> str:
    content = value[column]
    if isinstance(content, list) and content and all(isinstance(item, dict) for item in content):
        turns = [turn for turn in _parse_turns(content) if turn.role == "assistant"]
        return turns[-1].content if turns else ""
    return _text(value, column, ANSWER_NOT_TEXT)


def _history(value: Mapping[str, Any], column: str | None) -> list[Turn]:
    """Return earlier turns from a list of [user, assistant] pairs."""
    content = value.get(column) if column else None
    if is_missing(content) or content == "":
        return []
    pairs = as_turn_list(content)
    if pairs is None:
        raise Unusable(BAD_TURN, f"{column}: {type(content).__name__}")
    turns: list[Turn] = []
    for number, pair in enumerate(pairs, start=1):
        if not (isinstance(pair, list | tuple) and len(pair) == 2 and all(isinstance(t, str) for t in pair)):
            raise Unusable(BAD_TURN, f"{column}: pair {number}")
        turns += [Turn("user", pair[0]), Turn("assistant", pair[1])]
    return turns


def _text(value: Mapping[str, Any], column: str | None, wrong_type: str) -> str:
    content = value.get(column) if column else None
    if is_missing(content):
        return ""
    if isinstance(content, bytes):
        raise Unusable(BAD_UTF8, str(column))
    if not isinstance(content, str):
        raise Unusable(wrong_type, f"{column}: {type(content).__name__}")
    return content


# -- a list of turns ---------------------------------------------------------------------------------------


def _conversation(value: Mapping[str, Any], mapping: FieldMapping, shape: Format) -> list[Turn]:
    column = mapping.columns[shape.turns]
    if column not in value:
        raise Unusable(MISSING_FIELD, column)
    content = value[column]
    messages = as_turn_list(content)
    if messages is None:
        if is_missing(content) or content == "":
            raise Unusable(NO_ASSISTANT)
        raise Unusable(TURNS_NOT_LIST, f"{column}: {type(content).__name__}")
    turns = _with_system(value, mapping, _parse_turns(messages, until_answer=True))
    if all(is_blank(turn.content) for turn in turns[:-1]):
        raise Unusable(EMPTY_PROMPT)
    return turns


def _parse_turns(messages: list[Any], until_answer: bool = False) -> list[Turn]:
    """Read messages; with `until_answer` stop after the last assistant turn that has text.

    What comes after the answer is dropped, so a fault there costs nothing, unless it is itself an answer.
    """
    turns: list[Turn] = []
    fault: Unusable | None = None
    answer_at = 0
    assistants = 0
    for number, message in enumerate(messages, start=1):
        try:
            parsed = _turn(message, number)
        except Unusable as problem:
            fault = fault or problem
            if problem.reason == ANSWER_NOT_TEXT:
                raise
            continue
        assistants += any(turn.role == "assistant" for turn in parsed)
        for turn in parsed:
            turns.append(turn)
            if turn.role == "assistant" and not is_blank(turn.content):
                if fault:
                    raise fault
                answer_at = len(turns)
    if not until_answer:
        if fault:
            raise fault
        return turns
    if not answer_at:
        raise fault or Unusable(EMPTY_ANSWER if assistants else NO_ASSISTANT)
    return turns[:answer_at]


def _turn(message: Any, number: int) -> list[Turn]:
    """Return a message's turns: none for an empty system text, two for text with tool calls, else one."""
    if not isinstance(message, Mapping):
        raise Unusable(BAD_TURN, f"turn {number}: {type(message).__name__}")
    name = next((message[key] for key in ("role", "from", "speaker") if message.get(key) is not None), None)
    role = _ROLES.get(name.strip().casefold()) if isinstance(name, str) else None
    if role is None:
        raise Unusable(BAD_TURN, f"turn {number}: role {name!r:.40}")
    content = next((message[key] for key in ("content", "value", "text") if message.get(key) is not None), None)
    text = _content(content, role, number)
    calls = message.get("tool_calls") or message.get("function_call")
    if role == "assistant" and calls:
        call = Turn("function_call", _calls_text(calls))
        return [call] if is_blank(text) else [Turn(role, text), call]
    if role == "system" and is_blank(text):
        return []
    return [Turn(role, text)]


def _content(content: Any, role: Role, number: int) -> str:
    """Return the text of a message: a string, or the text parts of a list of parts, a line each."""
    if is_missing(content):
        return ""
    if isinstance(content, str):
        return content
    if role in ("function_call", "tool") and isinstance(content, dict | list) and not _are_parts(content):
        return _dump(content)
    if not isinstance(content, list):
        raise _wrong_content(content, role, number)
    texts: list[str] = []
    for part in content:
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        text = part.get("text") if isinstance(part, dict) else part
        if kind not in _TEXT_PARTS or text is None:
            continue
        if not isinstance(text, str):
            raise _wrong_content(text, role, number)
        texts.append(text)
    return "\n".join(texts)


def _are_parts(content: Any) -> bool:
    return isinstance(content, list) and any(
        isinstance(part, str) or (isinstance(part, dict) and part.get("type") in _TEXT_PARTS) for part in content
    )


def _wrong_content(content: Any, role: Role, number: int) -> Unusable:
    detail = f"turn {number}, {role}: {type(content).__name__}"
    if isinstance(content, bytes):
        return Unusable(BAD_UTF8, detail)
    return Unusable(ANSWER_NOT_TEXT if role == "assistant" else BAD_TURN, detail)


def _calls_text(calls: Any) -> str:
    """Return tool calls as JSON text in ShareGPT's shape: name and arguments; a list of several."""
    shortened: list[Any] = []
    for call in calls if isinstance(calls, list) else [calls]:
        function = call.get("function", call) if isinstance(call, dict) else call
        if isinstance(function, dict) and "name" in function:
            function = {"name": function["name"], "arguments": _parsed(function.get("arguments"))}
        shortened.append(function)
    return _dump(shortened[0] if len(shortened) == 1 else shortened)


def _parsed(arguments: Any) -> Any:
    if not isinstance(arguments, str):
        return arguments
    try:
        return json.loads(arguments)
    except (ValueError, RecursionError):
        return arguments


def _with_system(value: Mapping[str, Any], mapping: FieldMapping, turns: list[Turn]) -> list[Turn]:
    """Put the `system` and `tools` columns in front, in one system turn with the conversation's own text."""
    own = turns[0].content if turns and turns[0].role == "system" else ""
    tools = value.get(mapping.columns.get("tools", ""))
    if not isinstance(tools, str):
        tools = "" if is_missing(tools) or not tools else _dump(tools)
    if tools.strip() in ("[]", "{}", "null"):
        tools = ""
    texts = [_text(value, mapping.columns.get("system"), PROMPT_NOT_TEXT), own, tools]
    kept = [text for text in dict.fromkeys(texts) if not is_blank(text)]
    if not kept:
        return turns
    return [Turn("system", "\n\n".join(kept)), *(turns[1:] if own else turns)]


def _dump(content: Any) -> str:
    return json.dumps(content, ensure_ascii=False, default=str)
