"""Marks on rows: flagged for exclusion or not, by whom, and how often that changed."""

from collections.abc import Collection

import pandas as pd
from sqlalchemy import select

from core import database
from core.tables import FlagRow, utc_now
from core.users import require_role

COLUMNS = ["row_id", "flagged", "actor", "note", "updated_at", "version"]


def read_flags(url: str, fingerprint: str) -> pd.DataFrame:
    """Return every mark ever set on a dataset's rows, columns `COLUMNS`."""
    query = select(*(getattr(FlagRow, name) for name in COLUMNS)).where(FlagRow.dataset == fingerprint)
    with database.reading(url) as session:
        rows = session.execute(query.order_by(FlagRow.row_id)).all()
    table = pd.DataFrame([tuple(row) for row in rows], columns=COLUMNS)
    return table.astype({"row_id": "int64", "flagged": "bool", "version": "int64"})


def write_flags(url: str, fingerprint: str, row_ids: Collection[int], flagged: bool, actor: str, note: str = "") -> int:
    """Mark rows, which the caller knows to exist, and return how many changed; needs the role reviewer."""
    with database.writing(url) as session:
        require_role(session, actor, "reviewer")
        query = select(FlagRow.row_id, FlagRow.flagged, FlagRow.note).where(FlagRow.dataset == fingerprint)
        before = {row_id: (mark, old) for row_id, mark, old in session.execute(query.with_for_update())}
        changed = []
        for row_id in sorted(set(row_ids)):
            was_flagged, old_note = before.get(row_id, (False, ""))
            if was_flagged != flagged or (note and note != old_note):
                changed.append(row_id)
        if changed:
            insert = database.insert_into(session, FlagRow)
            new = {"flagged": flagged, "actor": actor, "note": note, "updated_at": utc_now()}
            upsert = insert.on_conflict_do_update(
                index_elements=[FlagRow.dataset, FlagRow.row_id],
                set_={**{name: insert.excluded[name] for name in new}, "version": FlagRow.version + 1},
            )
            values = [{"dataset": fingerprint, "row_id": row_id, "version": 1, **new} for row_id in changed]
            session.execute(upsert, values)
    return len(changed)
