"""The workspace as pages see it: the store, the jobs, the current dataset, and cached tables."""

import pandas as pd
import streamlit as st

from components import frames, sign_in
from core import overrules
from core.assessment import reassess
from core.errors import UserError
from core.i18n import N_
from core.jobs import Jobs
from core.policies import policies, policy_in_force
from core.probe_result import SCHEMA_VERSION, ProbeResult
from core.releases import Basis, decisions_hash
from core.settings import Settings, get_settings
from core.store import DatasetRecord, ProbeRecord, ScoreRunRecord, Store


@st.cache_resource(max_entries=1, show_spinner=False)
def store() -> Store:
    """Return this server's store (one per process; it is safe across sessions)."""
    return Store(get_settings())


@st.cache_resource(max_entries=1, show_spinner=False)
def jobs() -> Jobs:
    """Return this server's client for background jobs."""
    return Jobs(get_settings())


def settings() -> Settings:
    """Return the settings of this server."""
    return get_settings()


def actor() -> str:
    """Name the person whose actions are stored; the core looks the role up on every write."""
    person = sign_in.user()
    if person is None:
        raise UserError(N_("You are not signed in any more. Reload the page."))
    return person.name


def can(capability: str) -> bool:
    """Whether the person here may do this, for showing and hiding."""
    person = sign_in.user()
    return person is not None and person.can(capability)


def forget(fingerprint: str) -> None:
    """Drop what this server still holds of a dataset that is deleted, and choose another one."""
    rows.clear()
    scores.clear()
    if st.session_state.get("dataset") == fingerprint:
        del st.session_state["dataset"]
    if st.query_params.get("dataset") == fingerprint:
        del st.query_params["dataset"]
    for name in ("export_ready", "open_row", "import_source", "import_dataset"):
        st.session_state.pop(name, None)


def choose(fingerprint: str) -> None:
    """Make a dataset the current one from the next run on."""
    st.session_state["dataset"] = fingerprint


def go(page: str) -> None:
    """Show another page from the next run on (for callbacks; `shell.enter` does it)."""
    st.session_state["go_to"] = page


def current() -> DatasetRecord | None:
    """Return the dataset chosen in the sidebar, or None while there is none."""
    fingerprint = st.session_state.get("dataset")
    return next((d for d in store().datasets() if d.fingerprint == fingerprint), None)


def current_run(fingerprint: str) -> ScoreRunRecord | None:
    """Return the score run to look at: the chosen one, else the newest."""
    runs = store().score_runs(fingerprint)
    chosen = st.session_state.get("run")
    return next((run for run in runs if run.run_id == chosen), runs[0] if runs else None)


def probe_result(probe_id: str) -> dict | None:
    """Return a finished probe's result under the stop criteria in force, with the judgements that people overruled.

    None while there is none, or where an earlier version of Assay wrote it.
    """
    record = policy_in_force(settings().database_url)
    ruled = overrules.in_force(overrules.overrules(settings().database_url, probe_id))
    return _assessed(probe_id, record.version, tuple(sorted(ruled.items())))


@st.cache_data(max_entries=8, show_spinner=False)
def _assessed(probe_id: str, version: int, ruled: tuple) -> dict | None:
    stored = store().probe_result(probe_id)
    if stored is None or stored.get("schema_version") != SCHEMA_VERSION:
        return None
    policy = next(r.policy for r in policies(settings().database_url) if r.version == version)
    result = reassess(ProbeResult.model_validate(stored), policy, version, dict(ruled))
    return result.model_dump(mode="json")


def rate_before(records: list[ProbeRecord]) -> float | None:
    """Return the newest measured harmful compliance before a fine-tune."""
    for record in records:
        if record.status == "done" and (result := probe_result(record.probe_id)):
            return result["before"]["harmful_compliance"]["value"]
    return None


def basis_of(result: dict, probe_id: str) -> Basis:
    """Return what a shown verdict rests on."""
    return Basis(
        dataset=result["dataset"],
        decisions=result["decisions"],
        policy_version=result["verdict"]["policy_version"] or 0,
        model_id=result["model_id"],
        target_model=result["target_model"],
    )


def basis_now(dataset: DatasetRecord, result: dict) -> Basis:
    """Return how what a verdict rests on stands now."""
    flags = store().flags(dataset.fingerprint)
    # A probe that no flagged row is part of does not depend on the flags.
    used = bool(result["flagged"])
    flagged = [int(row_id) for row_id in flags.loc[flags["flagged"], "row_id"]] if used else []
    return Basis(
        dataset=dataset.fingerprint,
        decisions=decisions_hash(flagged),
        policy_version=policy_in_force(settings().database_url).version,
        model_id=result["model_id"],
        target_model=dataset.target_model,
    )


# Shared, not copied for every run of a page: nobody may write into these tables.
@st.cache_resource(max_entries=4, show_spinner=False)
def rows(fingerprint: str) -> pd.DataFrame:
    """Return a dataset's prepared rows; they never change under a fingerprint."""
    return frames.prepare(store().rows(fingerprint))


@st.cache_resource(max_entries=4, show_spinner=False)
def scores(run_id: str) -> pd.DataFrame:
    """Return a finished run's scores."""
    return store().scores(run_id)
