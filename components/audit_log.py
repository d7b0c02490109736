"""The audit log as people read it: filter, table, check, download."""

import io
import json
import re
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pandas as pd
import streamlit as st

from components import workspace
from components.i18n import _, counted, say, translated
from core import audit
from core.audit import Entry, LogFilter
from core.errors import UserError
from core.i18n import N_

PAGE = 100
LONGEST_VALUE = 60
_HASH = re.compile("[0-9a-f]{32,}")
ACTION_NAMES = {
    audit.IMPORT: N_("Import"),
    audit.SCORE: N_("Scoring"),
    audit.FLAG: N_("Flag"),
    audit.DECISION: N_("Decision"),
    audit.UNDO: N_("Undo"),
    audit.ASSIGNMENT: N_("Assignment"),
    audit.ADJUDICATION: N_("Adjudication"),
    audit.JUDGEMENT: N_("Judgement"),
    audit.POLICY: N_("Stop criteria"),
    audit.RELEASE: N_("Release decision"),
    audit.OVERRULE: N_("Overruled judgement"),
    audit.PROBE: N_("Probe"),
    audit.JOB: N_("Job"),
    audit.EXPORT: N_("Export"),
    audit.RETENTION: N_("Retention period"),
    audit.DELETE: N_("Deletion"),
    audit.ROLE: N_("Role"),
}
PARTS = {
    "row": N_("row {id}"),
    "run": N_("scoring {id}"),
    "score": N_("scoring job {id}"),
    "estimate": N_("estimate {id}"),
    "probe": N_("probe {id}"),
}


def head_section() -> None:
    """Show the head hash, and check the chain on demand."""
    url = workspace.store().url
    with st.container(border=True, key="audit_head"):
        st.markdown(f"**{_('Is the log whole?')}**")
        st.caption(
            _(
                "Each entry carries the hash of the one before. Note the head hash somewhere else: given back as an "
                "anchor, it also shows whether the end was cut off or everything was written anew."
            )
        )
        st.code(audit.head(url), language=None)
        line = st.container(horizontal=True, vertical_alignment="bottom")
        anchor = line.text_input(
            _("Anchor (optional)"), key="audit_anchor", placeholder=_("A head hash noted earlier"), max_chars=80
        )
        if line.button(_("Check the log"), key="audit_verify", type="primary", icon=":material/verified:"):
            with st.spinner(_("Checking")):
                _verdict(url, anchor)


def _verdict(url: str, anchor: str) -> None:
    try:
        found = audit.verify(url, anchor)
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return
    count = counted("{n} entry", "{n} entries", found.checked)
    if found.ok:
        text = (
            _("The chain is whole: {count}.")
            if not anchor.strip()
            else _("The chain is whole and holds the anchor: {count}.")
        )
        st.success(text.format(count=count), icon=":material/verified:")
        return
    place = _("Entry {n}").format(n=found.bad_seq) + ": " if found.bad_seq is not None else ""
    st.error(
        f"**{place}{_(found.problem)}**\n\n" + _("Good before it: {count}.").format(count=count),
        icon=":material/gpp_bad:",
    )


def filters() -> LogFilter:
    """Draw the filters; return what they say."""
    store = workspace.store()
    names = dataset_names()
    with st.container(horizontal=True, vertical_alignment="bottom", key="audit_filters"):
        people = st.multiselect(
            _("Person"), audit.actors(store.url), placeholder=_("Everybody"), key="audit_people", width=180
        )
        actions = st.multiselect(
            _("Action"),
            list(ACTION_NAMES),
            format_func=translated(ACTION_NAMES).get,
            placeholder=_("Everything"),
            key="audit_actions",
            width=200,
        )
        # A deleted dataset is found by its fingerprint.
        subject = st.selectbox(
            _("Dataset or fingerprint"),
            list(names),
            index=None,
            format_func=lambda fingerprint: names.get(fingerprint, fingerprint),
            accept_new_options=True,
            placeholder=_("All"),
            key="audit_subject",
            width=200,
        )
        row = st.number_input(
            _("Row"), min_value=0, value=None, step=1, key="audit_row", disabled=not subject, width=100
        )
        days = st.date_input(_("Days"), value=(), key="audit_days", width=220)
    chosen = (subject or "").strip()
    if chosen and row is not None:
        chosen = audit.row_subject(chosen, int(row))
    since, until = _moments(days)
    return LogFilter(tuple(people), tuple(actions), chosen, since, until)


def _moments(days: tuple[date, ...]) -> tuple[datetime | None, datetime | None]:
    if not days:
        return None, None
    start = datetime.combine(days[0], time(), _zone())
    last = days[1] if len(days) > 1 else days[0]
    return start, datetime.combine(last + timedelta(days=1), time(), _zone())


def _zone() -> Any:
    return ZoneInfo(st.context.timezone) if st.context.timezone else UTC


def log_table(chosen: LogFilter) -> None:
    """Draw one page of entries, newest first, with paging and the download."""
    url = workspace.store().url
    total = audit.count_log(url, chosen)
    pages = max(1, -(-total // PAGE))
    line = st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute")
    line.caption(counted("{n} entry", "{n} entries", total), width="content")
    page = 1
    if pages > 1:
        # Another filter starts on its first page.
        page = line.number_input(
            _("Page (of {n})").format(n=f"{pages:,}"), 1, pages, 1, key=f"audit_page_{hash(chosen)}", width=140
        )
    entries = audit.read_log(url, chosen, PAGE, (int(page) - 1) * PAGE)
    names = dataset_names()
    column = st.column_config
    st.dataframe(
        pd.DataFrame(
            {
                "seq": [entry.seq for entry in entries],
                "time": [entry.moment.astimezone(_zone()).strftime("%Y-%m-%d %H:%M:%S") for entry in entries],
                "actor": [entry.actor for entry in entries],
                "action": [_(ACTION_NAMES[entry.action]) for entry in entries],
                "subject": [subject_text(entry.subject, names) for entry in entries],
                "change": [change_text(entry) for entry in entries],
                "note": [entry.note for entry in entries],
                "hash": [entry.hash for entry in entries],
            }
        ),
        hide_index=True,
        height="content" if len(entries) <= 15 else 520,
        column_config={
            "seq": column.NumberColumn("#", format="%d", width=56),
            "time": column.TextColumn(_("Time"), width=136),
            "actor": column.TextColumn(_("Person"), width=110),
            "action": column.TextColumn(_("Action"), width=88),
            "subject": column.TextColumn(_("What"), width=160),
            "change": column.TextColumn(_("Before → after"), width=360),
            "note": column.TextColumn(_("Note"), width=120),
            "hash": column.TextColumn(_("Hash"), width=140),
        },
        alt=_("Audit log"),
    )
    st.download_button(
        _("Download JSONL"),
        lambda: _jsonl(url, chosen),
        "assay-audit.jsonl",
        "application/jsonl",
        icon=":material/download:",
        key="audit_download",
        on_click="ignore",
        disabled=not total,
    )


def _jsonl(url: str, chosen: LogFilter) -> bytes:
    file = io.StringIO()
    audit.export_jsonl(url, file, chosen)
    return file.getvalue().encode("ascii")


def dataset_names() -> dict[str, str]:
    """Return the names of the datasets that are there, by fingerprint."""
    return {record.fingerprint: record.name for record in workspace.store().datasets()}


def subject_text(subject: str, names: dict[str, str]) -> str:
    """Say what an entry is about: a dataset by its name while it is there, by its fingerprint afterwards."""
    if subject.startswith("user:"):
        return subject.removeprefix("user:")
    fingerprint, _slash, part = subject.partition("/")
    whole = names.get(fingerprint, fingerprint)
    kind, _colon, identity = part.partition(":")
    if not part:
        return whole
    what = _(PARTS[kind]).format(id=identity[:12]) if kind in PARTS else part
    return f"{whole} · {what}"


def change_text(entry: Entry) -> str:
    """Say what changed, one "name: before → after" for each value that differs."""
    before = entry.before if isinstance(entry.before, dict) else {"": entry.before}
    after = entry.after if isinstance(entry.after, dict) else {"": entry.after}
    parts = []
    for name in dict.fromkeys([*before, *after]):
        old, new = before.get(name), after.get(name)
        if old == new or (name == "" and old is None and new is None):
            continue
        text = _value(new) if old is None else f"{_value(old)} → {_value(new)}"
        parts.append(f"{name}: {text}" if name else text)
    return " · ".join(parts)


def _value(value: Any) -> str:
    if value is None or value == "":
        return "–"
    if isinstance(value, str) and _HASH.fullmatch(value):
        return value[:8] + "…"
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, sort_keys=True)
    return text if len(text) <= LONGEST_VALUE else text[:LONGEST_VALUE] + "…"
