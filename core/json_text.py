"""Records out of JSON text, however it is laid out: lines, an array, an object around a list, or a mess.

The text is read line by line first. When that does not work out and the text looks like one document, it is
read a second time as a document, element by element, and the reading that explains more of the text wins.
"""

import json
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from core.errors import UserError
from core.fields import looks_like_row
from core.i18n import N_
from core.rows import BAD_UTF8, BROKEN_JSON, NOT_OBJECT, RAW_LIMIT, SURROGATE, Record, printable

# NULs and byte order marks turn up between records after power cuts and after `cat a.jsonl b.jsonl`.
_PADDING = " \t\r\n\ufeff\x00"
_BETWEEN = re.compile("[ \t\r\n\ufeff\x00]*")
_BETWEEN_ELEMENTS = re.compile("[ \t\r\n\ufeff\x00,]*")
_AFTER_BROKEN = re.compile("[ \t\r\n\ufeff\x00,}]*")
_MEMBER = re.compile(r'[\s,{]*"((?:[^"\\]|\\.)*)"\s*:\s*')
_LIST_OF_OBJECTS = re.compile(r"""\[\s*\{\s*["']?(\w*)""")
_STRING_OR_BRACE = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[{}]', re.DOTALL)
_FLAT = re.compile(r"\{\r?\n\S")
_TURN_KEYS = {"role", "from", "content", "value"}


def _parse_int(digits: str) -> Any:
    # Python refuses to build integers of more than 4,300 digits; one such field must not cost the row.
    return int(digits) if len(digits) < 4000 else Decimal(digits)


_DECODER = json.JSONDecoder(parse_int=_parse_int)


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters `start` to `end` of the text: a readable object, or something that was not one."""

    start: int
    end: int
    value: dict[str, Any] | None
    reason: str = ""
    detail: str = ""


def read_json(text: str) -> list[Record]:
    """Read every record of a JSON or JSON Lines text.

    Parameters
    ----------
    text : str
        The decoded file; bytes that were not valid stand as surrogates.

    Returns
    -------
    list of Record
        In input order, with the physical line on which each starts; unreadable ones carry a reason.

    Raises
    ------
    UserError
        An object holds several lists of records, so that it is unclear which one is meant.
    """
    pieces = _by_document(text) if _is_one_value(text) else _by_lines_or_document(text)
    starts = _line_starts(text)
    return [
        Record(
            row_id=number,
            line=bisect_right(starts, piece.start),
            value=piece.value,
            reason=piece.reason,
            detail=piece.detail,
            raw=printable(text[piece.start : min(piece.end, piece.start + RAW_LIMIT)])[:RAW_LIMIT],
            span=(piece.start, piece.end),
        )
        for number, piece in enumerate(pieces)
    ]


def _by_lines_or_document(text: str) -> list[_Piece]:
    lines = list(_by_lines(text))
    if all(piece.value is not None for piece in lines) or not _looks_like_document(text, lines):
        return lines
    document = _by_document(text)
    return document if _explained(document) > _explained(lines) else lines


# -- line by line ------------------------------------------------------------------------------------------


def _by_lines(text: str) -> Iterator[_Piece]:
    for start, end in _line_spans(text):
        line = text[start:end]
        start += len(line) - len(line.lstrip(_PADDING))
        line = line.strip(_PADDING)
        if not line:
            continue
        end = start + len(line)
        value, stop, error = _decode(text, start, end)
        if error or stop < end:
            yield from _objects_in_line(text, start, end) or [_broken_piece(text, start, end)]
        else:
            yield _piece(text, start, end, value)


def _objects_in_line(text: str, start: int, end: int) -> list[_Piece]:
    """Return the objects of a line that holds several; none when the line is broken in another way."""
    pieces: list[_Piece] = []
    while start < end and text[start] == "{":
        value, stop, error = _decode(text, start, end)
        if error:
            return [*pieces, _broken_piece(text, start, end)]
        pieces.append(_piece(text, start, stop, value))
        separator = _BETWEEN_ELEMENTS.match(text, stop, end)
        start = separator.end() if separator else stop
    whole = start >= end and text[end - 1] == "}"
    return pieces if whole and len(pieces) > 1 else []


def _line_spans(text: str) -> Iterator[tuple[int, int]]:
    # str.splitlines would also cut at U+2028 and friends, which are legal inside JSON strings.
    newline = "\r" if "\n" not in text else "\n"
    start = 0
    while start < len(text):
        end = text.find(newline, start)
        end = len(text) if end < 0 else end
        yield start, end
        start = end + 1


def _line_starts(text: str) -> list[int]:
    return [start for start, _ in _line_spans(text)]


# -- as one document ---------------------------------------------------------------------------------------


def _by_document(text: str) -> list[_Piece]:
    pieces: list[_Piece] = []
    usual: set[str] | None = None
    inside = wrapped = False
    position = _skip(_BETWEEN_ELEMENTS, text, 0)
    while position < len(text):
        char = text[position]
        if char == "[" and (not inside or _opens_list_of_records(text, position)):
            inside = True
            stop = position + 1
        elif char in "]}":
            inside = inside and char != "]"
            stop = position + 1
        elif char == "{" and not inside and not pieces and (at := _list_in_object(text, position)) is not None:
            inside = wrapped = True
            stop = at + 1
        else:
            value, stop, error = _decode(text, position, len(text))
            # What follows the list of `{"data": [...], "version": 1}` is not a record, unless it is an object:
            # then a stray bracket only looked like the end of the list.
            if error:
                usual = _usual_keys(text, pieces) if usual is None else usual
                stop = _next_record(text, position + 1, usual)
                if inside or not wrapped:
                    broken, stop = _split_broken(text, position, stop)
                    pieces += broken
            elif inside or not wrapped or (isinstance(value, dict) and value.keys() & (usual or value.keys())):
                pieces.append(_piece(text, position, stop, value))
                inside = inside or wrapped
        position = _skip(_BETWEEN_ELEMENTS, text, stop)
    return pieces


def _list_in_object(text: str, start: int) -> int | None:
    """Return where the list of records of ``{"data": [...]}`` opens, or None when the object is a record."""
    value, _, error = _decode(text, start, len(text))
    if not error and (not isinstance(value, dict) or looks_like_row(value)):
        return None
    found: list[tuple[str, int]] = []
    position = start
    while member := _MEMBER.match(text, position):
        if _opens_list_of_records(text, member.end()):
            found.append((member[1], member.end()))
        _, position, broken = _decode(text, member.end(), len(text))
        if broken:
            break
    if len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise UserError(
            N_("This JSON object holds several lists of records ({names}). Save the one you need on its own."),
            names=names,
        )
    return found[0][1] if found else None


def _opens_list_of_records(text: str, position: int) -> bool:
    first = _LIST_OF_OBJECTS.match(text, position)
    return first is not None and first[1] not in _TURN_KEYS


def _next_record(text: str, position: int, usual: set[str]) -> int:
    """Return the start of the next object that looks like a record, not like a part of one."""
    while (position := text.find("{", position)) >= 0:
        value, _, error = _decode(text, position, len(text))
        shared = 0 if error else len(value.keys() & usual)
        if shared and shared * 2 >= min(len(value), len(usual)):
            return position
        # Into whole objects too: a broken record can swallow the ones after it as parts of a part.
        position += 1
    return len(text)


def _usual_keys(text: str, pieces: list[_Piece]) -> set[str]:
    """Return the keys of the objects read so far, or else of those that make up most of the text."""
    weights = Counter(frozenset(piece.value) for piece in pieces if piece.value)
    position = 0 if not weights else len(text)
    while (position := text.find("{", position)) >= 0:
        value, stop, error = _decode(text, position, len(text))
        if not error and not _TURN_KEYS & value.keys():
            weights[frozenset(value)] += stop - position
        position = position + 1 if error else stop
    return set(weights.most_common(1)[0][0]) if weights else set()


def _split_broken(text: str, start: int, end: int) -> tuple[list[_Piece], int]:
    """Cut a stretch that could not be read into the elements it was, as well as can be told.

    Returns them and where the stretch ends: at `end`, or where the list is closed.
    """
    pieces: list[_Piece] = []
    margin = text[text.rfind("\n", 0, start) + 1 : start]
    # Printed without indentation, parts of a record start in the first column as well.
    flat = not margin and _FLAT.match(text, start)
    opening = f"\n{margin}{{" if not margin.strip() and not flat else None
    while start < end and (text[start] != "]" or not pieces):
        stop = _balanced_end(text, start, end)
        aligned = text.find(opening, start, end) if opening else -1
        if aligned > start:
            stop = min(stop, aligned)
        value, decoded, error = _decode(text, start, end)
        # A whole object with unusual keys can stand between broken ones; it is for the mapping to judge.
        if error or decoded > stop:
            pieces.append(_broken_piece(text, start, start + len(text[start:stop].rstrip(_PADDING + ","))))
        else:
            stop = decoded
            pieces.append(_piece(text, start, stop, value))
        start = _skip(_AFTER_BROKEN, text, stop, end)
    return pieces, start


def _balanced_end(text: str, start: int, end: int) -> int:
    """Return where the braces opened at `start` are closed again, or `end`."""
    depth = 0
    for match in _STRING_OR_BRACE.finditer(text, start, end):
        if match[0] == "{":
            depth += 1
        elif match[0] == "}":
            depth -= 1
            if depth <= 0:
                return match.end()
    return end


# -- which of the two --------------------------------------------------------------------------------------


def _is_one_value(text: str) -> bool:
    start = _skip(_BETWEEN, text, 0)
    _, stop, error = _decode(text, start, len(text))
    return not error and _skip(_BETWEEN, text, stop) == len(text)


def _looks_like_document(text: str, lines: list[_Piece]) -> bool:
    if all(piece.value is None for piece in lines):
        return True
    ends = [text[piece.end - 1] for piece in lines if text[piece.start] not in "[]}" or piece.value]
    opened = any(end in "[{" for end in ends)
    return opened or text[lines[0].start] == "[" or ends.count(",") * 2 > len(ends)


def _explained(pieces: list[_Piece]) -> int:
    return sum(piece.end - piece.start for piece in pieces if piece.value is not None)


# -- small change ------------------------------------------------------------------------------------------


def _decode(text: str, start: int, end: int) -> tuple[Any, int, str]:
    """Decode the value at `start`; return it, where it stops, and what is wrong with it ("" if nothing)."""
    # A decoding error counts the lines before it, which is slow in a long text: cut out what is known to end.
    offset = 0 if end == len(text) else start
    document = text if end == len(text) else text[start:end]
    try:
        value, stop = _DECODER.raw_decode(document, start - offset)
    except json.JSONDecodeError as error:
        return None, start, f"{error.msg}, character {error.pos + offset - start + 1} of the record"
    except RecursionError:
        return None, start, "nested too deeply"
    return value, stop + offset, ""


def _piece(text: str, start: int, end: int, value: Any) -> _Piece:
    if SURROGATE.search(text, start, end):
        return _broken_piece(text, start, end)
    if not isinstance(value, dict):
        return _Piece(start, end, None, NOT_OBJECT, type(value).__name__)
    return _Piece(start, end, value)


def _broken_piece(text: str, start: int, end: int) -> _Piece:
    bad = SURROGATE.search(text, start, end)
    if bad:
        return _Piece(start, end, None, BAD_UTF8, f"character {bad.start() - start + 1} of the record")
    _, stop, error = _decode(text, start, end)
    detail = error or f"text after the record, character {stop - start + 1}"
    return _Piece(start, end, None, BROKEN_JSON, detail)


def _skip(pattern: re.Pattern[str], text: str, start: int, end: int | None = None) -> int:
    match = pattern.match(text, start, len(text) if end is None else end)
    return match.end() if match else start
