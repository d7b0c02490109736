"""What people decided about a dataset's rows: the one place that exports ask."""

from typing import TYPE_CHECKING

import pandas as pd

if TYPE_CHECKING:
    from core.store import Store

DECISION_COLUMNS = ["row_id", "row_hash", "decision", "actor", "note", "updated_at", "version"]


def excluded_rows(store: "Store", fingerprint: str) -> set[int]:
    """Return the ids of the rows that are to be left out."""
    flags = store.flags(fingerprint)
    return {int(row_id) for row_id in flags.loc[flags["flagged"], "row_id"]}


def decisions(store: "Store", fingerprint: str) -> pd.DataFrame:
    """Return the latest decision on every row that has one, columns `DECISION_COLUMNS`."""
    hashes = store.rows(fingerprint)[["row_id", "row_hash"]]
    table = store.flags(fingerprint).merge(hashes, on="row_id", how="left", validate="one_to_one")
    table["decision"] = table["flagged"].map({True: "exclude", False: "keep"}).astype("object")
    return table[DECISION_COLUMNS]
