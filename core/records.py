"""Files into records: which format, which encoding, and where each record starts."""

import codecs
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from core.csv_text import read_csv
from core.errors import UserError
from core.i18n import N_
from core.json_text import read_json
from core.rows import BAD_UTF8, UNREADABLE, Record

_EXTENSIONS = {
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
}
_BYTE_ORDER_MARKS = (
    # UTF-32's little-endian mark starts with UTF-16's.
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_VISIBLE = re.compile("[^ \t\r\n\ufeff\x00]")
# ZIP (and so .xlsx), gzip, bzip2, xz, Zstandard.
_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")


def read_records(path: Path | str) -> list[Record]:
    """Read every record of a JSON Lines, JSON, CSV or Parquet file.

    Parameters
    ----------
    path : Path or str
        The file. Its extension says what it is; where that is unknown or wrong, its content decides.

    Returns
    -------
    list of Record
        In input order, unreadable ones included with their reason.

    Raises
    ------
    UserError
        No such file, a folder, an empty file, or a file of another kind.
    """
    path = Path(path)
    return parse_records(read_bytes(path), path.name)


def read_bytes(path: Path) -> bytes:
    """Return a file's content, or raise a UserError that says why not."""
    if path.is_dir():
        raise UserError(N_("{path} is a folder. Choose a file in it."), path=str(path))
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UserError(N_("There is no file {path}."), path=str(path)) from None
    except OSError as error:
        raise UserError(
            N_("The file {path} cannot be read: {problem}"),
            path=str(path),
            problem=error.strerror or str(error),
        ) from error


def parse_records(data: bytes, name: str) -> list[Record]:
    """Read every record of a file's bytes; `name` gives the extension. As `read_records` otherwise."""
    kind = source_format(data, name)
    if kind == "parquet":
        return read_parquet(data, name)
    text = decode(data)
    records = read_csv(text) if kind == "csv" else read_json(text)
    if not records:
        raise UserError(N_("{name} holds no records."), name=name)
    return records


def source_format(data: bytes, name: str) -> str:
    """Return "jsonl", "json", "csv" or "parquet" for a file's bytes and name.

    Raises
    ------
    UserError
        The file is empty or of another kind.
    """
    declared = _EXTENSIONS.get(Path(name).suffix.lower(), "")
    if data[:4] == b"PAR1":
        return "parquet"
    if declared == "parquet":
        raise UserError(N_("{name} is not a Parquet file, though its name says so."), name=name)
    if data.startswith(_PACKED):
        raise UserError(N_("{name} is a compressed file or a spreadsheet. Unpack it, or save it as CSV."), name=name)
    start = _VISIBLE.search(text := decode(data))
    if start is None:
        raise UserError(N_("{name} is empty."), name=name)
    head = text[start.start() : start.start() + 65536]
    if head.startswith(("{", "[")) and declared in ("", "csv"):
        # No CSV header starts like this: the name is wrong or says nothing.
        return "json" if head.startswith("[") else "jsonl"
    if declared:
        return declared
    if "\x00" not in head:
        if "\n{" in head:
            return "jsonl"
        if any(delimiter in head.partition("\n")[0] for delimiter in ",;\t|"):
            return "csv"
    raise UserError(N_("{name} is not a file that can be read here. Use JSON Lines, JSON, CSV or Parquet."), name=name)


@dataclass(frozen=True, slots=True)
class DecodedText:
    """A file's text, and how to find its characters again in the bytes.

    Parameters
    ----------
    text : str
        Without byte order mark; bytes that are not valid stand as lone surrogates, one for each byte (UTF-8) or
        unit (UTF-16, UTF-32).
    encoding, errors : str
        With these, any part of the text encodes to as many bytes as it came from.
    mark : int
        Bytes before the text: the byte order mark.
    """

    text: str
    encoding: str
    errors: str
    mark: int

    def n_bytes(self, start: int, end: int) -> int:
        """Return how many bytes the characters `start` to `end` came from."""
        return len(self.text[start:end].encode(self.encoding, self.errors))


def decode_text(data: bytes) -> DecodedText:
    """Decode a file in UTF-8 (with or without a mark), UTF-16 or UTF-32; only what is not valid is lost."""
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS if data.startswith(mark)), "")
    if not encoding:
        # Without a mark, ASCII such as `{"` shows every other byte as NUL.
        pattern = bytes(1 if byte else 0 for byte in data[:4])
        encoding = {b"\1\0\1\0": "utf-16-le", b"\0\1\0\1": "utf-16-be"}.get(pattern, "")
    if encoding:
        # A file cut off inside a character has lost whatever its last bytes stood for.
        whole = len(data) - len(data) % (4 if encoding.startswith("utf-32") else 2)
        text, errors = data[:whole].decode(encoding, _unit_to_surrogate), "surrogatepass"
    else:
        encoding, errors = "utf-8", "surrogateescape"
        text = data.decode(encoding, errors)
    mark = len("\ufeff".encode(encoding)) if text.startswith("\ufeff") else 0
    return DecodedText(text.removeprefix("\ufeff"), encoding, errors, mark)


def decode(data: bytes) -> str:
    """Return the text of a file, see `decode_text`."""
    return decode_text(data).text


_unit_to_surrogate = "assay-unit-to-surrogate"


def _replace_unit(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\udcff", max(error.end, error.start + 1)


codecs.register_error(_unit_to_surrogate, _replace_unit)


def read_parquet(data: bytes, name: str) -> list[Record]:
    """Read every row of a Parquet file, nested columns included; a damaged block costs its own rows only.

    Raises
    ------
    UserError
        The file is not Parquet, is damaged as a whole, or has no rows.
    """
    try:
        file = pq.ParquetFile(io.BytesIO(data))
    except (pa.ArrowException, OSError) as error:
        raise UserError(
            N_("{name} is not a readable Parquet file: {problem}"), name=name, problem=_first_line(error)
        ) from error
    records: list[Record] = []
    for group in range(file.num_row_groups):
        try:
            table = file.read_row_group(group)
        except (pa.ArrowException, OSError) as error:
            count = file.metadata.row_group(group).num_rows
            detail = f"row group {group}: {_first_line(error)}"
            records += [Record(len(records) + i, None, None, UNREADABLE, detail) for i in range(count)]
            continue
        for value, reason, detail in _table_rows(table):
            records.append(Record(len(records), None, value, reason, detail))
    if not records:
        raise UserError(N_("{name} holds no records."), name=name)
    return records


def _table_rows(table: Any) -> Iterator[tuple[dict[str, Any] | None, str, str]]:
    for batch in table.to_batches(max_chunksize=1000):
        try:
            rows = batch.to_pylist()
        except (UnicodeDecodeError, ValueError, OverflowError, pa.ArrowException):
            # One value spoils the batch: take its rows one at a time.
            for i in range(batch.num_rows):
                try:
                    yield plain(batch.slice(i, 1).to_pylist()[0]), "", ""
                except UnicodeDecodeError as error:
                    yield None, BAD_UTF8, f"byte {error.start + 1} of a text"
                except (ValueError, OverflowError, pa.ArrowException) as error:
                    yield None, UNREADABLE, _first_line(error)
        else:
            for row in rows:
                yield plain(row), "", ""


def plain(value: Any) -> Any:
    """Turn the bytes that older writers store for text into text; bytes that are not text stay bytes."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [plain(item) for item in value]
    if isinstance(value, bytes):
        try:
            return value.decode("utf-8")
        except UnicodeDecodeError:
            return value
    return value


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]
