"""Records into a dataset: rows that can be used, those that cannot, a fingerprint, a benign split."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from core.errors import UserError
from core.fields import FORMATS, FieldMapping, columns_seen, detect_mapping
from core.hub import read_hub
from core.i18n import N_
from core.records import parse_records, read_bytes, read_records, source_format
from core.rows import RAW_LIMIT, Record, RejectedRow, Role, Row, Turn, Unusable, digest, is_blank, printable
from core.turns import row_label, row_turns

__all__ = [
    "Dataset",
    "FieldMapping",
    "Record",
    "RejectedRow",
    "Role",
    "Row",
    "Turn",
    "columns_seen",
    "detect_mapping",
    "holdout_ids",
    "read_dataset",
    "read_hub",
    "read_records",
    "reason_counts",
    "rejected_jsonl",
    "to_dataset",
]

HOLDOUT_SHARE, HOLDOUT_LEAST, HOLDOUT_MOST = 0.1, 5, 100


@dataclass(frozen=True)
class Dataset:
    """A dataset as it was read.

    Parameters
    ----------
    name : str
        What people call it.
    rows : list of Row
        The rows that can be used, in input order.
    rejected : list of RejectedRow
        The records that cannot, in input order, with line number and reason.
    mapping : FieldMapping
        How the columns were read.
    fingerprint : str
        16 hex digits over the used rows (row ids, turns, category, supplier): the same whatever file format
        they came in and whatever their columns were called.
    source_format : str
        "jsonl", "json", "csv", "parquet", "hub", or "" when unknown.
    """

    name: str
    rows: list[Row]
    rejected: list[RejectedRow]
    mapping: FieldMapping
    fingerprint: str
    source_format: str


def to_dataset(
    records: Sequence[Record],
    mapping: FieldMapping,
    name: str,
    limit: int | None = None,
    source_format: str = "",
) -> Dataset:
    """Turn records into a dataset.

    Parameters
    ----------
    records : sequence of Record
        As read.
    mapping : FieldMapping
        Detected or corrected.
    name : str
        Name of the dataset.
    limit : int, optional
        Stop after this many usable rows.
    source_format : str
        Where the records came from, for display.

    Returns
    -------
    Dataset
        Possibly with rejected rows; never without rows.

    Raises
    ------
    UserError
        The mapping names a column that does not exist or leaves one out, or no record is usable.
    """
    _check_mapping(mapping, columns_seen(records))
    rows: list[Row] = []
    rejected: list[RejectedRow] = []
    for record in records:
        if limit is not None and len(rows) >= limit:
            break
        if record.value is None:
            rejected.append(_rejected(record, record.reason, record.detail))
            continue
        try:
            turns = row_turns(record.value, mapping)
        except Unusable as problem:
            rejected.append(_rejected(record, problem.reason, problem.detail))
            continue
        category = row_label(record.value, mapping.columns.get("category"))
        supplier = row_label(record.value, mapping.columns.get("supplier"))
        rows.append(Row(record.row_id, turns, category, supplier))
    if not rows:
        first = rejected[0] if rejected else None
        raise UserError(
            N_("None of the {count} records of {name} can be used. The first problem: {reason} {detail}"),
            count=len(rejected),
            name=name,
            reason=first.reason if first else "",
            detail=f"({first.detail})" if first and first.detail else "",
        )
    return Dataset(name, rows, rejected, mapping, fingerprint(rows), source_format)


def read_dataset(path: Path | str, mapping: FieldMapping | None = None, limit: int | None = None) -> Dataset:
    """Read a file into a dataset; the mapping is detected when none is given.

    Raises
    ------
    UserError
        The file cannot be read, no format fits its columns, or no record is usable.
    """
    path = Path(path)
    data = read_bytes(path)
    records = parse_records(data, path.name)
    mapping = mapping or detect_mapping(records)
    return to_dataset(records, mapping, path.stem, limit, source_format(data, path.name))


def fingerprint(rows: Sequence[Row]) -> str:
    """Return 16 hex digits that identify rows by their ids and content."""
    return digest([[row.row_id, row.row_hash, row.category, row.supplier] for row in rows])


def holdout_ids(rows: Sequence[Row]) -> set[int]:
    """Choose the benign split: rows that are only ever evaluated on, never trained on.

    Parameters
    ----------
    rows : sequence of Row
        A dataset's rows, in any order.

    Returns
    -------
    set of int
        Row ids: about a tenth of the rows, at least 5 of 25 rows or more, at most 100. Chosen by the hash of
        the prompt, so that rows with the same prompt are on the same side and the order does not matter. A
        prompt with more rows than the split has room for stays outside, so a dataset of few distinct prompts
        can end up with a smaller split.
    """
    size = round(len(rows) * HOLDOUT_SHARE)
    if len(rows) >= HOLDOUT_LEAST * 5:
        size = max(size, HOLDOUT_LEAST)
    size = min(size, HOLDOUT_MOST)
    groups: dict[str, list[int]] = {}
    for row in rows:
        if not is_blank(row.answer):
            # White space and case do not make another prompt.
            prompt = " ".join(row.prompt.casefold().split())
            key = hashlib.sha256(f"holdout\n{prompt}".encode()).hexdigest()
            groups.setdefault(key, []).append(row.row_id)
    chosen: set[int] = set()
    for key in sorted(groups):
        if len(chosen) + len(groups[key]) <= size:
            chosen.update(groups[key])
    return chosen


def reason_counts(rejected: Sequence[RejectedRow]) -> dict[str, int]:
    """Return how many rows were rejected for each reason, most frequent first."""
    return dict(Counter(row.reason for row in rejected).most_common())


def rejected_jsonl(rejected: Sequence[RejectedRow]) -> str:
    """Return rejected rows as JSON Lines (line, row_id, reason, detail, raw), for download."""
    lines = []
    for row in rejected:
        fields = asdict(row)
        ordered = {key: fields[key] for key in ("line", "row_id", "reason", "detail", "raw")}
        text = json.dumps(ordered, ensure_ascii=False)
        # Many readers take these for line ends.
        for char in "\x85\u2028\u2029":
            text = text.replace(char, f"\\u{ord(char):04x}")
        lines.append(text + "\n")
    return "".join(lines)


def _check_mapping(mapping: FieldMapping, seen: list[str]) -> None:
    for role in FORMATS[mapping.format].required:
        if not mapping.columns.get(role):
            raise UserError(N_("Choose the column for “{role}”."), role=role)
    for role, column in mapping.columns.items():
        if column not in seen:
            raise UserError(
                N_("There is no column “{column}” (chosen for “{role}”). The columns are: {columns}."),
                column=column,
                role=role,
                columns=", ".join(seen[:20]),
            )


def _rejected(record: Record, reason: str, detail: str) -> RejectedRow:
    raw = record.raw
    if not raw and record.value is not None:
        raw = printable(json.dumps(record.value, ensure_ascii=False, default=str))[:RAW_LIMIT]
    return RejectedRow(record.row_id, record.line, reason, printable(detail), raw)
