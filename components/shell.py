"""What every page has around it: logo, language, current dataset, worker."""

from typing import Any

import streamlit as st

from components import frames, sign_in, theme, workspace
from components.i18n import _, language_switch, say
from components.job_card import KINDS
from core import users, worker
from core.errors import UserError
from core.sample import OWNER, install_sample

WORKER_POLL_SECONDS = 5


@st.cache_resource(max_entries=1, show_spinner=False)
def start_once() -> bool:
    """Prepare this server process: the sample on first start, and one embedded worker."""
    store = workspace.store()
    owner = users.known_user(store.url, OWNER)
    if not store.datasets() and owner is not None and owner.can("import"):
        install_sample(store)
    return worker.ensure_worker(workspace.settings())


def navigation() -> Any:
    """Declare the pages that the person here may use; return the one that was asked for."""
    person = sign_in.user()
    pages = [
        st.Page(
            "pages/datasets.py",
            title=_("Datasets"),
            icon=":material/database:",
            help=_("Import a dataset, check its fields, and score it."),
            default=True,
        ),
        st.Page(
            "pages/inspect_rows.py",
            title=_("Inspect"),
            icon=":material/scatter_plot:",
            help=_("See which rows stand out, read them, and flag the ones to leave out."),
        ),
        st.Page(
            "pages/probe.py",
            title=_("Probe"),
            icon=":material/science:",
            help=_("Fine-tune on chosen rows and fair controls, and compare the model before and after."),
        ),
        st.Page(
            "pages/stop_criteria.py",
            title=_("Stop criteria"),
            icon=":material/rule:",
            help=_("Limits that a probe's verdict is computed from."),
        ),
    ]
    if person is None or person.can("read_audit"):
        pages.append(
            st.Page(
                "pages/audit.py",
                title=_("Audit log"),
                icon=":material/history:",
                help=_("See who did what, and check that nobody has touched the log."),
            )
        )
    if person is None or person.can("manage_users"):
        pages.append(
            st.Page(
                "pages/people.py", title=_("People"), icon=":material/group:", help=_("Add people and change roles.")
            )
        )
    # Before the sign-in every address is declared, so that it is still there afterwards; nothing of it is shown.
    return st.navigation(pages, position="hidden" if person is None else "sidebar")


def enter(page: Any) -> None:
    """Say that this run goes through app.py, and count visits of pages.

    Charts forget their selection when their page is left; see `selection.signature`.
    """
    if target := st.session_state.pop("go_to", None):
        st.switch_page(target)
    st.session_state["in_app"] = True
    if st.session_state.get("page_shown") != page.url_path:
        st.session_state["page_shown"] = page.url_path
        st.session_state["page_visit"] = st.session_state.get("page_visit", 0) + 1


def through_app() -> None:
    """Make sure that a page runs inside app.py; every page calls this first.

    Until some session has run app.py, Streamlit takes the folder ``pages`` for its older kind of app and runs the
    page of the address alone (after a restart of the server, for a browser that was on it). Declaring the pages
    tells it better, and the next run goes through app.py.
    """
    if not st.session_state.pop("in_app", False):
        navigation()
        st.rerun()


def sidebar() -> None:
    """Draw the sidebar below the navigation."""
    st.logo(theme.logo(), icon_image=theme.logo(with_name=False), size="large")
    with st.sidebar:
        dataset_chooser()
        st.space("stretch")
        with st.container(gap="small"):
            sign_in.signed_in_as()
            worker_status()
            language_switch()


def dataset_chooser() -> None:
    """Let the current dataset be chosen; its fingerprint stays in the address."""
    names = {record.fingerprint: record.name for record in workspace.store().datasets()}
    if not names:
        st.caption(_("No dataset yet. Import one on the Datasets page."))
        return
    wanted = st.session_state.get("dataset") or st.query_params.get("dataset")
    current = wanted if wanted in names else next(iter(names))
    st.session_state["dataset"] = current
    if st.query_params.get("dataset") != current:
        st.query_params["dataset"] = current
    labels = {fingerprint: _label(fingerprint, names) for fingerprint in names}
    # Another choice or another list is another selectbox: one keeps showing the label that was chosen.
    key = f"dataset_{current}_{frames.text_key(' '.join(labels.values()))}"
    st.selectbox(
        _("Dataset"),
        list(labels),
        index=list(labels).index(current),
        format_func=labels.get,
        key=key,
        on_change=lambda: workspace.choose(st.session_state[key]),
    )


def _label(fingerprint: str, names: dict[str, str]) -> str:
    name = names[fingerprint]
    # Two versions of one file carry one name.
    return f"{name} · {fingerprint[:6]}" if list(names.values()).count(name) > 1 else name


@st.fragment(run_every=WORKER_POLL_SECONDS)
def worker_status() -> None:
    """Say whether a worker lives and what it does; offer to start one."""
    active = workspace.jobs().list(active_only=True)
    if not worker.worker_alive(workspace.settings()):
        st.badge(_("No worker running"), color="red", icon=":material/power_off:")
        st.button(_("Start a worker"), key="start_worker", icon=":material/play_arrow:", on_click=_start_worker)
        return
    running = [job for job in active if job.status == "running"]
    if running:
        kind = _(KINDS.get(running[0].kind, running[0].kind))
        st.badge(_("Worker: {job}").format(job=kind), color="blue", icon=":material/autorenew:")
    else:
        st.badge(_("Worker ready"), color="green", icon=":material/check:")
    if waiting := len(active) - len(running):
        st.caption(_("{n} waiting").format(n=waiting))


def _start_worker() -> None:
    try:
        worker.ensure_worker(workspace.settings())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
