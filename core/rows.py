"""The values everything else passes around: turns, rows, records, and why a record was not used."""

import hashlib
import json
import re
import unicodedata
from dataclasses import dataclass
from typing import Any, Literal

from core.i18n import N_

Role = Literal["system", "user", "assistant", "function_call", "tool"]

RAW_LIMIT = 2000
"""Characters of the original text kept with a rejected record."""

# Reasons a record is not used. They are shown translated; `detail` carries what differs from case to case.
BROKEN_JSON = N_("Not valid JSON")
NOT_OBJECT = N_("Record is not an object")
BAD_UTF8 = N_("Not valid UTF-8 text")
BROKEN_CSV = N_("Broken quoting")
WRONG_COLUMNS = N_("Wrong number of columns")
REPEATED_HEADER = N_("Header line repeated")
UNREADABLE = N_("Stored data cannot be read")
MISSING_FIELD = N_("Field is missing")
EMPTY_ANSWER = N_("Answer is empty")
ANSWER_NOT_TEXT = N_("Answer is not text")
EMPTY_PROMPT = N_("Prompt is empty")
PROMPT_NOT_TEXT = N_("Prompt is not text")
TURNS_NOT_LIST = N_("Turns are not a list")
BAD_TURN = N_("A turn cannot be read")
NO_ASSISTANT = N_("No assistant turn")
HALF_CHARACTER = N_("Text holds half a character (lone surrogate)")

# In decoded text a surrogate stands for bytes that were not valid, in parsed JSON for a lone "\ud83d".
SURROGATE = re.compile(r"[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation.

    Parameters
    ----------
    role : {"system", "user", "assistant", "function_call", "tool"}
        Who speaks. ``function_call`` is the model calling a tool, ``tool`` what the tool gave back.
    content : str
        The text, exactly as in the data.
    """

    role: Role
    content: str


@dataclass(frozen=True, slots=True)
class Row:
    """One training example.

    Parameters
    ----------
    row_id : int
        0-based index of the input record.
    turns : tuple of Turn
        The conversation; the last turn is the scored assistant turn.
    category, supplier : str
        What the data says about the row, "" where it says nothing.
    """

    row_id: int
    turns: tuple[Turn, ...]
    category: str = ""
    supplier: str = ""

    @property
    def prompt(self) -> str:
        """Readable text of the turns before the answer: a lone user turn as it is, several with roles."""
        before = self.turns[:-1]
        if len(before) == 1 and before[0].role == "user":
            return before[0].content
        return "\n\n".join(f"{turn.role}: {turn.content}" for turn in before)

    @property
    def answer(self) -> str:
        """Text of the scored assistant turn."""
        return self.turns[-1].content

    @property
    def row_hash(self) -> str:
        """16 hex digits that identify the turns, whatever the row's place in a file."""
        return digest([[turn.role, turn.content] for turn in self.turns])


@dataclass(frozen=True, slots=True)
class Record:
    """One record of a file, before anybody knows what its fields mean.

    Parameters
    ----------
    row_id : int
        0-based index of the record; records that cannot be read use up an index as well.
    line : int or None
        1-based number of the physical line on which the record starts; None where the format has no lines.
    value : dict or None
        The fields, or None when the record cannot be read, and then `reason` says why.
    reason, detail : str
        A constant of this module, and what it does not say.
    raw : str
        The first `RAW_LIMIT` characters of the record's text; "" where the format is not text.
    span : tuple of int or None
        Where the record starts and ends in the file's decoded text, in characters; None where it is not text.
    """

    row_id: int
    line: int | None
    value: dict[str, Any] | None
    reason: str = ""
    detail: str = ""
    raw: str = ""
    span: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A record that is not used, and why.

    Parameters
    ----------
    row_id : int or None
        0-based index of the input record.
    line : int or None
        1-based physical line where it starts, None where the format has no lines.
    reason : str
        A short English message id.
    detail : str
        What the reason does not say, not translated.
    raw : str
        The first `RAW_LIMIT` characters of the record.
    """

    row_id: int | None
    line: int | None
    reason: str
    detail: str
    raw: str


class Unusable(Exception):
    """A record cannot become a row; `reason` and `detail` as in `RejectedRow`."""

    def __init__(self, reason: str, detail: str = "") -> None:
        self.reason = reason
        self.detail = detail
        super().__init__(f"{reason}: {detail}" if detail else reason)


def is_blank(text: str) -> bool:
    """Return True when nothing of the text is visible (white space, control and zero-width characters)."""
    return not text.strip() or all(unicodedata.category(char) in ("Cc", "Cf", "Zs", "Zl", "Zp") for char in text)


def printable(text: str) -> str:
    """Return text that can be stored as UTF-8: undecodable bytes and half characters become escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def digest(content: Any) -> str:
    """Return the first 16 hex digits of the SHA-256 of a JSON-able value."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]
