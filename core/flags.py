"""Marks on rows: flagged for exclusion or not, by whom, and how often that changed."""

from collections.abc import Collection

import pandas as pd
from sqlalchemy import select

from core import audit, database
from core.errors import UserError
from core.i18n import N_
from core.tables import DatasetRow, FlagRow, utc_now
from core.users import REVIEW, require

COLUMNS = ["row_id", "flagged", "actor", "note", "updated_at", "version"]


def read_flags(url: str, fingerprint: str) -> pd.DataFrame:
    """Return every mark ever set on a dataset's rows, columns `COLUMNS`."""
    query = select(*(getattr(FlagRow, name) for name in COLUMNS)).where(FlagRow.dataset == fingerprint)
    with database.reading(url) as session:
        rows = session.execute(query.order_by(FlagRow.row_id)).all()
    table = pd.DataFrame([tuple(row) for row in rows], columns=COLUMNS)
    return table.astype({"row_id": "int64", "flagged": "bool", "version": "int64"})


def write_flags(url: str, fingerprint: str, row_ids: Collection[int], flagged: bool, actor: str, note: str = "") -> int:
    """Mark rows, which the caller knows to exist, and return how many changed; needs the capability `REVIEW`."""
    with database.writing(url) as session:
        require(session, actor, REVIEW)
        # Locked against a deletion at the same time.
        if session.get(DatasetRow, fingerprint, with_for_update={"read": True, "key_share": True}) is None:
            raise UserError(N_("There is no dataset {fingerprint}."), fingerprint=fingerprint[:80])
        query = select(FlagRow.row_id, FlagRow.flagged, FlagRow.note).where(FlagRow.dataset == fingerprint)
        before = {row_id: (mark, old) for row_id, mark, old in session.execute(query.with_for_update())}
        changed = []
        entries = []
        for row_id in sorted(set(row_ids)):
            was_flagged, old_note = before.get(row_id, (False, ""))
            if was_flagged != flagged or (note and note != old_note):
                changed.append(row_id)
                entries.append(
                    audit.Change(
                        audit.row_subject(fingerprint, row_id),
                        {"flagged": was_flagged, "note_sha256": audit.text_hash(old_note)},
                        {"flagged": flagged, "note_sha256": audit.text_hash(note)},
                    )
                )
        if changed:
            insert = database.insert_into(session, FlagRow)
            new = {"flagged": flagged, "actor": actor, "note": note, "updated_at": utc_now()}
            upsert = insert.on_conflict_do_update(
                index_elements=[FlagRow.dataset, FlagRow.row_id],
                set_={**{name: insert.excluded[name] for name in new}, "version": FlagRow.version + 1},
            )
            values = [{"dataset": fingerprint, "row_id": row_id, "version": 1, **new} for row_id in changed]
            session.execute(upsert, values)
            audit.append_many(session, actor=actor, action=audit.FLAG, changes=entries)
    return len(changed)
