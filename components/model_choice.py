"""Which model to score or to probe with."""

from pathlib import Path

import streamlit as st

from components import workspace
from components.i18n import _, translated
from core.i18n import N_

BUNDLED = "bundled"
KINDS = {BUNDLED: N_("Bundled"), "folder": N_("Folder"), "hub": N_("Hugging Face")}


def model_choice(key: str) -> str | None:
    """Draw the choice; return "bundled", a folder or a hub id, or None while the text is empty."""
    default = workspace.settings().default_model
    kind = st.segmented_control(
        _("Model"),
        list(KINDS),
        format_func=translated(KINDS).get,
        default=_kind_of(default),
        key=f"{key}_kind",
        required=True,
        wrap=True,
        persist_state="session",
    )
    if kind == BUNDLED:
        st.caption(_("SmolLM2-135M-Instruct, on this machine. Small enough for a laptop without a graphics card."))
        return BUNDLED
    text = st.text_input(
        _("Folder of the model on the server") if kind == "folder" else _("Model id on the Hugging Face hub"),
        value=default if _kind_of(default) == kind else "",
        key=f"{key}_{kind}",
        placeholder="/models/my-model" if kind == "folder" else "HuggingFaceTB/SmolLM2-360M-Instruct",
        persist_state="session",
    )
    return (text or "").strip() or None


def _kind_of(model: str) -> str:
    if model == BUNDLED:
        return BUNDLED
    return "folder" if Path(model).expanduser().is_dir() or model.startswith((".", "/", "~")) else "hub"


def model_label(model: str) -> str:
    """Return a short name for a model setting."""
    if model == BUNDLED:
        return "SmolLM2-135M-Instruct"
    return Path(model).name if _kind_of(model) == "folder" else model
