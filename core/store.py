"""Everything Assay keeps: tables in the database, rows and scores as files in the workspace.

Files live under content addresses only; no name from a dataset or a person ever becomes part of a path::

    datasets/<fingerprint>/source.<ext>  rows.parquet  rejected.jsonl
    datasets/<fingerprint>/scores/<content>-<key>/  chunk-*.npz  scores.parquet  features.npy  umap.parquet
    datasets/<fingerprint>/probes/before/<key>.json  runs/<key>.json   probes/<probe_id>.json
"""

import hashlib
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd
from sqlalchemy import select
from sqlalchemy.orm import Session

from core import audit, database
from core.datasets import Dataset
from core.errors import UserError
from core.files import replacing, write_json
from core.flags import read_flags, write_flags
from core.heartbeats import shown_status
from core.i18n import N_
from core.importing import import_dataset
from core.rows import RejectedRow, Row, Turn
from core.runs import run_address
from core.scores import with_length_unit
from core.settings import Settings
from core.store_records import DatasetRecord, ProbeRecord, ScoreRunRecord, dataset_record
from core.tables import DatasetRow, JobRow, ProbeRow, ScoreRunRow, UserRow, utc_now
from core.users import PROBE, REVIEW, User, add_first_user, find_user, require, set_user

__all__ = ["DatasetRecord", "ProbeRecord", "ScoreRunRecord", "Store", "User"]

_ADDRESS = re.compile(r"[0-9a-f]{8,64}")


class Store:
    """The workspace and its database; making one creates folders and tables where they are missing.

    Parameters
    ----------
    settings : Settings
        Workspace folder and database URL.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.database_url
        (settings.workspace / "datasets").mkdir(parents=True, exist_ok=True)
        database.migrate(settings)
        add_first_user(self.url)

    # People

    def user(self, name: str) -> User:
        """Return a user; an unknown name is a UserError."""
        with database.reading(self.url) as session:
            return find_user(session, name)

    def users(self) -> list[User]:
        """Return everybody, by name."""
        with database.reading(self.url) as session:
            return [User(row.name, row.role) for row in session.scalars(select(UserRow).order_by(UserRow.name))]

    def set_user(self, name: str, role: str, actor: str) -> User:
        """Add a user or change a role, see core.users.set_user."""
        return set_user(self.url, name, role, actor)

    # Datasets

    def dataset_folder(self, fingerprint: str) -> Path:
        """Return the folder of a dataset's files; anything but a fingerprint is a UserError."""
        if not _ADDRESS.fullmatch(fingerprint):
            raise UserError(N_("There is no dataset {fingerprint}."), fingerprint=fingerprint[:80])
        return self.settings.workspace / "datasets" / fingerprint

    def import_dataset(self, dataset: Dataset, source: Path | None, actor: str) -> tuple[DatasetRecord, bool]:
        """Keep a dataset: copy its source, write its rows and rejected rows, freeze the benign holdout.

        Parameters
        ----------
        dataset : Dataset
            Rows as read.
        source : Path or None
            The file it came from, copied byte for byte.
        actor : str
            Who imports; needs the capability `IMPORT`.

        Returns
        -------
        tuple of DatasetRecord and bool
            The record, and whether this content was known already (then nothing is changed).
        """
        return import_dataset(self, dataset, source, actor)

    def datasets(self) -> list[DatasetRecord]:
        """Return all datasets, newest first."""
        with database.reading(self.url) as session:
            rows = session.scalars(select(DatasetRow).order_by(DatasetRow.imported_at.desc()))
            return [dataset_record(row) for row in rows]

    def dataset(self, fingerprint: str) -> DatasetRecord:
        """Return one dataset; an unknown fingerprint is a UserError."""
        with database.reading(self.url) as session:
            return dataset_record(_dataset(session, fingerprint))

    def set_target(self, fingerprint: str, target_model: str | None, actor: str) -> None:
        """Record which model is to be fine-tuned on a dataset for real; needs the role steward."""
        with database.writing(self.url) as session:
            require(session, actor, PROBE)
            _dataset(session, fingerprint).target_model = (target_model or "").strip() or None

    def source_path(self, fingerprint: str) -> Path | None:
        """Return the copied source file, or None where there was none (hub datasets)."""
        with database.reading(self.url) as session:
            name = _dataset(session, fingerprint).source_file
        return self.dataset_folder(fingerprint) / name if name else None

    def rows(self, fingerprint: str) -> pd.DataFrame:
        """Return the rows as a table.

        Columns row_id, row_hash, prompt, answer, category, supplier, holdout (bool), turns (JSON text).
        """
        self.dataset(fingerprint)
        return pd.read_parquet(self.dataset_folder(fingerprint) / "rows.parquet")

    def load_rows(self, fingerprint: str) -> list[Row]:
        """Return the rows with their turns, in input order."""
        table = self.rows(fingerprint)
        columns = (table["row_id"], table["turns"], table["category"], table["supplier"])
        return [
            Row(int(row_id), tuple(Turn(**turn) for turn in json.loads(turns)), category, supplier)
            for row_id, turns, category, supplier in zip(*columns, strict=True)
        ]

    def rejected(self, fingerprint: str) -> pd.DataFrame:
        """Return a table of the input records that could not be used: row_id, line, reason, detail, raw."""
        self.dataset(fingerprint)
        text = (self.dataset_folder(fingerprint) / "rejected.jsonl").read_text(encoding="utf-8")
        table = pd.DataFrame(
            [json.loads(line) for line in text.split("\n") if line],
            columns=list(RejectedRow.__dataclass_fields__),
        )
        return table.astype({"row_id": "Int64", "line": "Int64"})

    # Scores

    def score_runs(self, fingerprint: str) -> list[ScoreRunRecord]:
        """Return the finished scorings of a dataset, newest first."""
        query = select(ScoreRunRow).where(ScoreRunRow.dataset == fingerprint)
        with database.reading(self.url) as session:
            rows = session.scalars(query.order_by(ScoreRunRow.created_at.desc())).all()
            return [self._score_run(row) for row in rows]

    def score_run(self, run_id: str) -> ScoreRunRecord:
        """Return one scoring; an unknown id is a UserError."""
        with database.reading(self.url) as session:
            row = session.get(ScoreRunRow, run_id)
            if row is None:
                raise UserError(N_("There is no scoring {run_id}."), run_id=run_id[:80])
            return self._score_run(row)

    def add_score_run(self, *, dataset: str, folder: Path, actor: str, **about: Any) -> str:
        """Record a finished scoring whose files are in ``folder``; recording it again renews the record.

        Parameters
        ----------
        dataset : str
            Fingerprint.
        folder : Path
            The run's folder, inside the workspace.
        actor : str
            Who asked for it.
        **about
            model, model_name, settings, n_rows, n_unscorable, template, umap_skipped, job_id.

        Returns
        -------
        str
            The run's id.
        """
        address = run_address(dataset, folder.name, about["settings"]["length_unit"])
        values = {
            **about,
            "dataset": dataset,
            "folder": folder.relative_to(self.settings.workspace).as_posix(),
            "created_at": utc_now(),
            "created_by": actor,
        }
        with database.writing(self.url) as session:
            known = session.get(ScoreRunRow, address)
            if known is not None and known.job_id == about["job_id"]:
                # A worker was killed between this and its own record of having done it.
                return address
            insert = database.insert_into(session, ScoreRunRow).values(run_id=address, **values)
            session.execute(insert.on_conflict_do_update(index_elements=[ScoreRunRow.run_id], set_=values))
            told = ("model", "model_name", "settings", "n_rows", "n_unscorable", "template", "job_id")
            audit.append(
                session,
                actor=actor,
                action=audit.SCORE,
                subject=audit.part_subject(dataset, "run", address),
                after={name: about[name] for name in told if name in about},
            )
        return address

    def scores(self, run_id: str) -> pd.DataFrame:
        """Return the scores, one row per scored row in input order (columns: see core.scoring)."""
        run = self.score_run(run_id)
        # Runs that differ in the length unit alone share their gradients, hence their folder.
        return with_length_unit(pd.read_parquet(run.folder / "scores.parquet"), run.settings["length_unit"])

    def unscorable(self, run_id: str) -> pd.DataFrame:
        """Return the rows that this scoring could not score: row_id, reason, detail."""
        return pd.read_parquet(self.score_run(run_id).folder / "unscorable.parquet")

    def umap(self, run_id: str) -> pd.DataFrame | None:
        """Return row_id, x, y of the gradient map, or None (`umap_skipped` of the run says why)."""
        path = self.score_run(run_id).folder / "umap.parquet"
        return pd.read_parquet(path) if path.exists() else None

    def _score_run(self, row: ScoreRunRow) -> ScoreRunRecord:
        names = [name for name in ScoreRunRecord.__dataclass_fields__ if name != "folder"]
        values = {name: getattr(row, name) for name in names}
        return ScoreRunRecord(**values, folder=self.settings.workspace / row.folder)

    # Flags

    def flags(self, fingerprint: str) -> pd.DataFrame:
        """Return every mark ever set on rows: row_id, flagged, actor, note, updated_at, version."""
        return read_flags(self.url, fingerprint)

    def set_flags(self, fingerprint: str, row_ids: Iterable[int], flagged: bool, actor: str, note: str = "") -> int:
        """Flag or unflag rows; needs the capability `REVIEW`.

        Returns
        -------
        int
            How many rows changed; rows that already were so keep their version, actor and time.
        """
        with database.reading(self.url) as session:
            require(session, actor, REVIEW)
            _dataset(session, fingerprint)
        wanted = {int(row_id) for row_id in row_ids}
        path = self.dataset_folder(fingerprint) / "rows.parquet"
        known = pd.read_parquet(path, columns=["row_id"])["row_id"]
        if unknown := sorted(wanted - set(known)):
            raise UserError(
                N_("{count} of the rows are not in this dataset, for example row {row_id}."),
                count=len(unknown),
                row_id=unknown[0],
            )
        return write_flags(self.url, fingerprint, wanted, flagged, actor, note)

    # Probes

    def probes(self, fingerprint: str) -> list[ProbeRecord]:
        """Return the probes of a dataset, newest first."""
        query = select(ProbeRow, JobRow).join(JobRow, JobRow.job_id == ProbeRow.job_id)
        query = query.where(ProbeRow.dataset == fingerprint).order_by(ProbeRow.created_at.desc())
        names = [name for name in ProbeRecord.__dataclass_fields__ if name != "status"]
        with database.reading(self.url) as session:
            return [
                ProbeRecord(**{name: getattr(probe, name) for name in names}, status=shown_status(session, job))
                for probe, job in session.execute(query).all()
            ]

    def probe_result(self, probe_id: str) -> dict[str, Any] | None:
        """Return the result of a finished probe (schema: core.probe_result), or None while there is none."""
        path = self.probe_path(probe_id)
        if not path.exists():
            return None
        result: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return result

    def probe_path(self, probe_id: str) -> Path:
        """Return where a probe's result is kept."""
        if not _ADDRESS.fullmatch(probe_id):
            raise UserError(N_("There is no probe {probe_id}."), probe_id=probe_id[:80])
        return self.settings.workspace / "probes" / f"{probe_id}.json"

    def probe_parts(self, fingerprint: str) -> Path:
        """Return the folder of what probes of a dataset are put together from (core.probe).

        With the dataset, because it holds answers to the dataset's held-out rows.
        """
        return self.dataset_folder(fingerprint) / "probes"

    def keep_prompts(self, content: bytes, suffix: str, actor: str) -> Path:
        """Keep a person's own prompt file in the workspace, under a name made of its content."""
        kind = suffix.lower() if suffix.lower() in (".csv", ".json") else ".jsonl"
        with database.reading(self.url) as session:
            require(session, actor, PROBE)
        path = self.settings.workspace / "prompts" / f"{hashlib.sha256(content).hexdigest()[:16]}{kind}"
        if not path.exists():
            with replacing(path) as temporary:
                temporary.write_bytes(content)
        return path

    def save_probe_result(self, probe_id: str, result: dict[str, Any]) -> None:
        """Write a probe's result (the worker's business)."""
        write_json(self.probe_path(probe_id), result)


def _dataset(session: Session, fingerprint: str) -> DatasetRow:
    row = session.get(DatasetRow, fingerprint)
    if row is None:
        raise UserError(N_("There is no dataset {fingerprint}."), fingerprint=fingerprint[:80])
    return row
