"""Probe: does training on the flagged rows change what the model refuses?"""

import streamlit as st

from components import empty_states, probe_form, probe_history, probe_results, shell, workspace
from components.i18n import _
from components.job_card import job_card

shell.through_app()
dataset = workspace.current()
if dataset is None:
    empty_states.no_dataset(_("Probe"))
    st.stop()

st.title(_("Probe"))
st.caption(_("Fine-tunes a copy of the model on the flagged rows and asks it the same prompts before and after."))

if any(probe_form.flagged_rows(dataset)):
    probe_form.probe_form(dataset)
else:
    empty_states.nothing_flagged(dataset)

probe = probe_history.choice(workspace.store().probes(dataset.fingerprint))
if probe is not None:
    result = workspace.store().probe_result(probe.probe_id) if probe.status == "done" else None
    if result is None:
        job_card(probe.job_id, _("Probe"))
    else:
        probe_results.probe_results(result, probe.probe_id)
        probe_results.download(result, probe.probe_id)
