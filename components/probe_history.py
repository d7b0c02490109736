"""The probes of a dataset."""

import streamlit as st

from components.dataset_list import when
from components.i18n import _, keyed
from components.model_choice import model_label
from components.probe_form import settings_line
from core.store import ProbeRecord


def choice(records: list[ProbeRecord]) -> ProbeRecord | None:
    """Draw the heading and the choice of probe; return the chosen one, by default the newest."""
    if not records:
        return None
    by_id = {record.probe_id: record for record in records}
    key = keyed("probe")
    if (wanted := st.session_state.pop("show_probe", None)) in by_id:
        st.session_state[key] = wanted
    if st.session_state.get(key) not in by_id:
        st.session_state[key] = records[0].probe_id
    st.subheader(_("Results"))
    chosen = st.selectbox(
        _("Probe"),
        list(by_id),
        format_func={probe_id: label(record) for probe_id, record in by_id.items()}.get,
        key=key,
        label_visibility="collapsed",
        persist_state="session",
    )
    return by_id.get(chosen, records[0])


def label(record: ProbeRecord) -> str:
    """Describe a probe in a line. Not by its status: a selectbox keeps showing the label that was chosen."""
    model = model_label(record.settings.get("model", ""))
    return f"{when(record.created_at)} · {settings_line(record.settings, record.n_rows)} · {model}"
