"""The probes of a dataset: choose one, put another beside it, delete."""

import pandas as pd
import streamlit as st

from components import workspace
from components.dataset_list import when
from components.i18n import _, keyed, say
from components.model_choice import model_label
from components.probe_form import settings_line
from components.probe_wording import METRICS, VERDICTS, change
from core.errors import UserError
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
    line = st.container(horizontal=True, vertical_alignment="bottom")
    chosen = line.selectbox(
        _("Probe"),
        list(by_id),
        format_func={probe_id: label(record) for probe_id, record in by_id.items()}.get,
        key=key,
        label_visibility="collapsed",
        persist_state="session",
    )
    record = by_id.get(chosen, records[0])
    with line.popover(_("Delete"), icon=":material/delete:", type="tertiary"):
        st.markdown(_("Delete this probe's result and answers for good?"))
        st.button(_("Delete"), key="delete_probe", type="primary", on_click=_delete, args=(record.probe_id,))
    return record


def label(record: ProbeRecord) -> str:
    """Describe a probe in a line. Not by its status: a selectbox keeps showing the label that was chosen."""
    model = model_label(record.settings.get("model", ""))
    return f"{when(record.created_at)} · {settings_line(record.settings)} · {model}"


def beside(result: dict, record: ProbeRecord, records: list[ProbeRecord]) -> None:
    """Let another finished probe be put beside the one shown."""
    others = {r.probe_id: label(r) for r in records if r.probe_id != record.probe_id and r.status == "done"}
    if not others:
        return
    with st.expander(_("Compare with another probe"), icon=":material/compare:"):
        other_id = st.selectbox(_("Other probe"), list(others), format_func=others.get, key=keyed("other_probe"))
        other = workspace.probe_result(other_id)
        if other is None:
            st.caption(_("This result was made by an earlier version of Assay."))
            return
        if other["test"] != result["test"]:
            st.caption(
                ":material/warning: "
                + _("The two asked different prompts, other models, or judged otherwise: compare with care.")
            )
        st.dataframe(side_by_side(result, other), hide_index=True, alt=_("Two probes side by side"))


def side_by_side(first: dict, second: dict) -> pd.DataFrame:
    """Return every metric's change by arm in two probes."""
    lines = [
        {
            _("Measure"): _("Verdict"),
            _("Arm"): "",
            _("This probe"): _(VERDICTS[first["verdict"]["outcome"]][0]),
            _("Other probe"): _(VERDICTS[second["verdict"]["outcome"]][0]),
        }
    ]
    for metric, name in METRICS.items():
        for arm in dict.fromkeys((*first["arms"], *second["arms"])):
            cells = [
                change(metric, probe["arms"][arm]["difference"][metric])
                if metric in probe["arms"].get(arm, {}).get("difference", {})
                else "–"
                for probe in (first, second)
            ]
            if cells != ["–", "–"]:
                lines.append(
                    {_("Measure"): _(name), _("Arm"): arm, _("This probe"): cells[0], _("Other probe"): cells[1]}
                )
    return pd.DataFrame(lines)


def _delete(probe_id: str) -> None:
    try:
        workspace.jobs().delete_probe(probe_id, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
