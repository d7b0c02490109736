"""Importing a dataset: what the fields mean, what the rows will be, and the button."""

import tempfile
from dataclasses import asdict
from pathlib import Path

import pandas as pd
import streamlit as st

from components import frames, workspace
from components.dataset_list import FORMATS as FORMAT_NAMES
from components.dataset_list import rejected_rows
from components.i18n import _, counted, escape, keyed, say, translated
from components.import_source import Source, choose_source
from components.score_form import estimate_ahead
from core.datasets import Dataset, to_dataset
from core.errors import UserError
from core.fields import FORMATS, FieldMapping, columns_seen, detect_mapping
from core.i18n import N_

PREVIEW_ROWS = 5
ROLES = {
    "instruction": N_("Instruction"),
    "input": N_("Input"),
    "output": N_("Output (answer)"),
    "context": N_("Context"),
    "response": N_("Response (answer)"),
    "question": N_("Question"),
    "answer": N_("Answer"),
    "prompt": N_("Prompt"),
    "completion": N_("Completion (answer)"),
    "messages": N_("Messages"),
    "conversations": N_("Conversations"),
    "system": N_("System prompt"),
    "tools": N_("Tools"),
    "history": N_("Earlier turns"),
    "category": N_("Category"),
    "supplier": N_("Supplier"),
}


def import_section() -> None:
    """Draw the import form, from choosing a source to the button that imports."""
    with st.container(border=True, key="import_section"):
        head = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
        head.subheader(_("Import a dataset"))
        head.button(_("Close"), key="close_import", icon=":material/close:", type="tertiary", on_click=close)
        source = choose_source()
        if source is None:
            return
        mapping = _mapping_form(source)
        if mapping is None:
            return
        try:
            dataset = _as_dataset(source, mapping)
        except UserError as error:
            st.error(say(error), icon=":material/error:")
            return
        _counts(dataset)
        _preview(dataset)
        _import_button(source, dataset)


def opened() -> bool:
    """Whether the import form is open."""
    return bool(st.session_state.get("importing"))


def open_form() -> None:
    """Open the form."""
    st.session_state["importing"] = True


def close() -> None:
    """Close the form and forget what was read."""
    st.session_state["importing"] = False
    st.session_state.pop("import_source", None)
    st.session_state["import_round"] = st.session_state.get("import_round", 0) + 1


def _mapping_form(source: Source) -> FieldMapping | None:
    columns = columns_seen(source.records)
    try:
        detected = detect_mapping(source.records)
        st.caption(
            ":material/check_circle: "
            + _("Recognised as {format}. Correct the fields if they are wrong.").format(
                format=f"**{_(FORMAT_NAMES[detected.format])}**"
            )
        )
    except UserError as error:
        if not columns:
            st.error(say(error), icon=":material/error:")
            return None
        st.warning(say(error), icon=":material/help:")
        detected = FieldMapping(format="custom", columns={})
    # Keys carry the source: another file starts from its own detection.
    stamp = frames.text_key(source.signature)
    names = list(FORMATS)
    line = st.columns(4)
    name = line[0].selectbox(
        _("Format"),
        names,
        index=names.index(detected.format),
        format_func=translated(FORMAT_NAMES).get,
        key=keyed(f"format_{stamp}"),
    )
    chosen: dict[str, str] = {}
    roles = (*FORMATS[name].required, *FORMATS[name].optional)
    for i, role in enumerate(roles, start=1):
        required = role in FORMATS[name].required
        guess = detected.columns.get(role) if detected.format == name or not required else None
        column = line[i % 4].selectbox(
            _(ROLES[role]),
            columns,
            index=columns.index(guess) if guess in columns else None,
            placeholder=_("Choose a field") if required else _("None"),
            key=f"role_{stamp}_{name}_{role}",
        )
        if column is not None:
            chosen[role] = column
    if any(role not in chosen for role in FORMATS[name].required):
        st.caption(_("Choose a field for the prompt and the answer to go on."))
        return None
    return FieldMapping(format=name, columns=chosen)


def _as_dataset(source: Source, mapping: FieldMapping) -> Dataset:
    key = (source.signature, mapping.model_dump_json())
    kept = st.session_state.get("import_dataset")
    if kept is None or kept[0] != key:
        kept = st.session_state["import_dataset"] = (
            key,
            to_dataset(source.records, mapping, source.name, source_format=source.source_format),
        )
    return kept[1]


def _counts(dataset: Dataset) -> None:
    with st.container(horizontal=True, gap="large"):
        st.metric(_("Usable rows"), f"{len(dataset.rows):,}", width="content")
        st.metric(_("Cannot be used"), f"{len(dataset.rejected):,}", width="content")
        st.metric(_("Fingerprint"), dataset.fingerprint, width="content")
    if dataset.rejected:
        title = counted("{n} row cannot be used", "{n} rows cannot be used", len(dataset.rejected))
        with st.expander(title, icon=":material/report:", key="rejected_preview"):
            rejected_rows(pd.DataFrame([asdict(row) for row in dataset.rejected]), dataset.name, "import")


def _preview(dataset: Dataset) -> None:
    if not dataset.rows:
        return
    first = dataset.rows[:PREVIEW_ROWS]
    st.caption(counted("The first {n} row as it will be read", "The first {n} rows as they will be read", len(first)))
    table = pd.DataFrame(
        {
            "row_id": [row.row_id for row in first],
            "prompt": [row.prompt for row in first],
            "answer": [row.answer for row in first],
            "category": [row.category for row in first],
            "supplier": [row.supplier for row in first],
        }
    )
    table[["prompt", "answer"]] = table[["prompt", "answer"]].apply(frames.short)
    column = st.column_config
    st.dataframe(
        table,
        hide_index=True,
        column_config={
            "row_id": column.NumberColumn(_("Row"), width=56),
            "prompt": column.TextColumn(_("Prompt"), width="large"),
            "answer": column.TextColumn(_("Answer"), width="large"),
            "category": column.TextColumn(_("Category"), width="small"),
            "supplier": column.TextColumn(_("Supplier"), width="small"),
        },
        alt=_("Preview of the rows"),
    )


def _import_button(source: Source, dataset: Dataset) -> None:
    known = next((d for d in workspace.store().datasets() if d.fingerprint == dataset.fingerprint), None)
    if known is not None:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.info(
                _("These rows are imported already, as {name}.").format(name=f"**{escape(known.name)}**"),
                icon=":material/content_copy:",
            )
            st.button(
                _("Open it"),
                key="open_known",
                type="primary",
                on_click=_open,
                args=(known.fingerprint,),
            )
        return
    st.button(
        counted("Import {n} row", "Import {n} rows", len(dataset.rows)),
        key="import_rows",
        type="primary",
        icon=":material/download_done:",
        disabled=not dataset.rows,
        on_click=_confirm,
    )
    if not st.session_state.pop("import_confirmed", False):
        return
    try:
        with st.spinner(_("Importing")):
            record, already = _import(source, dataset)
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return
    if not already:
        estimate_ahead(record.fingerprint)
    _open(record.fingerprint)
    st.session_state["imported"] = (record.name, record.n_rows, already)
    st.rerun()


def _confirm() -> None:
    st.session_state["import_confirmed"] = True


def _import(source: Source, dataset: Dataset) -> tuple:
    actor = workspace.actor()
    if source.content is None:
        return workspace.store().import_dataset(dataset, source.path, actor)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"upload.{dataset.source_format}"
        path.write_bytes(source.content)
        return workspace.store().import_dataset(dataset, path, actor)


def _open(fingerprint: str) -> None:
    workspace.choose(fingerprint)
    close()


def notice() -> None:
    """Say once that an import is done."""
    if done := st.session_state.pop("imported", None):
        name, n, already = done
        text = _("{name} was imported already.") if already else counted("{n} row imported", "{n} rows imported", n)
        st.toast(text.format(name=escape(name)), icon=":material/check:")
