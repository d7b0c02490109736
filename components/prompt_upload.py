"""A person's own harmful prompts."""

from dataclasses import asdict
from pathlib import Path

import pandas as pd
import streamlit as st

from components import workspace
from components.dataset_list import rejected_rows
from components.i18n import _, counted, say
from core.errors import UserError
from core.safety.prompts import load_file


def prompt_upload() -> tuple[str | None, int | None]:
    """Draw the uploader; return the kept file and its number of prompts, or None twice."""
    upload = st.file_uploader(
        _("Prompts with the fields prompt and category"),
        type=["csv", "jsonl", "json"],
        key="probe_prompt_file",
    )
    if upload is None:
        return None, None
    try:
        # The worker reads it later, perhaps after this server has ended.
        path = workspace.store().keep_prompts(upload.getvalue(), Path(upload.name).suffix, workspace.actor())
        prompts, rejected = load_file(path)
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return None, None
    st.caption(counted("{n} usable prompt", "{n} usable prompts", len(prompts)))
    if rejected:
        with st.expander(counted("{n} row could not be used", "{n} rows could not be used", len(rejected))):
            rejected_rows(pd.DataFrame([asdict(row) for row in rejected]), upload.name, "prompts")
    return str(path), len(prompts)
