"""Rows that teach to refuse, to be mixed into a fine-tune (the arm ``mitigated``)."""

from core.alignment_data import refusal_rows
from core.rows import Row


def built_in_safety_rows() -> list[Row]:
    """Return the refusals that the bundled model was aligned with; none of their prompts is a held-out one."""
    return refusal_rows(seed=0)
