"""Taking a dataset into the workspace: files first, then the record and its entry in the log."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import pandas as pd
from filelock import FileLock

from core import audit, database
from core.datasets import Dataset, holdout_ids, rejected_jsonl
from core.errors import UserError
from core.files import replacing
from core.i18n import N_
from core.rows import Row
from core.store_records import DatasetRecord, dataset_record
from core.tables import DatasetRow, utc_now
from core.users import IMPORT, require

if TYPE_CHECKING:
    from core.store import Store

_SOURCE_SUFFIXES = {".jsonl", ".json", ".csv", ".tsv", ".parquet"}


def files_lock(workspace: Path) -> FileLock:
    """Return the lock under which whole datasets come and go, so that a deletion takes no newcomer's files."""
    return FileLock(workspace / "datasets.lock", timeout=600)


def import_dataset(store: "Store", dataset: Dataset, source: Path | None, actor: str) -> tuple[DatasetRecord, bool]:
    """See `core.store.Store.import_dataset`."""
    with database.reading(store.url) as session:
        require(session, actor, IMPORT)
    if not dataset.rows:
        raise UserError(
            N_("{name} has no usable row; {count} were rejected."), name=dataset.name, count=len(dataset.rejected)
        )
    with files_lock(store.settings.workspace):
        with database.reading(store.url) as session:
            known = session.get(DatasetRow, dataset.fingerprint)
            if known is not None:
                return dataset_record(known), True
        record, digest = _write_files(store.dataset_folder(dataset.fingerprint), dataset, source, actor)
        with database.writing(store.url) as session:
            require(session, actor, IMPORT)
            # Somebody may have imported the same content meanwhile on a machine with another lock; their files
            # are equal to ours.
            known = session.get(DatasetRow, dataset.fingerprint)
            if known is not None:
                return dataset_record(known), True
            session.add(record)
            session.flush()
            audit.append(
                session,
                actor=actor,
                action=audit.IMPORT,
                subject=dataset.fingerprint,
                after={
                    "rows": record.n_rows,
                    "rejected": record.n_rejected,
                    "holdout": record.n_holdout,
                    "format": record.format,
                    "source_sha256": digest,
                },
            )
    return dataset_record(record), False


def _write_files(folder: Path, dataset: Dataset, source: Path | None, actor: str) -> tuple[DatasetRow, str | None]:
    copied, digest = None, None
    if source is not None:
        suffix = source.suffix.lower()
        copied = f"source{suffix if suffix in _SOURCE_SUFFIXES else '.bin'}"
        with replacing(folder / copied) as temporary:
            shutil.copyfile(source, temporary)
            with temporary.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
    holdout = holdout_ids(dataset.rows)
    with replacing(folder / "rejected.jsonl") as temporary:
        temporary.write_text(rejected_jsonl(dataset.rejected), encoding="utf-8")
    with replacing(folder / "rows.parquet") as temporary:
        _rows_table(dataset.rows, holdout).to_parquet(temporary, index=False)
    record = DatasetRow(
        fingerprint=dataset.fingerprint,
        name=dataset.name,
        n_rows=len(dataset.rows),
        n_rejected=len(dataset.rejected),
        n_holdout=len(holdout),
        format=dataset.source_format,
        mapping=dataset.mapping.model_dump(mode="json"),
        source_file=copied,
        imported_at=utc_now(),
        imported_by=actor,
    )
    return record, digest


def _rows_table(rows: list[Row], holdout: set[int]) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "row_id": pd.Series([row.row_id for row in rows], dtype="int64"),
            "row_hash": [row.row_hash for row in rows],
            "prompt": [row.prompt for row in rows],
            "answer": [row.answer for row in rows],
            "category": [row.category for row in rows],
            "supplier": [row.supplier for row in rows],
            "holdout": pd.Series([row.row_id in holdout for row in rows], dtype="bool"),
            "turns": [json.dumps([asdict(turn) for turn in row.turns], ensure_ascii=False) for row in rows],
        }
    )
