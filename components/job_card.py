"""A background job as it goes: progress, time left, cancel, resume."""

from collections.abc import Callable

import streamlit as st

from components import workspace
from components.i18n import _, counted, say
from core.errors import UserError
from core.i18n import N_
from core.jobs import JobRecord

# An interrupted job is taken over by the next worker without anybody's doing.
MOVING = ("queued", "running", "interrupted")
POLL_SECONDS = 1.5
KINDS = {"score": N_("Scoring"), "estimate": N_("Estimate"), "probe": N_("Probe"), "probe_estimate": N_("Estimate")}
STATUS = {
    "queued": (N_("Queued"), "gray", ":material/schedule:"),
    "running": (N_("Running"), "blue", ":material/autorenew:"),
    "done": (N_("Done"), "green", ":material/check:"),
    "cancelled": (N_("Cancelled"), "gray", ":material/stop_circle:"),
    "failed": (N_("Failed"), "red", ":material/error:"),
    "interrupted": (N_("Interrupted"), "orange", ":material/power_off:"),
}


def duration(seconds: float) -> str:
    """Write a duration the way people say it: seconds, minutes, or hours and minutes."""
    if seconds < 60:
        return _("{n} s").format(n=max(1, round(seconds)))
    minutes = round(seconds / 60)
    if minutes < 60:
        return _("{n} min").format(n=minutes)
    return _("{hours} h {minutes} min").format(hours=minutes // 60, minutes=minutes % 60)


def job_card(job_id: str, title: str, done: Callable[[JobRecord], None] | None = None) -> None:
    """Draw the card of a job and keep it fresh while the job is active.

    Parameters
    ----------
    job_id : str
    title : str
        Heading in the session's language.
    done : callable, optional
        Draws what comes after success (a button to the next page) inside the card.
    """
    active = workspace.jobs().get(job_id).status in MOVING
    # A fragment polls by itself and leaves the rest of the page, with its half-filled forms, alone.
    st.fragment(_card, run_every=POLL_SECONDS if active else None)(job_id, title, done, active)


def _card(job_id: str, title: str, done: Callable[[JobRecord], None] | None, was_active: bool) -> None:
    job = workspace.jobs().get(job_id)
    if st.session_state.pop("rerun_page", False):
        st.rerun(scope="app")
    if was_active and job.status not in MOVING:
        # Stops the polling, and the page around shows what the job brought.
        st.rerun(scope="app")
    with st.container(border=True, key=f"job_{job_id}"):
        label, colour, icon = STATUS[job.status]
        head = st.container(horizontal=True, vertical_alignment="center")
        head.markdown(f"**{title}**", width="content")
        head.badge(_(label), color=colour, icon=icon)
        if job.attempts > 1:
            head.caption(counted("attempt {n}", "attempt {n}", job.attempts), width="content")
        if job.status in MOVING:
            _progress(job)
        if job.status == "failed":
            st.error(failure(job), icon=":material/error:")
        if job.status == "interrupted":
            st.caption(_("The worker stopped. Finished work is kept; the job goes on with the next worker."))
        if job.status == "cancelled":
            st.caption(_("Finished work is kept. Resume goes on where it stopped."))
        _actions(job)
        if job.status == "done" and done:
            done(job)


def _progress(job: JobRecord) -> None:
    share = job.done / job.total if job.total else 0.0
    if job.tokens_total:
        share = job.tokens_done / job.tokens_total
    stage = _(job.stage) if job.stage else _("Waiting for the worker")
    st.progress(min(1.0, share), text=_("Stopping after this step") if job.cancel_requested else stage)
    parts = []
    if job.parts:
        parts.append(_("fine-tune {n} of {total}").format(n=job.part, total=job.parts))
    if job.total:
        parts.append(_("{done} of {total}").format(done=f"{job.done:,}", total=f"{job.total:,}"))
    if job.tokens_total:
        parts.append(_("{done} of {total} tokens").format(done=f"{job.tokens_done:,}", total=f"{job.tokens_total:,}"))
    if job.eta_seconds is not None:
        parts.append(_("about {time} left").format(time=duration(job.eta_seconds)))
    st.caption(" · ".join(parts) if parts else " ")


def _actions(job: JobRecord) -> None:
    row = st.container(horizontal=True)
    if job.status in ("cancelled", "failed", "interrupted"):
        row.button(
            _("Resume"),
            key=f"resume_{job.job_id}",
            icon=":material/replay:",
            on_click=_tell,
            args=("resume", job.job_id),
        )
    if job.status in MOVING:
        row.button(
            _("Cancel"),
            key=f"cancel_{job.job_id}",
            icon=":material/close:",
            disabled=job.cancel_requested,
            on_click=_tell,
            args=("cancel", job.job_id),
        )


def _tell(what: str, job_id: str) -> None:
    try:
        getattr(workspace.jobs(), what)(job_id, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
    # The button is in a fragment that may have stopped polling; only a run of the whole page starts it again.
    st.session_state["rerun_page"] = True


def failure(job: JobRecord) -> str:
    """Return a failed job's reason in the session's language."""
    if not job.error_template:
        return _("The job failed without a reason.")
    return say(UserError(job.error_template, **job.error_params))
