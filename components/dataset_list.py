"""The datasets of the workspace, and what became of the current one's rows."""

from collections.abc import Callable
from datetime import datetime
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from components import workspace
from components.i18n import _, counted, escape
from core.datasets import RejectedRow, rejected_jsonl
from core.i18n import N_
from core.spreadsheet import as_csv
from core.store import DatasetRecord

FORMATS = {
    "alpaca": "Alpaca",
    "dolly": "Dolly",
    "qa": N_("Question / answer"),
    "prompt_completion": N_("Prompt / completion"),
    "messages": "OpenAI messages",
    "conversations": "ShareGPT",
    "custom": N_("Custom"),
}


def when(moment: datetime) -> str:
    """Write a moment in the browser's time zone."""
    zone = st.context.timezone
    local = moment.astimezone(ZoneInfo(zone)) if zone else moment
    return local.strftime("%Y-%m-%d %H:%M")


def dataset_list(records: list[DatasetRecord]) -> None:
    """Draw the table of datasets; a click makes one current."""
    store = workspace.store()
    current = st.session_state.get("dataset")
    runs = {record.fingerprint: store.score_runs(record.fingerprint) for record in records}
    table = pd.DataFrame(
        {
            "current": ["●" if record.fingerprint == current else "" for record in records],
            "name": [record.name for record in records],
            "rows": [record.n_rows for record in records],
            "rejected": [record.n_rejected for record in records],
            "format": [_(FORMATS[record.mapping["format"]]) for record in records],
            "holdout": [record.n_holdout for record in records],
            "scored": [bool(runs[record.fingerprint]) for record in records],
            "flagged": [int(store.flags(record.fingerprint)["flagged"].sum()) for record in records],
            "imported": [when(record.imported_at) for record in records],
        }
    )
    column = st.column_config
    key = "datasets_" + "_".join(record.fingerprint[:4] for record in records)
    st.dataframe(
        table,
        key=key,
        hide_index=True,
        height="content" if len(table) <= 8 else 290,
        on_select=lambda: _choose_clicked(key, [record.fingerprint for record in records]),
        selection_mode="single-cell",
        column_config={
            "current": column.TextColumn("", width=36, help=_("The current dataset. Click a row to change it.")),
            "name": column.TextColumn(_("Name"), width="medium"),
            "rows": column.NumberColumn(_("Rows"), format="localized", width="small"),
            "rejected": column.NumberColumn(_("Rejected"), format="localized", width="small"),
            "format": column.TextColumn(_("Format"), width="small"),
            "holdout": column.NumberColumn(
                _("Holdout"),
                width="small",
                help=_("Rows kept back at import to measure usefulness; never trained on."),
            ),
            "scored": column.CheckboxColumn(_("Scored"), width="small"),
            "flagged": column.NumberColumn(_("Flagged"), format="localized", width="small"),
            "imported": column.TextColumn(_("Imported"), width="small"),
        },
        alt=_("Datasets of this workspace"),
    )


def _choose_clicked(key: str, fingerprints: list[str]) -> None:
    cells = st.session_state[key]["selection"].get("cells") or []
    if cells and cells[0][0] < len(fingerprints):
        workspace.choose(fingerprints[cells[0][0]])


def dataset_card(record: DatasetRecord, below: Callable[[DatasetRecord], None]) -> None:
    """Draw what is known of a dataset, with its rejected rows, and what goes below in the same card."""
    with st.container(border=True, key="dataset_card"):
        st.subheader(escape(record.name))
        with st.container(horizontal=True, gap="medium"):
            st.metric(_("Usable rows"), f"{record.n_rows:,}", width="content")
            st.metric(_("Rejected"), f"{record.n_rejected:,}", width="content")
            st.metric(
                _("Holdout"),
                f"{record.n_holdout:,}",
                width="content",
                help=_("Rows kept back at import to measure usefulness; never trained on."),
            )
        columns = record.mapping.get("columns", {})
        mapping = ", ".join(f"{role} ← {name}" for role, name in columns.items() if name)
        st.table(
            pd.DataFrame(
                {
                    "value": [
                        f"`{record.fingerprint}`",
                        _(FORMATS[record.mapping["format"]]),
                        escape(mapping) or "–",
                        f"{when(record.imported_at)} · {record.imported_by}",
                    ]
                },
                index=[_("Fingerprint"), _("Format"), _("Fields"), _("Imported")],
            ),
            border="horizontal",
            hide_header=True,
        )
        if record.n_rejected:
            with st.expander(
                counted("{n} row could not be used", "{n} rows could not be used", record.n_rejected),
                icon=":material/report:",
                key="rejected_of_current",
            ):
                rejected_rows(workspace.store().rejected(record.fingerprint), record.name, "current")
        below(record)


def rejected_rows(rejected: pd.DataFrame, name: str, key: str) -> None:
    """List rejected rows with line and reason, and offer them as JSONL and CSV."""
    shown = pd.DataFrame(
        {
            "line": rejected["line"],
            "reason": [_(reason) for reason in rejected["reason"]],
            "detail": rejected["detail"],
            "raw": rejected["raw"].fillna("").astype(str).str.slice(0, 300),
        }
    )
    column = st.column_config
    st.dataframe(
        shown,
        hide_index=True,
        height="content" if len(shown) <= 8 else 290,
        column_config={
            "line": column.NumberColumn(_("Line"), format="%d", width="small"),
            "reason": column.TextColumn(_("Reason"), width="medium"),
            "detail": column.TextColumn(_("Detail"), width="medium"),
            "raw": column.TextColumn(_("As read"), width="large"),
        },
        alt=_("Rows that could not be used, with the reason"),
    )
    with st.container(horizontal=True):
        st.download_button(
            _("Download JSONL"),
            rejected_jsonl(_as_rows(rejected)),
            f"{name}.rejected.jsonl",
            "application/jsonl",
            icon=":material/download:",
            key=f"rejected_jsonl_{key}",
            on_click="ignore",
        )
        st.download_button(
            _("Download CSV"),
            as_csv(rejected),
            f"{name}.rejected.csv",
            "text/csv",
            icon=":material/download:",
            key=f"rejected_csv_{key}",
            on_click="ignore",
        )


def _as_rows(rejected: pd.DataFrame) -> list[RejectedRow]:
    plain = rejected.astype(object).where(rejected.notna(), None)
    return [RejectedRow(*line) for line in plain[["row_id", "line", "reason", "detail", "raw"]].itertuples(index=False)]
