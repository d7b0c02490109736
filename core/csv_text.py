"""Records out of delimited text. Every field stays text; a bad quote costs one line, not the rest."""

import csv
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import accumulate

from core.rows import (
    BAD_UTF8,
    BROKEN_CSV,
    RAW_LIMIT,
    REPEATED_HEADER,
    SURROGATE,
    WRONG_COLUMNS,
    Record,
    printable,
)

_DELIMITERS = (",", ";", "\t", "|")
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\s*')
# A quote that is never closed runs on to the end of the file; no field is this many lines long.
_MOST_LINES = 5000
_TRIAL_RECORDS = 50


@dataclass(frozen=True, slots=True)
class _Dialect:
    delimiter: str
    space_after: bool
    """White space after a delimiter does not belong to the field, so that ``a, "b"`` is quoted."""


def read_csv(text: str) -> list[Record]:
    """Read every record of a CSV text with a header line.

    Parameters
    ----------
    text : str
        The decoded file; bytes that were not valid stand as surrogates. The delimiter is a comma, semicolon,
        tab or bar.

    Returns
    -------
    list of Record
        In input order, with the physical line on which each starts. All values are text, untouched ("NA" and
        "1" included); fields that a short line does not have are absent. Blank lines are not records.
    """
    csv.field_size_limit(2**31 - 1)
    # newline="" cuts at \n, \r\n and \r only, and keeps them, as the csv module wants it.
    marks = len(text) - len(text.lstrip("\ufeff"))
    lines = list(io.StringIO(text[marks:], newline=""))
    starts = list(accumulate(map(len, lines), initial=marks))
    first = next((i for i, line in enumerate(lines) if line.strip()), len(lines))
    declared = _SEPARATOR_LINE.fullmatch(lines[first]) if first < len(lines) else None
    first += 1 if declared else 0
    dialect = _Dialect(declared[1], False) if declared else _find_dialect(lines, first)
    _, body, header = next(_parse(lines, first, dialect, 0), (0, 0, None))
    if header is None:
        return []
    names = column_names(header)
    records: list[Record] = []
    careful = False
    for start, end, fields in _parse(lines, body, dialect, len(names)):
        value, reason, detail = _value(fields, names, careful)
        if fields is not None and fields == header:
            value, reason = None, REPEATED_HEADER
        raw = "".join(lines[start:end])
        if bad := SURROGATE.search(raw):
            value, reason, detail = None, BAD_UTF8, f"character {bad.start() + 1} of the record"
        # The lines after a broken quote may be the rest of the broken record: a short one is not trusted.
        careful = fields is None or (careful and value is None)
        raw = printable(raw[:RAW_LIMIT].rstrip("\r\n"))[:RAW_LIMIT]
        span = (starts[start], starts[end])
        records.append(Record(len(records), start + 1, value, reason, detail, raw, span))
    return records


def column_names(header: list[str]) -> list[str]:
    """Return a name for each column: nameless ones are numbered, repeated ones get a number behind."""
    names: list[str] = []
    for number, field in enumerate(header, start=1):
        name = base = printable(field).strip(" \t\ufeff\x00") or f"column {number}"
        count = 2
        while name in names:
            name = f"{base} {count}"
            count += 1
        names.append(name)
    return names


def _value(fields: list[str] | None, names: list[str], careful: bool) -> tuple[dict[str, str] | None, str, str]:
    if fields is None:
        return None, BROKEN_CSV, ""
    # Spreadsheets append empty cells, and leave trailing empty ones out: neither loses anything.
    extra = any(field.strip() for field in fields[len(names) :])
    if extra or (careful and len(fields) != len(names)):
        return None, WRONG_COLUMNS, f"{len(fields)}, header {len(names)}"
    return dict(zip(names, fields, strict=False)), "", ""


def _find_dialect(lines: list[str], first: int) -> _Dialect:
    """Return the dialect in which most of the first records have as many fields as the header."""
    best, best_score = _Dialect(",", False), 0
    for delimiter in _DELIMITERS:
        for space_after in (False, True):
            dialect = _Dialect(delimiter, space_after)
            widths: list[int] = []
            for _, _, fields in _parse(lines, first, dialect, 0):
                widths.append(len(fields) if fields is not None else 0)
                if len(widths) > _TRIAL_RECORDS:
                    break
            # The header counts too, so that a file with nothing else than broken records keeps its delimiter.
            score = sum(width == widths[0] for width in widths) if widths and widths[0] > 1 else 0
            if score > best_score:
                best, best_score = dialect, score
    return best


def _parse(lines: list[str], start: int, dialect: _Dialect, width: int) -> Iterator[tuple[int, int, list[str] | None]]:
    """Yield first line, line after the last, and fields of each record; None where quotes are broken."""
    while start < len(lines):
        if not lines[start].strip():
            start += 1
            continue
        fields, end = _record(lines, start, dialect, width)
        yield start, end, fields
        start = end


def _record(lines: list[str], start: int, dialect: _Dialect, width: int) -> tuple[list[str] | None, int]:
    fields, end = _quoted_record(lines, start, dialect, backslash=False)
    if fields is None and '\\"' in lines[start]:
        # Spark and MySQL write \" inside quotes; only a line that makes no sense otherwise is read so.
        fields, end = _quoted_record(lines, start, dialect, backslash=True)
    if fields is not None and end - start > 1 and width and len(fields) != width:
        # Several lines, wrong width: an open quote that the next record's first quote may have closed.
        following, _ = _quoted_record(lines, start + 1, dialect, backslash=False)
        if len(fields) > width or (following is not None and len(following) == width):
            fields = None
    return (fields, end) if fields is not None else (None, start + 1)


def _quoted_record(lines: list[str], start: int, dialect: _Dialect, backslash: bool) -> tuple[list[str] | None, int]:
    until = min(len(lines), start + _MOST_LINES)
    reader = csv.reader(
        (lines[i].replace('\\"', '""') if backslash else lines[i] for i in range(start, until)),
        delimiter=dialect.delimiter,
        skipinitialspace=dialect.space_after,
        strict=True,
    )
    try:
        return next(reader), start + reader.line_num
    except (csv.Error, StopIteration):
        return None, start
