"""Tables to take away, safe to open in a spreadsheet."""

import io

import pandas as pd

# A cell that begins with one of these is run as a formula by Excel, LibreOffice or Google Sheets.
# The full-width signs are what a Japanese keyboard types; some versions take them for the plain ones.
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")


def neutral(value: object) -> object:
    """Put an apostrophe before text that a spreadsheet would run as a formula."""
    if isinstance(value, str) and value.lstrip(" \u00a0\u3000").startswith(_FORMULA_STARTS):
        return "'" + value
    return value


def as_csv(table: pd.DataFrame) -> bytes:
    """Return a table as CSV with formulas neutralised, and with the mark by which Excel knows UTF-8."""
    buffer = io.StringIO()
    table.map(neutral).rename(columns=neutral).to_csv(buffer, index=False)
    return buffer.getvalue().encode("utf-8-sig", errors="backslashreplace")
