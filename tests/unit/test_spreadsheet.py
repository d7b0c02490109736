"""Tables for a spreadsheet."""

import csv
import io

import pandas as pd
import pytest

from core import spreadsheet


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "  =1", "＝1+1", "\u3000＠x", "\n=1"])
def test_formulas_are_neutralised(text: str) -> None:
    assert spreadsheet.neutral(text) == "'" + text


@pytest.mark.parametrize("value", ["plain", "a=b", "3 - 2", "", 5, None, 2.5])
def test_everything_else_stays_as_it_is(value: object) -> None:
    assert spreadsheet.neutral(value) == value


def test_csv_is_utf8_for_excel_and_reads_back() -> None:
    table = pd.DataFrame({"line": [3, 4], "raw": ['=HYPERLINK("x","y")', '日本語, quoted "text"\nsecond line']})
    content = spreadsheet.as_csv(table)
    assert content.startswith(b"\xef\xbb\xbf")
    read = list(csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline="")))
    assert read[0]["raw"] == '\'=HYPERLINK("x","y")'
    assert read[1]["raw"] == '日本語, quoted "text"\nsecond line'
