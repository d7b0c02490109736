"""Scoring a dataset: settings, estimate, and the job."""

import streamlit as st

from components import workspace
from components.i18n import _, counted, keyed, say, translated
from components.job_card import duration, job_card
from components.model_choice import model_choice
from core.errors import UserError
from core.i18n import N_
from core.jobs import JobRecord
from core.runs import ScoreSettings
from core.store import DatasetRecord

TRUNCATIONS = {
    "prompt": N_("Cut the prompt, keep the answer whole"),
    "tail": N_("Cut the end (as in the paper's code)"),
}
UNITS = {"tokens": N_("Tokens"), "words": N_("Words")}


def score_section(dataset: DatasetRecord) -> None:
    """Draw settings, estimate and job of scoring one dataset."""
    newest = next(iter(workspace.jobs().list(dataset.fingerprint, kind="score")), None)
    runs = workspace.store().score_runs(dataset.fingerprint)
    if newest is not None and newest.status != "done":
        job_card(newest.job_id, _("Scoring job"))
    elif runs:
        _scored(runs[0])
    with st.container(border=True, key="score_section"):
        st.subheader(_("Scoring"))
        st.caption(_("Computes for every row how strongly the model would learn from it. Runs in the background."))
        settings = _settings_form()
        _buttons(dataset, settings)
        if settings is not None:
            _estimate(dataset, settings)


def estimate_ahead(fingerprint: str) -> None:
    """Start measuring how long scoring with the default settings will take, so that it is known before it is asked."""
    defaults = workspace.settings()
    settings = ScoreSettings(
        model=defaults.default_model,
        max_length=defaults.max_length,
        truncate=defaults.truncate,
        length_unit=defaults.length_unit,
        token_budget=defaults.token_budget,
    )
    _start("start_estimate", fingerprint, settings)


def _settings_form() -> ScoreSettings | None:
    defaults = workspace.settings()
    model = model_choice("score_model")
    with st.expander(_("Advanced"), icon=":material/tune:", type="compact"):
        length, truncation, unit = st.columns([3, 4, 3], vertical_alignment="bottom")
        max_length = length.number_input(
            _("Longest input (tokens)"), 8, 8192, defaults.max_length, step=64, key="score_max_length"
        )
        truncate = truncation.selectbox(
            _("When a row is longer"),
            list(TRUNCATIONS),
            index=list(TRUNCATIONS).index(defaults.truncate),
            format_func=translated(TRUNCATIONS).get,
            key=keyed("score_truncate"),
        )
        length_unit = unit.selectbox(
            _("Answer length in"),
            list(UNITS),
            index=list(UNITS).index(defaults.length_unit),
            format_func=translated(UNITS).get,
            key=keyed("score_unit"),
            help=_(
                "Tokens suit every language. Words are counted at white space, "
                "which means nothing in Japanese or Chinese."
            ),
        )
    if model is None:
        return None
    return ScoreSettings(
        model=model,
        max_length=int(max_length),
        truncate=truncate,
        length_unit=length_unit,
        token_budget=defaults.token_budget,
    )


def _buttons(dataset: DatasetRecord, settings: ScoreSettings | None) -> None:
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            _("Score {n} rows").format(n=f"{dataset.n_rows:,}"),
            key="start_score",
            type="primary",
            icon=":material/play_arrow:",
            disabled=settings is None,
            on_click=_start,
            args=("start_score", dataset.fingerprint, settings),
        )
        st.button(
            _("Estimate time"),
            key="start_estimate",
            icon=":material/timer:",
            disabled=settings is None,
            on_click=_start,
            args=("start_estimate", dataset.fingerprint, settings),
            help=_("Measures this machine for about ten seconds."),
        )


def _start(method: str, fingerprint: str, settings: ScoreSettings) -> None:
    try:
        getattr(workspace.jobs(), method)(fingerprint, settings, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")


def _estimate(dataset: DatasetRecord, settings: ScoreSettings) -> None:
    wanted = settings.model_dump(mode="json")
    for job in workspace.jobs().list(dataset.fingerprint, kind="estimate"):
        if job.spec["settings"] == wanted:
            if job.status == "done":
                _estimate_result(job)
            elif job.status != "cancelled":
                job_card(job.job_id, _("Measuring this machine"))
            return


def _estimate_result(job: JobRecord) -> None:
    result = job.result or {}
    rows, tokens, time = st.columns(3)
    rows.metric(_("Rows"), f"{result['rows']:,}")
    tokens.metric(_("Tokens"), f"{result['tokens']:,}")
    time.metric(_("Expected time"), duration(result["seconds"]))
    st.caption(
        _("At {speed} tokens a second, measured on this machine.").format(speed=f"{result['tokens_per_second']:,.0f}")
    )


def _scored(run) -> None:
    with st.container(border=True, key="scored"):
        line = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
        with line.container(gap=None):
            st.markdown(
                ":green[:material/check_circle:] " + f"**{counted('{n} row scored', '{n} rows scored', run.n_rows)}**"
            )
            parts = [run.model_name, _("at most {n} tokens").format(n=run.settings.get("max_length"))]
            if run.n_unscorable:
                parts.append(counted("{n} row not scorable", "{n} rows not scorable", run.n_unscorable))
            st.caption(" · ".join(parts))
        line.button(
            _("Inspect rows"),
            key="to_inspect",
            type="primary",
            icon=":material/arrow_forward:",
            on_click=workspace.go,
            args=("pages/inspect_rows.py",),
        )
