"""Taking data out: cleaned, decisions, outliers."""

import shutil
import tempfile
from pathlib import Path

import streamlit as st

from components import workspace
from components.i18n import _, counted, escape, keyed, say, translated
from core.errors import UserError
from core.exclusions import excluded_rows
from core.export import OUTLIERS, Exported, export, file_suffix
from core.i18n import N_
from core.store import DatasetRecord

WHATS = {
    "cleaned": N_("Cleaned dataset"),
    "decisions": N_("Decisions as a table"),
    "outliers": N_("Outliers as a table"),
}
FORMATS = {"original": N_("As it came in"), "hf": N_("Hugging Face folder (ZIP)")}


def export_section(dataset: DatasetRecord) -> None:
    """Draw the choice, the button that prepares the file, and the download."""
    if not workspace.can("export"):
        return
    with st.container(border=True, key="export_section"):
        st.subheader(_("Export"))
        allowed = [what for what in WHATS if what != "outliers" or workspace.can("export_outliers")]
        what = st.segmented_control(
            _("What"), allowed, format_func=translated(WHATS).get, default="cleaned", key="export_what", required=True
        )
        form, rejected, top = "original", "out", OUTLIERS
        if what == "cleaned":
            form, rejected = _cleaned_choices(dataset)
        elif what == "outliers":
            st.caption(_("Rows picked by score can be used to break a model’s safety. Hand the file on with care."))
            top = int(
                st.number_input(_("How many"), 1, dataset.n_rows, min(OUTLIERS, dataset.n_rows), key="export_top")
            )
        asked = (dataset.fingerprint, what, form, rejected, top)
        if st.button(_("Prepare the file"), key="export_prepare", icon=":material/inventory_2:"):
            _prepare(dataset, asked)
        _download(asked)


def _cleaned_choices(dataset: DatasetRecord) -> tuple[str, str]:
    excluded = len(excluded_rows(workspace.store(), dataset.fingerprint))
    form = st.segmented_control(
        _("Format"),
        list(FORMATS),
        format_func=translated(FORMATS).get,
        default="original",
        key=keyed("export_form"),
        required=True,
    )
    rejected = "out"
    if dataset.n_rejected and form == "original":
        label = counted(
            "Keep the {n} row that could not be read", "Keep the {n} rows that could not be read", dataset.n_rejected
        )
        rejected = "in" if st.checkbox(label, key=f"export_rejected_{dataset.fingerprint}") else "out"
    parts = [counted("{n} row excluded", "{n} rows excluded", excluded)]
    if form == "original":
        parts.append(
            _("every other byte stays as it is") if dataset.format != "parquet" else _("same schema and values")
        )
    st.caption(" · ".join(parts))
    return form, rejected


def _prepare(dataset: DatasetRecord, asked: tuple) -> None:
    fingerprint, what, form, rejected, top = asked
    # Lives as long as the session remembers it.
    folder = tempfile.TemporaryDirectory(prefix="assay-export-", ignore_cleanup_errors=True)
    out = Path(folder.name) / f"export{file_suffix(dataset, what, form)}"
    try:
        with st.spinner(_("Preparing")):
            made = export(
                workspace.store(), fingerprint, what, out, workspace.actor(), rejected=rejected, form=form, top=top
            )
            if form == "hf" and what == "cleaned":
                out = Path(shutil.make_archive(str(out), "zip", out))
    except UserError as error:
        st.session_state.pop("export_ready", None)
        st.error(say(error), icon=":material/error:")
        return
    st.session_state["export_ready"] = (asked, folder, out, f"{dataset.name}.{what}{out.suffix}", made)


def _download(asked: tuple) -> None:
    ready = st.session_state.get("export_ready")
    if ready is None or ready[0] != asked:
        return
    _asked, _folder, path, name, made = ready
    st.caption(f"{_summary(made)} · SHA-256 `{made.sha256[:16]}…`")
    st.download_button(
        _("Download {name}").format(name=escape(name)),
        lambda: path.open("rb"),
        name,
        "application/octet-stream",
        key="export_download",
        type="primary",
        icon=":material/download:",
        on_click="ignore",
    )


def _summary(made: Exported) -> str:
    parts = [counted("{n} row", "{n} rows", made.rows)]
    if made.rejected:
        parts.append(counted("{n} unreadable row left out", "{n} unreadable rows left out", made.rejected))
    if made.damaged:
        parts.append(counted("{n} row in a damaged block", "{n} rows in a damaged block", made.damaged))
    return " · ".join(parts)
