"""Where a new dataset comes from: a file from the browser, a file on the server, or the Hugging Face hub."""

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from components import workspace
from components.i18n import _, escape, say, translated
from core.datasets import read_hub
from core.errors import UserError
from core.i18n import N_
from core.records import parse_records, read_bytes, source_format
from core.rows import Record
from core.server_files import allowed_path

SOURCES = {"upload": N_("Upload"), "path": N_("File on the server"), "hub": N_("Hugging Face")}
TYPES = ["jsonl", "ndjson", "json", "csv", "tsv", "parquet"]


@dataclass
class Source:
    """A dataset as read, before its fields are understood.

    Parameters
    ----------
    signature : str
        Changes when another file is chosen.
    name : str
        What to call the dataset.
    records : list of Record
    source_format : str
        "jsonl", "json", "csv", "parquet" or "hub".
    content : bytes or None
        An uploaded file's bytes.
    path : Path or None
        A file on the server.
    """

    signature: str
    name: str
    records: list[Record]
    source_format: str
    content: bytes | None = None
    path: Path | None = None


def choose_source() -> Source | None:
    """Draw the choice; return what was read, or None while there is nothing to read or it cannot be read."""
    kind = st.segmented_control(
        _("Where is it?"),
        list(SOURCES),
        format_func=translated(SOURCES).get,
        default="upload",
        key="import_kind",
        required=True,
        label_visibility="collapsed",
    )
    try:
        return {"upload": _uploaded, "path": _from_path, "hub": _from_hub}[kind]()
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return None


def _uploaded() -> Source | None:
    upload = st.file_uploader(
        _("JSONL, JSON, CSV or Parquet"),
        type=TYPES,
        key=f"import_file_{st.session_state.get('import_round', 0)}",
    )
    if upload is None:
        return None
    signature = f"upload {upload.file_id}"
    if (kept := _kept(signature)) is None:
        content = upload.getvalue()
        with st.spinner(_("Reading {name}").format(name=escape(upload.name))):
            records = parse_records(content, upload.name)
        name, kind = Path(upload.name).stem, source_format(content, upload.name)
        kept = _keep(Source(signature, name, records, kind, content=content))
    return kept


def _from_path() -> Source | None:
    roots = workspace.settings().import_roots
    with st.form("import_path_form", border=False):
        line = st.container(horizontal=True, vertical_alignment="bottom")
        text = line.text_input(
            _("Path on the server"),
            key="import_path",
            placeholder=str(roots[0] / "data.jsonl") if roots else "",
            help=_("Allowed are files in: {folders}").format(folders=escape(", ".join(map(str, roots)))),
        )
        line.form_submit_button(_("Read"), icon=":material/folder_open:")
    if not text.strip():
        return None
    path = allowed_path(text.strip(), workspace.settings())
    changed = path.stat().st_mtime_ns if path.is_file() else 0
    signature = f"path {path} {changed}"
    if (kept := _kept(signature)) is None:
        with st.spinner(_("Reading {name}").format(name=escape(path.name))):
            content = read_bytes(path)
            records, kind = parse_records(content, path.name), source_format(content, path.name)
        kept = _keep(Source(signature, path.stem, records, kind, path=path))
    return kept


def _from_hub() -> Source | None:
    with st.form("import_hub_form", border=False):
        line = st.container(horizontal=True, vertical_alignment="bottom")
        hub_id = line.text_input(
            _("Dataset id on the hub"), key="import_hub", placeholder="databricks/databricks-dolly-15k"
        )
        split = line.text_input(_("Split"), key="import_split", placeholder="train", width=160)
        line.form_submit_button(_("Read"), icon=":material/cloud_download:")
    st.caption(_("Only the data is read; no code of the dataset is run. This needs a network."))
    if not hub_id.strip():
        return None
    signature = f"hub {hub_id.strip()} {split.strip()}"
    if (kept := _kept(signature)) is None:
        with st.spinner(_("Fetching {name}").format(name=escape(hub_id.strip()))):
            records = read_hub(hub_id.strip(), split=split.strip() or None)
        kept = _keep(Source(signature, hub_id.strip(), records, "hub"))
    return kept


def _kept(signature: str) -> Source | None:
    source = st.session_state.get("import_source")
    return source if isinstance(source, Source) and source.signature == signature else None


def _keep(source: Source) -> Source:
    # One at a time: a large file must not be held twice.
    st.session_state["import_source"] = source
    return source
