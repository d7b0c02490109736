"""Files become records: every format, encoding and mess, and not one good record lost."""

import csv
import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.errors import UserError
from core.hub import read_hub
from core.records import decode, parse_records, read_records, source_format
from core.rows import (
    BAD_UTF8,
    BROKEN_CSV,
    BROKEN_JSON,
    NOT_OBJECT,
    RAW_LIMIT,
    REPEATED_HEADER,
    UNREADABLE,
    WRONG_COLUMNS,
    Record,
)


def read(text: str | bytes, name: str = "data.jsonl") -> list[Record]:
    return parse_records(text.encode() if isinstance(text, str) else text, name)


def good(records: list[Record]) -> list[object]:
    return [record.value for record in records if record.value is not None]


def bad(records: list[Record]) -> list[tuple[int, int | None, str]]:
    return [(r.row_id, r.line, r.reason) for r in records if r.value is None]


def row(number: int) -> dict[str, str]:
    return {"question": f"How many is {number}?", "answer": f"It is {number}."}


def jsonl(*rows: object) -> str:
    return "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows)


# -- JSON Lines --------------------------------------------------------------------------------------------


def test_a_record_keeps_its_index_line_and_text() -> None:
    records = read("\n" + jsonl(row(0)) + "\n  \n" + jsonl(row(1)))
    assert [(r.row_id, r.line, r.value) for r in records] == [(0, 2, row(0)), (1, 5, row(1))]
    assert records[1].raw == json.dumps(row(1))


def test_broken_lines_are_listed_and_the_rest_is_read() -> None:
    text = jsonl(row(0)) + '{"question": "a", "answer": \n' + "not json\n" + jsonl(row(1)) + "42\nnull\n[1, 2]\n"
    records = read(text + jsonl(row(2)))
    assert good(records) == [row(0), row(1), row(2)]
    assert bad(records) == [
        (1, 2, BROKEN_JSON),
        (2, 3, BROKEN_JSON),
        (4, 5, NOT_OBJECT),
        (5, 6, NOT_OBJECT),
        (6, 7, NOT_OBJECT),
    ]


def test_more_broken_lines_than_good_ones() -> None:
    broken = ['{"question": "a", "answer": "b"', "{", "[", '{"question": }', '"text"', '{"a" "b"}', "}"]
    text = jsonl(row(0)) + "\n".join(broken) + "\n" + jsonl(row(1))
    records = read(text)
    assert good(records) == [row(0), row(1)]
    assert [line for _, line, _ in bad(records)] == list(range(2, 9))


@pytest.mark.parametrize("first", ["[", '[{"question": "cut', '{"messages": [', "{", "Loading 3 rows", "[1, 2]"])
def test_a_broken_first_line_does_not_change_how_the_rest_is_read(first: str) -> None:
    records = read(first + "\n" + jsonl(row(0), row(1)))
    assert good(records) == [row(0), row(1)]
    assert [r.line for r in records if r.value] == [2, 3]


def test_bad_utf8_costs_its_own_line_only() -> None:
    data = jsonl(row(0)).encode() + b'{"question": "caf\xe9", "answer": "b"}\n' + jsonl({"質問": "日本"}).encode()
    data += b'{"question": "\xe3\x81", "answer": "b"}\n' + jsonl(row(1)).encode()
    records = read(data)
    assert good(records) == [row(0), {"質問": "日本"}, row(1)]
    assert bad(records) == [(1, 2, BAD_UTF8), (3, 4, BAD_UTF8)]
    assert "\\udce9" in records[1].raw
    records[1].raw.encode()


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32"])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_every_unicode_encoding_and_line_end(encoding: str, newline: str) -> None:
    rows = [row(0), {"question": "日本の首都は？", "answer": "東京 🗼"}]
    text = jsonl(*rows).replace("\n", newline)
    assert good(read(text.encode(encoding))) == rows
    table = f"question,answer{newline}日本の首都は？,東京 🗼{newline}"
    assert good(read(table.encode(encoding), "a.csv")) == rows[1:]


def test_old_mac_line_ends() -> None:
    assert [r.line for r in read(jsonl(row(0), row(1)).replace("\n", "\r"))] == [1, 2]


def test_a_broken_utf16_file_loses_one_record() -> None:
    data = jsonl(row(0), row(1), row(2)).encode("utf-16")
    place = data.index("1?".encode("utf-16-le"))
    damaged = data[:place] + b"\x00\xd8" + data[place + 2 :]
    assert good(read(damaged)) == [row(0), row(2)]
    assert bad(read(damaged)) == [(1, 2, BAD_UTF8)]
    assert good(read(data[:-1])) == [row(0), row(1), row(2)]


def test_marks_and_nuls_between_records_are_not_content() -> None:
    # `cat a.jsonl b.jsonl` leaves a mark in the middle; a power cut leaves NULs.
    text = "\ufeff" + jsonl(row(0)) + "\ufeff" + jsonl(row(1)) + "\x00\x00\x00" + jsonl(row(2)) + "\x00\x00"
    assert good(read(text)) == [row(0), row(1), row(2)]


def test_unicode_line_separators_inside_a_string_do_not_cut_it() -> None:
    rows = [{"question": "a\u2028b\x85c\u2029d\x0b\x1ce", "answer": "\x00 kept"}, row(1)]
    assert good(read(jsonl(*rows))) == rows
    assert [r.line for r in read(jsonl(*rows))] == [1, 2]


def test_several_objects_in_one_line() -> None:
    text = json.dumps(row(0)) + json.dumps(row(1)) + " " + json.dumps(row(2)) + "\n" + jsonl(row(3))
    assert [(r.row_id, r.line) for r in read(text)] == [(0, 1), (1, 1), (2, 1), (3, 2)]
    assert good(read(text)) == [row(0), row(1), row(2), row(3)]
    cut = jsonl(row(0)) + json.dumps(row(1)) + json.dumps(row(2))[:-4] + "\n" + jsonl(row(3))
    assert good(read(cut)) == [row(0), row(1), row(3)]
    assert bad(read(cut)) == [(2, 2, BROKEN_JSON)]


def test_text_after_an_object_breaks_the_line() -> None:
    text = jsonl(row(0), row(1)) + json.dumps(row(2)) + " oops\n" + json.dumps(row(3)) + ",\n" + jsonl(row(4))
    assert good(read(text)) == [row(0), row(1), row(4)]
    assert [(line, reason) for _, line, reason in bad(read(text))] == [(3, BROKEN_JSON), (4, BROKEN_JSON)]


def test_numbers_no_program_can_hold_do_not_cost_the_row() -> None:
    text = '{"question": "q", "answer": "a", "id": ' + "9" * 6000 + "}\n" + '{"question": NaN, "answer": 1e999}\n'
    assert len(good(read(text))) == 2


def test_very_deep_nesting_is_a_broken_line_not_a_crash() -> None:
    records = read(jsonl(row(0)) + "[" * 200_000 + "\n" + '{"a":' * 100_000 + "\n" + jsonl(row(1)))
    assert good(records) == [row(0), row(1)]


def test_a_very_long_line() -> None:
    long = {"question": "q", "answer": "word " * 400_000}
    records = read(jsonl(long, row(1)))
    assert good(records) == [long, row(1)]
    assert len(records[0].raw) == RAW_LIMIT


# -- JSON documents ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("indent", [None, 0, 2, "\t"])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.unknown"])
def test_documents_of_every_layout(indent: int | str | None, wrapped: bool, name: str) -> None:
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": str(i)}]} for i in range(4)
    ]
    document = {"version": [1], "about": {"by": "us"}, "data": rows, "end": {"n": 4}} if wrapped else rows
    records = read(json.dumps(document, indent=indent), name)
    assert good(records) == rows
    assert bad(records) == []


def test_lines_of_an_array_are_where_its_elements_start() -> None:
    assert [r.line for r in read(json.dumps([row(0), row(1)], indent=2), "a.json")] == [2, 6]


def test_json_that_is_really_json_lines() -> None:
    records = read(jsonl(row(0), row(1)) + "{broken\n", "a.json")
    assert good(records) == [row(0), row(1)]
    assert bad(records) == [(2, 3, BROKEN_JSON)]


def test_pretty_printed_objects_one_after_the_other() -> None:
    text = "\n".join(json.dumps(row(i), indent=2) for i in range(3))
    assert [(r.line, r.value) for r in read(text)] == [(1, row(0)), (5, row(1)), (9, row(2))]


def test_a_single_conversation_is_a_record_not_a_wrapper() -> None:
    for key, role, text in (("messages", "role", "content"), ("conversations", "from", "value")):
        record = {key: [{role: "user", text: "a"}, {role: "assistant", text: "b"}]}
        assert good(read(json.dumps(record), "a.json")) == [record]
    one = {**row(0), "sources": [{"title": "t", "url": "u"}]}
    assert good(read(json.dumps(one, indent=1), "a.json")) == [one]


def test_rows_wrapped_in_a_list_called_conversations() -> None:
    rows = [{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}]
    assert good(read(json.dumps({"conversations": rows}), "a.json")) == rows


def test_two_lists_of_records_in_one_object_are_refused() -> None:
    with pytest.raises(UserError, match="train, test"):
        read(json.dumps({"train": [row(0)], "test": [row(1)]}), "a.json")


def test_elements_that_are_no_objects_are_listed() -> None:
    records = read(json.dumps([row(0), "text", 42, None, [1], row(1)]), "a.json")
    assert good(records) == [row(0), row(1)]
    assert bad(records) == [(i, 1, NOT_OBJECT) for i in (1, 2, 3, 4)]


BROKEN_ELEMENTS = {
    "missing comma": lambda text: text.replace('?",', '?"', 1),
    "trailing comma": lambda text: text.replace('."', '.",', 1),
    "bare word": lambda text: text.replace('"It', "It", 1),
    "unterminated string": lambda text: text.replace('."', ".", 1),
    "missing brace": lambda text: text.rstrip()[:-1],
    "single quotes": lambda text: text.replace('"', "'"),
    "raw newline": lambda text: text.replace("It is", "It\nis"),
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("place", [0, 1, 3])
@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize("fault", BROKEN_ELEMENTS)
def test_one_broken_element_of_an_array(fault: str, wrapped: bool, place: int, indent: int | None) -> None:
    rows = [{**row(i), "meta": {"tags": [{"tag": "x"}]}} for i in range(4)]
    elements = [json.dumps(r, indent=indent) for r in rows]
    elements[place] = BROKEN_ELEMENTS[fault](elements[place])
    text = "[" + (",\n" if indent else ", ").join(elements) + "]"
    records = read('{"version": 1, "data": ' + text + ', "n": {"m": 4}}' if wrapped else text, "a.json")
    assert good(records) == [r for i, r in enumerate(rows) if i != place]
    assert [(i, reason) for i, _, reason in bad(records)] == [(place, BROKEN_JSON)]


@pytest.mark.parametrize("indent", [None, 0, 2])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_no_single_lost_or_surplus_character_costs_another_element(indent: int | None, place: int) -> None:
    rows = [
        {"instruction": f'say "{i}" {{', "output": "a, b]", "meta": {"tags": [{"t": "}"}], "k": {"z": 1}}}
        for i in range(3)
    ]
    elements = [json.dumps(r, indent=indent) for r in rows]
    others = [r for i, r in enumerate(rows) if i != place]
    for at in range(len(elements[place])):
        for extra in ("", "{", "}", '"', "[", "]", "\\"):
            # No extra character: the one that is there is lost.
            element = elements[place][:at] + extra + elements[place][at + (not extra) :]
            text = "[" + ",\n".join([*elements[:place], element, *elements[place + 1 :]]) + "]"
            values = good(read('{"data": ' + text + ', "n": {"m": 1}}', "a.json"))
            assert [v for v in values if v in others] == others, (at, extra, text)


def test_neighbouring_broken_elements_are_counted_one_by_one() -> None:
    for indent in (None, 2):
        elements = [json.dumps(row(i), indent=indent) for i in range(6)]
        for i in (1, 2, 4):
            elements[i] = elements[i].replace("answer", 'answer" ')
        records = read("[" + ",\n".join(elements) + "]", "a.json")
        assert good(records) == [row(0), row(3), row(5)]
        assert [i for i, _, _ in bad(records)] == [1, 2, 4]


def test_an_array_cut_off_in_the_middle() -> None:
    for indent in (None, 2):
        text = json.dumps([row(0), row(1), row(2)], indent=indent)
        records = read(text[: text.rindex("It is 2") + 3], "a.json")
        assert good(records) == [row(0), row(1)]
        assert [i for i, _, _ in bad(records)] == [2]


def test_bad_utf8_in_an_array_costs_one_element() -> None:
    data = json.dumps([row(0), row(1), row(2)], indent=1).encode().replace(b"It is 1", b"It is \xff")
    assert bad(read(data, "a.json")) == [(1, 6, BAD_UTF8)]
    assert good(read(data, "a.json")) == [row(0), row(2)]


def test_loose_arrays_are_read_too() -> None:
    lines = ",\n".join(json.dumps(row(i)) for i in range(3))
    for text in (f"{lines},\n", f"[\n{lines}\n", f"{lines}\n]", f"[{lines}]\n[{lines}]", f"rows = [{lines}];"):
        assert good(read(text, "a.json"))[:3] == [row(0), row(1), row(2)], text


def test_a_row_with_other_keys_next_to_a_broken_one_is_not_lost() -> None:
    other = {"prompt": "p", "completion": "c"}
    text = json.dumps([row(0), row(1), other, row(2)]).replace("It is 1.", 'It is "1".')
    assert good(read(text, "a.json")) == [row(0), other, row(2)]


# -- CSV ---------------------------------------------------------------------------------------------------


def table(*rows: list[str], **dialect: str) -> str:
    file = io.StringIO(newline="")
    csv.writer(file, **dialect).writerows(rows)  # type: ignore[arg-type]
    return file.getvalue()


HEADER = ["question", "answer"]


def test_csv_values_stay_text_and_lines_are_physical() -> None:
    text = table(HEADER, ['two\nlines, and a "quote"', "NA"], ["null", "1"], [" 007 ", "nan"])
    records = read(text, "a.csv")
    assert [r.line for r in records] == [2, 4, 5]
    assert good(records) == [
        {"question": 'two\nlines, and a "quote"', "answer": "NA"},
        {"question": "null", "answer": "1"},
        {"question": " 007 ", "answer": "nan"},
    ]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_delimiters_are_found(delimiter: str) -> None:
    rows = [["a, b; c", "d"], ["e", "f | g\th"]]
    text = table(HEADER, *rows, delimiter=delimiter)
    assert [list(v.values()) for v in good(read(text, "a.csv"))] == rows  # type: ignore[attr-defined]


def test_a_tab_separated_file_and_a_declared_separator() -> None:
    assert good(read("question\tanswer\na\tb\n", "a.tsv")) == [{"question": "a", "answer": "b"}]
    assert good(read("sep=;\r\nquestion;answer\r\na;b\r\n", "a.csv")) == [{"question": "a", "answer": "b"}]


def test_space_after_a_delimiter_before_a_quote() -> None:
    text = 'question, answer\n"a, b", "c, d"\ne, f\n'
    assert good(read(text, "a.csv")) == [
        {"question": "a, b", "answer": "c, d"},
        {"question": "e", "answer": "f"},
    ]


def test_an_unterminated_quote_costs_one_line() -> None:
    for rest in ('q2,a2\n"q3","a3"\n', 'q2,"a2"\nq3,a3\n', '"q2","a2"\n"q3","a3"\n', "q2,a2\nq3,a3\n"):
        records = read('question,answer\nq0,a0\nq1,"a1\n' + rest, "a.csv")
        assert [v["question"] for v in good(records)] == ["q0", "q2", "q3"], rest  # type: ignore[index]
        assert bad(records) == [(1, 3, BROKEN_CSV)]


def test_the_rest_of_a_broken_record_is_not_taken_for_a_row() -> None:
    text = 'question,answer,topic\nq0,a0,t\nq1,"a1 "quoted" word\nand more, perhaps\nend",t\nq2,a2,t\n'
    records = read(text, "a.csv")
    assert [v["question"] for v in good(records)] == ["q0", "q2"]  # type: ignore[index]


def test_wrong_numbers_of_columns() -> None:
    records = read("question,answer,topic\nq0,a0\nq1,a1,t,,\nq2,a2,t,surplus\n,,\nq3,a3,t\n", "a.csv")
    assert good(records) == [
        {"question": "q0", "answer": "a0"},
        {"question": "q1", "answer": "a1", "topic": "t"},
        {"question": "", "answer": "", "topic": ""},
        {"question": "q3", "answer": "a3", "topic": "t"},
    ]
    assert bad(records) == [(2, 4, WRONG_COLUMNS)]


def test_headers_that_repeat_or_are_empty() -> None:
    records = read("answer,,answer\na,b,c\nanswer,,answer\nd,e,f\n", "a.csv")
    assert good(records)[0] == {"answer": "a", "column 2": "b", "answer 2": "c"}
    assert bad(records) == [(1, 3, REPEATED_HEADER)]


def test_backslash_quotes() -> None:
    text = 'question,answer\n"say \\"no\\"","a, \\"b\\""\n"C:\\dir\\",x\n'
    assert good(read(text, "a.csv")) == [
        {"question": 'say "no"', "answer": 'a, "b"'},
        {"question": "C:\\dir\\", "answer": "x"},
    ]


def test_bad_utf8_and_nuls_in_csv() -> None:
    data = b"question,answer\nq0,a0\nq1,caf\xe9\nq2,a\x002\n"
    records = read(data, "a.csv")
    assert good(records) == [{"question": "q0", "answer": "a0"}, {"question": "q2", "answer": "a\x002"}]
    assert bad(records) == [(1, 3, BAD_UTF8)]


def test_long_fields_and_blank_lines() -> None:
    long = "word " * 100_000
    records = read(f'question,answer\n\nq0,"{long}"\n\r\nq1,a1\n', "a.csv")
    assert [(r.row_id, r.line) for r in records] == [(0, 3), (1, 5)]
    assert good(records)[0] == {"question": "q0", "answer": long}


# -- Parquet -----------------------------------------------------------------------------------------------


def parquet(table: pa.Table, **options: object) -> bytes:
    file = io.BytesIO()
    pq.write_table(table, file, **options)
    return file.getvalue()


def test_parquet_with_nested_messages() -> None:
    rows = [
        {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "source": "x"},
        {"messages": None, "source": None},
    ]
    records = read(parquet(pa.Table.from_pylist(rows)), "a.parquet")
    assert good(records) == rows
    assert [(r.row_id, r.line) for r in records] == [(0, None), (1, None)]


def test_parquet_text_stored_as_bytes_or_categories() -> None:
    data = {
        "question": pa.array([b"a", b"\xff", b"c"], pa.binary()),
        "answer": pa.array(["x", "y", "x"]).dictionary_encode(),
    }
    values = good(read(parquet(pa.table(data)), "a.parquet"))
    assert values == [
        {"question": "a", "answer": "x"},
        {"question": b"\xff", "answer": "y"},
        {"question": "c", "answer": "x"},
    ]


def test_parquet_text_that_is_not_utf8_costs_one_row() -> None:
    answers = pa.array([b"x", b"\xff", b"z"], pa.binary()).view(pa.string())
    records = read(parquet(pa.table({"question": ["a", "b", "c"], "answer": answers})), "a.parquet")
    assert good(records) == [{"question": "a", "answer": "x"}, {"question": "c", "answer": "z"}]
    assert bad(records) == [(1, None, BAD_UTF8)]


def test_a_damaged_block_of_a_parquet_file_costs_its_own_rows() -> None:
    rows = [row(i) for i in range(40)]
    data = bytearray(parquet(pa.Table.from_pylist(rows), row_group_size=10, compression="gzip"))
    block = pq.ParquetFile(io.BytesIO(bytes(data))).metadata.row_group(1).column(0)
    start = block.dictionary_page_offset
    data[start : start + block.total_compressed_size] = b"\xee" * block.total_compressed_size
    records = read(bytes(data), "a.parquet")
    assert good(records) == rows[:10] + rows[20:]
    assert bad(records) == [(i, None, UNREADABLE) for i in range(10, 20)]


def test_a_parquet_file_under_another_name() -> None:
    assert good(read(parquet(pa.Table.from_pylist([row(0)])), "a.csv")) == [row(0)]


# -- which file --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "text", "kind"),
    [
        ("a", '{"a": 1}', "jsonl"),
        ("a.txt", ' [{"a": 1}]', "json"),
        ("a.txt", "question,answer\na,b\n", "csv"),
        ("a.csv", '{"question": "a"}\n', "jsonl"),
        ("a.JSONL", '[{"a": 1}]', "jsonl"),
        ("a.txt", 'broken\n{"a": 1}\n', "jsonl"),
    ],
)
def test_the_format_is_found(name: str, text: str, kind: str) -> None:
    assert source_format(text.encode(), name) == kind


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.jsonl", b"", "is empty"),
        ("a.csv", b"\xef\xbb\xbf \r\n\t\n", "is empty"),
        ("a.parquet", b"", "not a Parquet"),
        ("a.parquet", b"PAR1 and then nothing", "not a readable Parquet"),
        ("a.json", b"[]", "no records"),
        ("a.csv", b"question,answer\n", "no records"),
        ("a.xlsx", b"PK\x03\x04rest", "spreadsheet"),
        ("a.bin", b"\x00\x01\x02\x03\xff", "not a file that can be read"),
        ("a.md", b"# Just words", "not a file that can be read"),
    ],
)
def test_files_of_no_use_are_refused_in_plain_words(name: str, data: bytes, words: str) -> None:
    with pytest.raises(UserError, match=words):
        read(data, name)


def test_missing_files_and_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no file"):
        read_records(tmp_path / "missing.jsonl")
    with pytest.raises(UserError, match="is a folder"):
        read_records(tmp_path)
    (tmp_path / "a.jsonl").write_text(jsonl(row(0)))
    assert good(read_records(str(tmp_path / "a.jsonl"))) == [row(0)]


def test_decoding_marks_invalid_bytes_only() -> None:
    assert decode(b"a\xffb") == "a\udcffb"
    assert decode("é".encode()) == "é"


# -- hub ---------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "hub-cache")
    monkeypatch.setattr(datasets.config, "DOWNLOADED_DATASETS_PATH", tmp_path / "hub-cache" / "downloads")


def test_a_hub_dataset_of_broken_json_lines_loses_no_good_row(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "train.jsonl").write_text(jsonl(row(0)) + "{broken\n" + jsonl(row(1)))
    (folder / "test.jsonl").write_text(jsonl(row(9)))
    records = read_hub(str(folder), local=True)
    assert good(records) == [row(0), row(1)]
    assert bad(records) == [(1, 2, BROKEN_JSON)]
    assert good(read_hub(str(folder), split="test", local=True)) == [row(9)]
    assert len(read_hub(str(folder), limit=1, local=True)) == 1
    with pytest.raises(UserError, match="test"):
        read_hub(str(folder), split="validation", local=True)


def test_hub_csv_stays_text_and_parquet_is_streamed(tmp_path: Path) -> None:
    for name in ("csv", "parquet"):
        (tmp_path / name).mkdir()
    (tmp_path / "csv" / "data.csv").write_text("question,answer\nNA,1\n")
    pq.write_table(pa.Table.from_pylist([row(i) for i in range(5)]), tmp_path / "parquet" / "data.parquet")
    assert good(read_hub(str(tmp_path / "csv"), local=True)) == [{"question": "NA", "answer": "1"}]
    records = read_hub(str(tmp_path / "parquet"), limit=3, local=True)
    assert good(records) == [row(0), row(1), row(2)]


def test_the_hub_never_runs_code_or_opens_folders_by_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "script"
    folder.mkdir()
    (folder / "script.py").write_text("open('ran', 'w')")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError):
        read_hub(str(folder), local=True)
    assert not (tmp_path / "ran").exists()
    for name in ("script", "../etc", "/etc", "", "a/b/c", "https://example.org/x"):
        with pytest.raises(UserError, match="not the id"):
            read_hub(name)
