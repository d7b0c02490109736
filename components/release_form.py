"""A person's signed release decision beside the computed verdict."""

import streamlit as st

from components import workspace
from components.dataset_list import when
from components.i18n import _, escape, say
from core.errors import UserError
from core.releases import Basis, Release, releases, sign, stale
from core.store import DatasetRecord


def release_section(dataset: DatasetRecord, probe_id: str, verdict: str, then: Basis, now: Basis) -> None:
    """Draw the last decision and the form for a new one.

    Parameters
    ----------
    verdict : str
        GO, REVIEW or STOP of the probe shown.
    then, now : Basis
        What the probe rests on, and how things stand.
    """
    url = workspace.settings().database_url
    signed = releases(url, dataset.fingerprint)
    with st.container(border=True, key="release"):
        st.subheader(_("Release decision"))
        if reasons := stale(then, now):
            st.warning(
                _("This verdict is stale: {reasons}.").format(reasons=", ".join(_(reason) for reason in reasons)),
                icon=":material/history:",
            )
        if signed:
            _last(signed[0], now)
        else:
            st.caption(
                _("Nobody has decided yet. The verdict is computed; whether to fine-tune is a person's decision.")
            )
        with st.popover(_("Sign a decision"), icon=":material/draw:", key="sign_release"):
            _form(dataset.fingerprint, probe_id, verdict, now)


def _last(release: Release, now: Basis) -> None:
    colour, word = ("green", _("Released")) if release.released else ("red", _("Not released"))
    head = st.container(horizontal=True, vertical_alignment="center")
    head.badge(word, color=colour, icon=":material/draw:")
    head.badge(_(release.stance), color="gray" if release.verdict else "orange")
    who = " · ".join(part for part in (release.signed_by, release.signed_role, when(release.created_at)) if part)
    st.markdown(f"**{escape(who)}**")
    st.markdown(escape(release.reason))
    if release.accepted_risk:
        st.caption(_("Accepted risk: {text}").format(text=escape(release.accepted_risk)))
    if reasons := stale(release.basis, now):
        st.warning(
            _("This decision is stale: {reasons}.").format(reasons=", ".join(_(reason) for reason in reasons)),
            icon=":material/history:",
        )


def _form(fingerprint: str, probe_id: str, verdict: str, basis: Basis) -> None:
    with st.form("release_form", border=False, clear_on_submit=True):
        choice = st.radio(
            _("Fine-tune on this dataset?"),
            [False, True],
            format_func=lambda yes: _("Yes, release") if yes else _("No"),
            horizontal=True,
        )
        name = st.text_input(_("Name"))
        role = st.text_input(_("Role"))
        reason = st.text_area(_("Reason"))
        risk = st.text_area(_("Accepted risk (needed where the decision is laxer than the verdict)"))
        if st.form_submit_button(_("Sign"), type="primary"):
            try:
                sign(
                    workspace.settings().database_url,
                    dataset=fingerprint,
                    probe_id=probe_id,
                    released=choice,
                    signed_by=name,
                    signed_role=role,
                    reason=reason,
                    accepted_risk=risk,
                    verdict=verdict,
                    basis=basis,
                    actor=workspace.actor(),
                )
            except UserError as error:
                st.error(say(error), icon=":material/error:")
            else:
                st.rerun()
