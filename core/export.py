"""What leaves the workspace: cleaned data, decisions, outliers; each checked against the role and logged."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal
from uuid import uuid4

import pandas as pd

from core import audit, database
from core.cutting import cut_parquet, cut_text
from core.errors import UserError
from core.exclusions import decisions, excluded_rows
from core.files import replacing
from core.hf_folder import write_folder
from core.i18n import N_
from core.scores import top_k
from core.spreadsheet import as_csv
from core.store import DatasetRecord, Store
from core.users import EXPORT, EXPORT_OUTLIERS, require

What = Literal["cleaned", "decisions", "outliers"]
Format = Literal["original", "hf"]
Rejected = Literal["in", "out"]
SUFFIXES = {"jsonl": ".jsonl", "json": ".json", "csv": ".csv", "parquet": ".parquet"}
OUTLIERS = 100


@dataclass(frozen=True)
class Exported:
    """What was written.

    Parameters
    ----------
    path : Path
        The file, or the folder in the format "hf".
    rows : int
        Rows in it.
    excluded, rejected : int
        Rows left out because people excluded them, records because they could not be read as rows.
    damaged : int
        Records that should be in it but are in a damaged block of the source.
    sha256 : str
        Of the file's content; of a folder, of its data file.
    """

    path: Path
    rows: int
    excluded: int
    rejected: int
    damaged: int
    sha256: str


def find_dataset(store: Store, name: str) -> DatasetRecord:
    """Return the dataset with this fingerprint, this beginning of one (6 digits), or this name.

    Raises
    ------
    UserError
        None or several.
    """
    records = store.datasets()
    found = [record for record in records if record.fingerprint == name]
    found = found or [record for record in records if record.name == name]
    found = found or [record for record in records if len(name) >= 6 and record.fingerprint.startswith(name)]
    if len(found) > 1:
        raise UserError(
            N_("Several datasets are called {name}; give the fingerprint: {fingerprints}."),
            name=name,
            fingerprints=", ".join(record.fingerprint for record in found),
        )
    if not found:
        raise UserError(N_("There is no dataset {fingerprint}."), fingerprint=name[:80])
    return found[0]


def file_suffix(record: DatasetRecord, what: What, form: Format) -> str:
    """Return the suffix that the exported file should have; "" for a folder."""
    if what != "cleaned":
        return ".csv"
    return "" if form == "hf" else SUFFIXES.get(record.format, ".jsonl")


def export(
    store: Store,
    fingerprint: str,
    what: What,
    out: Path,
    actor: str,
    *,
    rejected: Rejected = "out",
    form: Format = "original",
    top: int = OUTLIERS,
) -> Exported:
    """Write an export and log it.

    Parameters
    ----------
    store : Store
    fingerprint : str
    what : {"cleaned", "decisions", "outliers"}
        The data without the excluded rows; who decided what, as a table; the highest-scoring rows, as a table.
        Tables are JSON Lines if `out` says so, else CSV for a spreadsheet, with formulas neutralised.
    out : Path
        File to write, or a folder that is not there yet.
    actor : str
        Needs the capability `EXPORT`, for outliers `EXPORT_OUTLIERS`: rows picked to break a model are a recipe.
    rejected : {"in", "out"}
        Whether records that could not be read as rows stay in a cleaned file.
    form : {"original", "hf"}
        A cleaned file as it came in, or a folder for `datasets.load_dataset`.
    top : int
        How many outliers.

    Raises
    ------
    UserError
        The role does not allow it, or there is nothing to export like that.
    """
    capability = EXPORT_OUTLIERS if what == "outliers" else EXPORT
    with database.reading(store.url) as session:
        require(session, actor, capability)
    record = store.dataset(fingerprint)
    if form == "hf" and what == "cleaned":
        return _export_folder(store, record, out, actor, rejected)
    if out.is_dir():
        raise UserError(N_("{path} is a folder. Name a file."), path=str(out))
    with replacing(out) as partial:
        if what == "cleaned":
            made = _write_cleaned(store, record, partial, out, rejected)
        else:
            table = decisions(store, fingerprint) if what == "decisions" else _outliers(store, fingerprint, top)
            _write_table(table, partial, out.suffix.lower())
            made = Exported(out, len(table), 0, 0, 0, _sha256(partial))
        # In the log before it is in anybody's hands.
        _log(store, record, capability, actor, {"what": what, "form": form, "keep_rejected": rejected == "in"}, made)
    return made


def _write_cleaned(store: Store, record: DatasetRecord, partial: Path, out: Path, rejected: Rejected) -> Exported:
    excluded = excluded_rows(store, record.fingerprint)
    unusable = {int(row_id) for row_id in store.rejected(record.fingerprint)["row_id"].dropna()}
    gone = excluded | (unusable if rejected == "out" else set())
    source, damaged = store.source_path(record.fingerprint), 0
    if source is None:
        # From the hub: there is no file that it came in.
        lines = [_row_line(row) for row in store.load_rows(record.fingerprint) if row.row_id not in gone]
        partial.write_text("".join(lines), encoding="utf-8")
        unusable = set() if rejected == "in" else unusable
    elif record.format == "parquet":
        damaged = cut_parquet(source.read_bytes(), gone, partial)
    else:
        partial.write_bytes(cut_text(source.read_bytes(), record.format, gone))
    left_out = len(unusable) if rejected == "out" else 0
    rows = record.n_rows - len(excluded) + (len(unusable) - left_out) - damaged
    return Exported(out, rows, len(excluded), left_out, damaged, _sha256(partial))


def _export_folder(store: Store, record: DatasetRecord, out: Path, actor: str, rejected: Rejected) -> Exported:
    if rejected == "in":
        raise UserError(N_("Records that cannot be read as rows cannot be in a Hugging Face folder; leave them out."))
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UserError(N_("{path} exists already. Name a new folder."), path=str(out))
    excluded = excluded_rows(store, record.fingerprint)
    rows = [row for row in store.load_rows(record.fingerprint) if row.row_id not in excluded]
    partial = out.with_name(f".{out.name}.{uuid4().hex}.tmp")
    partial.mkdir(parents=True)
    try:
        about = {
            "name": record.name,
            "kept": len(rows),
            "total": record.n_rows,
            "fingerprint": record.fingerprint,
            "source_format": record.format or "–",
            "excluded": len(excluded),
            "rejected": record.n_rejected,
            "head": audit.head(store.url),
        }
        write_folder(partial, rows, about)
        digest = _sha256(next((partial / "data").iterdir()))
        made = Exported(out, len(rows), len(excluded), record.n_rejected, 0, digest)
        _log(store, record, EXPORT, actor, {"what": "cleaned", "form": "hf", "keep_rejected": False}, made)
        if out.exists():
            out.rmdir()
        partial.rename(out)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return made


def _outliers(store: Store, fingerprint: str, top: int) -> pd.DataFrame:
    runs = store.score_runs(fingerprint)
    if not runs:
        raise UserError(N_("This dataset is not scored yet."))
    scores = store.scores(runs[0].run_id)
    ranked = pd.DataFrame({"row_id": [int(row_id) for row_id in top_k(scores, "self_inf_n", min(top, len(scores)))]})
    ranked.insert(0, "rank", range(1, len(ranked) + 1))
    measured = scores[["row_id", "self_inf_n", "self_inf", "answer_tokens", "supervised_tokens", "truncated"]]
    texts = store.rows(fingerprint)[["row_id", "row_hash", "category", "supplier", "prompt", "answer"]]
    table = ranked.merge(measured, on="row_id").merge(texts, on="row_id")
    table["excluded"] = table["row_id"].isin(excluded_rows(store, fingerprint))
    return table


def _write_table(table: pd.DataFrame, path: Path, suffix: str) -> None:
    if suffix in (".jsonl", ".ndjson"):
        table.to_json(path, orient="records", lines=True, force_ascii=False, date_format="iso")
    else:
        path.write_bytes(as_csv(table))


def _row_line(row: Any) -> str:
    about = {"messages": [asdict(turn) for turn in row.turns], "category": row.category, "supplier": row.supplier}
    return json.dumps({name: value for name, value in about.items() if value}, ensure_ascii=False) + "\n"


def _log(
    store: Store, record: DatasetRecord, capability: str, actor: str, asked: dict[str, Any], made: Exported
) -> None:
    counts = {name: getattr(made, name) for name in ("rows", "excluded", "rejected", "damaged", "sha256")}
    with database.writing(store.url) as session:
        require(session, actor, capability)
        audit.append(session, actor=actor, action=audit.EXPORT, subject=record.fingerprint, after=asked | counts)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
