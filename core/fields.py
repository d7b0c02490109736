"""Which column of the records is what: formats, the names their columns go by, and how they are detected."""

import ast
import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from core.errors import UserError
from core.i18n import N_
from core.rows import Record

FormatName = Literal["alpaca", "dolly", "qa", "prompt_completion", "messages", "conversations", "custom"]


class FieldMapping(BaseModel):
    """What the columns of a dataset mean.

    Parameters
    ----------
    format : str
        One of `FORMATS`.
    columns : dict of str to str
        Role to column name. Roles are those of the format plus optional ``category`` and ``supplier``.
    """

    model_config = ConfigDict(frozen=True)

    format: FormatName
    columns: dict[str, str]


@dataclass(frozen=True)
class Format:
    """The roles of a format.

    Parameters
    ----------
    prompt, answer : str
        Roles of the prompt and the answer; "" for formats that hold whole conversations.
    turns : str
        Role of the list of turns; "" for the others.
    context : str
        Role of the text that follows the prompt after a blank line, "" where the format has none.
    optional : tuple of str
        Roles that may be left out.
    """

    prompt: str = ""
    answer: str = ""
    turns: str = ""
    context: str = ""
    optional: tuple[str, ...] = ()

    @property
    def required(self) -> tuple[str, ...]:
        """Roles that must have a column."""
        return (self.turns,) if self.turns else (self.prompt, self.answer)


LABELS = ("category", "supplier")

# In order of preference where several fit equally many records.
FORMATS: dict[FormatName, Format] = {
    "messages": Format(turns="messages", optional=("system", "tools", *LABELS)),
    "conversations": Format(turns="conversations", optional=("system", "tools", *LABELS)),
    "alpaca": Format("instruction", "output", context="input", optional=("input", "system", "history", *LABELS)),
    "dolly": Format("instruction", "response", context="context", optional=("context", "system", *LABELS)),
    "qa": Format("question", "answer", context="context", optional=("context", "system", *LABELS)),
    "prompt_completion": Format("prompt", "completion", optional=("system", *LABELS)),
    "custom": Format("prompt", "answer", optional=LABELS),
}

_SYSTEM = ("system", "system_prompt", "system_message")
_SHARED_NAMES = {
    "system": _SYSTEM,
    "tools": ("tools", "functions"),
    "category": ("category", "task_type", "topic", "task", "domain", "subject", "カテゴリ", "分類"),
    "supplier": (
        *("supplier", "vendor", "provider", "source"),
        *("annotator", "annotator_id", "contributor", "author", "供給元"),
    ),
}
_NAMES: dict[FormatName, dict[str, tuple[str, ...]]] = {
    "messages": {"messages": ("messages", "chat", "dialog", "dialogue", "turns")},
    "conversations": {"conversations": ("conversations", "conversation")},
    "alpaca": {
        "instruction": ("instruction", "instructions", "指示"),
        "output": ("output", "outputs", "answer", "completion", "target", "出力"),
        "input": ("input", "inputs", "context", "入力"),
        "history": ("history",),
    },
    "dolly": {
        "instruction": ("instruction", "instructions", "指示"),
        "response": ("response", "responses", "応答"),
        "context": ("context", "input", "文脈"),
    },
    "qa": {
        "question": ("question", "query", "problem", "質問"),
        "answer": ("answer", "response", "solution", "output", "completion", "回答", "答え"),
        "context": ("context", "passage"),
    },
    "prompt_completion": {
        "prompt": ("prompt", "input", "user", "human", "request"),
        "completion": ("completion", "response", "output", "answer", "assistant", "target"),
    },
}


def columns_seen(records: Sequence[Record]) -> list[str]:
    """Return every column name of the records, in order of first appearance."""
    seen: dict[str, None] = {}
    for record in records:
        if record.value is not None:
            seen.update(dict.fromkeys(record.value))
    return list(seen)


def detect_mapping(records: Sequence[Record]) -> FieldMapping:
    """Find the format that fits most of the records, and their columns for category and supplier.

    Parameters
    ----------
    records : sequence of Record
        As read; unreadable ones take no part.

    Returns
    -------
    FieldMapping
        For a person to look at and correct.

    Raises
    ------
    UserError
        No record could be read, or no format fits; then the columns that were seen are named.
    """
    values = [record.value for record in records if record.value is not None]
    if not values:
        first = next(iter(records), None)
        raise UserError(
            N_("None of the {count} records could be read. The first problem: {reason} {detail}"),
            count=len(records),
            reason=first.reason if first else "",
            detail=f"({first.detail})" if first and first.detail else "",
        )
    mapping = _best_mapping(values)
    if mapping is None:
        names = columns_seen(records)
        shown = ", ".join(names[:20]) + (", …" if len(names) > 20 else "")
        raise UserError(
            N_("No known format fits the columns ({columns}). Choose the prompt and the answer yourself."),
            columns=shown,
        )
    return mapping


def looks_like_row(value: dict[str, Any]) -> bool:
    """Return True when one object has the fields of a known format."""
    return _best_mapping([value]) is not None


def _best_mapping(values: list[dict[str, Any]]) -> FieldMapping | None:
    # Columns by how many records have them; half a vote for a null, so that an all-null column is still seen.
    votes: Counter[str] = Counter()
    for value in values:
        for column, content in value.items():
            votes[column] += 1 if is_missing(content) else 2
    fits: list[tuple[int, FormatName, dict[str, str]]] = []
    for name, names in _NAMES.items():
        columns: dict[str, str] = {}
        for role in FORMATS[name].required:
            is_turns = role == FORMATS[name].turns
            found = _turns_column(values, name, votes) if is_turns else _pick(votes, names[role], columns)
            if found is not None:
                columns[role] = found
        if len(columns) == len(FORMATS[name].required):
            fits.append((sum(_fit(value, columns) for value in values), name, columns))
    most = max((fit for fit, _, _ in fits), default=0)
    if not most:
        return None
    # The first that fits nearly as well as the best: a few records without their instruction must not make
    # Alpaca's input the prompt.
    _, name, columns = next(candidate for candidate in fits if candidate[0] * 2 >= most)
    for role in FORMATS[name].optional:
        optional = _pick(votes, {**_SHARED_NAMES, **_NAMES[name]}[role], columns)
        if optional is not None:
            columns[role] = optional
    return FieldMapping(format=name, columns=columns)


def _fit(value: dict[str, Any], columns: dict[str, str]) -> int:
    return min(0 if c not in value else 1 if is_missing(value[c]) else 2 for c in columns.values())


def _pick(votes: Counter[str], names: tuple[str, ...], taken: dict[str, str]) -> str | None:
    """Return the column with the earliest of the names, unless twice as many records have another of them."""
    candidates = [
        (names.index(normal), -votes[column], column)
        for column in votes
        if (normal := _normal(column)) in names and column not in taken.values()
    ]
    most = max((-count for _, count, _ in candidates), default=0)
    frequent = [candidate for candidate in candidates if -candidate[1] * 2 >= most]
    return min(frequent)[2] if frequent else None


def _turns_column(values: list[dict[str, Any]], name: FormatName, votes: Counter[str]) -> str | None:
    """Return the column of a conversation format: its values are lists of turns, and its name or keys fit."""
    candidates: list[tuple[int, str]] = []
    own = {n for format_name in ("messages", "conversations") for n in _NAMES[format_name][format_name]}
    for column in votes:
        if (normal := _normal(column)) not in own:
            continue
        present = (value[column] for value in values if not is_missing(value.get(column)))
        keys = [_turn_keys(content) for content in islice(present, 1000)]
        if not any(keys):
            continue
        # "messages" and "conversations" say it themselves; for other names the turns' keys decide.
        sharegpt = normal == "conversations" or (normal != "messages" and any("from" in k for k in keys))
        if sharegpt == (name == "conversations"):
            candidates.append((-votes[column], column))
    return min(candidates)[1] if candidates else None


def _turn_keys(content: Any) -> set[str]:
    """Return the keys of the turns in a value, empty when it is no list of turns."""
    turns = as_turn_list(content)
    keys = {key for turn in turns or () if isinstance(turn, dict) for key in turn}
    return keys if keys & {"role", "from", "speaker"} else set()


def as_turn_list(content: Any) -> list[Any] | None:
    """Return a value as a list of turns, or None.

    Lists come as lists, as JSON text (CSV), as Python text (what pandas writes to CSV), or as an object of
    lists of equal length (how `datasets` stores a sequence of objects).
    """
    if isinstance(content, str) and content.lstrip()[:1] in ("[", "{"):
        content = _literal(content)
    if isinstance(content, dict) and content and all(isinstance(item, list) for item in content.values()):
        lengths = {len(item) for item in content.values()}
        if len(lengths) == 1:
            return [dict(zip(content, parts, strict=True)) for parts in zip(*content.values(), strict=True)]
    return content if isinstance(content, list) else None


def _literal(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return None


def is_missing(content: Any) -> bool:
    """Return True for null and NaN, which is how tables write null."""
    return content is None or (isinstance(content, float) and math.isnan(content))


def _normal(column: str) -> str:
    return column.strip().casefold().replace(" ", "_").replace("-", "_")
