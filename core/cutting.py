"""Cutting records out of a file and leaving every other byte as it is."""

import io
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from core.csv_text import read_csv
from core.json_text import read_json
from core.records import decode_text

# What may stand between two records without being anything itself (see core.json_text).
_SOFT = re.compile("[ \t\r\n\ufeff\x00,]*")
_PADDING = re.compile("[ \t\ufeff\x00]*")
_BLANK = re.compile("[ \t\r\n\ufeff\x00]*")

_Span = tuple[int, int]


def cut_text(data: bytes, kind: str, excluded: Collection[int]) -> bytes:
    """Cut records out of a CSV, JSON Lines or JSON file.

    Records on lines of their own go with their lines. An element of a JSON array goes with one comma, so that
    what was valid JSON still is. Header, line endings, quoting, marks and blank lines stay as they are.

    Parameters
    ----------
    data : bytes
        The file.
    kind : str
        "csv", "jsonl" or "json".
    excluded : collection of int
        Indices of the records to cut, as `core.records` counts them.
    """
    decoded = decode_text(data)
    records = read_csv(decoded.text) if kind == "csv" else read_json(decoded.text)
    spans = [record.span for record in records if record.span is not None]
    gone = sorted(set(excluded))
    cuts = [spans[i] for i in gone] if kind == "csv" else list(_json_cuts(decoded.text, spans, gone))
    kept, character, byte = [data[: decoded.mark]], 0, decoded.mark
    for start, end in cuts:
        until = byte + decoded.n_bytes(character, start)
        kept.append(data[byte:until])
        byte, character = until + decoded.n_bytes(start, end), end
    return b"".join([*kept, data[byte:]])


def _json_cuts(text: str, spans: list[_Span], gone: list[int]) -> Iterator[_Span]:
    """Yield what to cut, in order and without overlap."""
    # Gap i is what stands before record i; the last one is the rest of the file.
    gaps = [*zip([0, *(end for _, end in spans)], [*(start for start, _ in spans), len(text)], strict=True)]
    for first, last in _runs(text, gaps, gone):
        lines = [_own_lines(text, spans[i], gaps[i], gaps[i + 1]) for i in range(first, last + 1)]
        whole = [line for line in lines if line is not None]
        if len(whole) == len(lines):
            yield from whole
        else:
            yield _with_separator(text, spans, gaps, first, last)


def _runs(text: str, gaps: list[_Span], gone: list[int]) -> Iterator[tuple[int, int]]:
    """Yield first and last of neighbouring records; what is more than a separator between them parts them."""
    first = None
    for position, i in enumerate(gone):
        first = i if first is None else first
        following = gone[position + 1] if position + 1 < len(gone) else None
        if following != i + 1 or not _is_soft(text, gaps[i + 1]):
            yield first, i
            first = None


def _own_lines(text: str, span: _Span, before: _Span, after: _Span) -> _Span | None:
    """Return the physical lines of a record, line end included, if nothing else is on them or beside it."""
    if not (_BLANK.fullmatch(text, *before) and _BLANK.fullmatch(text, *after)):
        return None
    start = max(text.rfind("\n", before[0], span[0]), text.rfind("\r", before[0], span[0])) + 1
    if start == 0:
        start = before[0]
        if start != 0:
            return None
    padding = _PADDING.match(text, span[1], after[1])
    end = padding.end() if padding else span[1]
    if end == len(text):
        return start, end
    if text.startswith("\r\n", end):
        return start, end + 2
    return (start, end + 1) if text[end] in "\r\n" else None


def _with_separator(text: str, spans: list[_Span], gaps: list[_Span], first: int, last: int) -> _Span:
    """Return a run of records with the separator before or after it, whichever is the run's own."""
    start, end = spans[first][0], spans[last][1]
    before, after = gaps[first], gaps[last + 1]
    joined_before = first > 0 and _is_soft(text, before)
    joined_after = last + 1 < len(spans) and _is_soft(text, after)
    if joined_before and (not joined_after or _goes_with(text, before, after)):
        return before[0], end
    return (start, after[1]) if joined_after else (start, end)


def _goes_with(text: str, before: _Span, after: _Span) -> bool:
    """Whether the separator before is the one to cut: the one after separates more, or would otherwise be lost."""
    commas = ["," in text[slice(*gap)] for gap in (before, after)]
    breaks = [not _PADDING.fullmatch(text, *gap) for gap in (before, after)]
    return commas == [True, False] or (commas == [False, False] and breaks == [False, True])


def _is_soft(text: str, gap: _Span) -> bool:
    return _SOFT.fullmatch(text, *gap) is not None


def cut_parquet(data: bytes, excluded: Collection[int], out: Path) -> int:
    """Write a Parquet file without some of its rows: same schema and metadata, equal values.

    Parameters
    ----------
    data : bytes
        The file.
    excluded : collection of int
        Row numbers to leave out, from 0.
    out : Path
        Where to write.

    Returns
    -------
    int
        Rows that could not be copied, because their block is damaged.
    """
    file = pq.ParquetFile(io.BytesIO(data))
    gone = pa.array(sorted(set(excluded)), type=pa.int64())
    first, damaged = 0, 0
    with pq.ParquetWriter(out, file.schema_arrow, compression=_codec(file)) as writer:
        for group in range(file.num_row_groups):
            count = file.metadata.row_group(group).num_rows
            numbers = pa.array(range(first, first + count), type=pa.int64())
            first += count
            keep = pc.invert(pc.is_in(numbers, value_set=gone))
            try:
                table = file.read_row_group(group)
            except (pa.ArrowException, OSError):
                damaged += pc.sum(keep).as_py() or 0
                continue
            writer.write_table(table.filter(keep))
    return damaged


def _codec(file: pq.ParquetFile) -> str:
    metadata = file.metadata
    if not metadata.num_row_groups or not metadata.num_columns:
        return "snappy"
    name = str(metadata.row_group(0).column(0).compression)
    return {"UNCOMPRESSED": "none", "LZ4_RAW": "lz4"}.get(name, name.lower())
