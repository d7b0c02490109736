"""Probe: does training on these rows change what the model refuses, and are they the cause?"""

import streamlit as st

from components import empty_states, probe_form, probe_history, probe_results, release_form, shell, workspace
from components.i18n import _
from components.job_card import job_card

shell.through_app()
dataset = workspace.current()
if dataset is None:
    empty_states.no_dataset(_("Probe"))
    st.stop()

st.title(_("Probe"))
st.caption(
    _("Fine-tunes copies of the model on chosen rows and on fair controls, and asks the same prompts before and after.")
)

probes = workspace.store().probes(dataset.fingerprint)
probe_form.probe_form(dataset, workspace.rate_before(probes))

probe = probe_history.choice(probes)
if probe is not None:
    result = workspace.probe_result(probe.probe_id) if probe.status == "done" else None
    if probe.status != "done":
        job_card(probe.job_id, _("Probe"))
    elif result is None:
        st.info(_("This result was made by an earlier version of Assay. Start the probe again."))
    else:
        probe_results.probe_results(result, probe.probe_id)
        release_form.release_section(
            dataset,
            probe.probe_id,
            result["verdict"]["outcome"],
            workspace.basis_of(result, probe.probe_id),
            workspace.basis_now(dataset, result),
        )
        probe_history.beside(result, probe, probes)
        probe_results.download(result, probe.probe_id)
