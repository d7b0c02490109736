"""Exports: a cleaned file differs from the original by exactly the excluded rows."""

import csv
import hashlib
import io
import json
import random
import shutil

import datasets
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from core import audit
from core.audit import LogFilter
from core.cutting import cut_parquet, cut_text
from core.datasets import read_dataset
from core.errors import UserError
from core.export import Exported, export, file_suffix, find_dataset
from core.records import decode_text, parse_records
from core.sample import SAMPLE_PATH, install_sample
from core.store import Store
from tests.unit.workspaces import imported, tiny_dataset, workspace

ENCODINGS = ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32"]


@pytest.fixture
def store(tmp_path):
    return Store(workspace(tmp_path))


def row(i, **more):
    return {"question": f"What is {i}, “ß” 日本 🙂?", "answer": f"It is {i}.", **more}


def brought_in(store, tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    record, _ = store.import_dataset(read_dataset(path), path, "local")
    return record.fingerprint


# -- cutting bytes -----------------------------------------------------------------------------------------


def messy_jsonl(chance):
    """Lines as (bytes, is a record): valid, broken, blank, padded, with every kind of line end."""
    lines = []
    for i in range(chance.randint(1, 25)):
        kind = chance.random()
        if kind < 0.6:
            text = json.dumps(row(i), ensure_ascii=chance.random() < 0.5, separators=chance.choice([(",", ":"), None]))
            content = chance.choice([b"", b" ", b"\t"]) + text.encode() + chance.choice([b"", b"  "])
        elif kind < 0.7:
            content = b'{"question": "broken ' + str(i).encode()
        elif kind < 0.8:
            content = b'{"question": "bad utf-8 \xff\xfe", "answer": "' + str(i).encode() + b'"}'
        elif kind < 0.85:
            content = b"[1, 2]"
        else:
            content = chance.choice([b"", b"   "])
        lines.append((content + chance.choice([b"\n", b"\r\n"]), bool(content.strip())))
    if chance.random() < 0.5:
        content, is_record = lines[-1]
        lines[-1] = (content.rstrip(b"\r\n"), is_record)
    return lines


@pytest.mark.parametrize("seed", range(150))
def test_a_messy_jsonl_file_loses_exactly_the_lines_of_the_excluded_records(seed):
    chance = random.Random(seed)
    mark = chance.choice([b"", b"\xef\xbb\xbf"])
    lines = [(b'{"question": "q", "answer": "first"}\n', True), *messy_jsonl(chance)]
    data = mark + b"".join(content for content, _ in lines)
    places = [i for i, (_, is_record) in enumerate(lines) if is_record]
    assert len(parse_records(data, "a.jsonl")) == len(places)
    gone = {n for n in range(len(places)) if chance.random() < 0.4}
    lost = {places[n] for n in gone}
    expected = mark + b"".join(content for i, (content, _) in enumerate(lines) if i not in lost)
    assert cut_text(data, "jsonl", gone) == expected


@pytest.mark.parametrize("seed", range(150))
def test_a_messy_csv_file_loses_exactly_the_lines_of_the_excluded_records(seed):
    chance = random.Random(seed)
    delimiter, newline = chance.choice([",", ";", "\t"]), chance.choice(["\r\n", "\n"])
    quoting = chance.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
    mark = chance.choice([b"", b"\xef\xbb\xbf"])

    def line(*fields):
        file = io.StringIO(newline="")
        csv.writer(file, delimiter=delimiter, lineterminator=newline, quoting=quoting).writerow(fields)
        return file.getvalue().encode()

    head = chance.choice([b"", newline.encode()]) + line("question", "answer")
    pieces = [(line("first", "record"), True)]
    for i in range(chance.randint(1, 25)):
        kind = chance.random()
        if kind < 0.7:
            pieces.append((line(f'say "{i}"{newline}then, 日本; 🙂', f"answer {i}"), True))
        elif kind < 0.8:
            pieces.append((line(f"too many {i}", "a", "b", "c"), True))
        elif kind < 0.9:
            pieces.append((f"bad {i} ".encode() + b"\xff" + delimiter.encode() + b"x" + newline.encode(), True))
        else:
            pieces.append((newline.encode(), False))
    if chance.random() < 0.5:
        pieces.append((line("last", "record").removesuffix(newline.encode()), True))
    data = mark + head + b"".join(content for content, _ in pieces)
    places = [i for i, (_, is_record) in enumerate(pieces) if is_record]
    assert len(parse_records(data, "a.csv")) == len(places)
    gone = {n for n in range(len(places)) if chance.random() < 0.4}
    lost = {places[n] for n in gone}
    expected = mark + head + b"".join(content for i, (content, _) in enumerate(pieces) if i not in lost)
    assert cut_text(data, "csv", gone) == expected


@pytest.mark.parametrize("seed", range(150))
def test_an_array_stays_an_array_and_keeps_the_text_of_every_kept_element(seed):
    chance = random.Random(seed)
    rows = [row(i, meta={"tags": [{"t": "a],[{"}], "n": i * 1.50}) for i in range(chance.randint(1, 12))]
    indent = chance.choice([None, 0, 2, "\t"])
    elements = [json.dumps(r, indent=indent, ensure_ascii=chance.random() < 0.5) for r in rows]
    separator = chance.choice([",", ", ", ",\n", " ,\r\n  ", "\n, "])
    opening, closing = chance.choice(
        [("[", "]"), ("[\n  ", "\n]\n"), ('{"version": 1, "data": [', '], "n": {"m": 1}}')]
    )
    data = (opening + separator.join(elements) + closing).encode()
    gone = {i for i in range(len(rows)) if chance.random() < 0.4}
    cut = cut_text(data, "json", gone)
    kept = [element for i, element in enumerate(elements) if i not in gone]
    assert cut == (opening + separator.join(kept) + closing).encode()
    document = json.loads(cut)
    values = document["data"] if isinstance(document, dict) else document
    assert values == [r for i, r in enumerate(rows) if i not in gone]


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("kind", ["jsonl", "json", "csv"])
def test_every_encoding_is_cut_at_the_right_byte(kind, encoding):
    if kind == "csv":
        parts = ["question,answer\r\n", *(f'"ß 🙂 {i}",x\r\n' for i in range(4))]
        original, expected = "".join(parts), "".join(parts[:2] + parts[3:4])
    elif kind == "jsonl":
        parts = [json.dumps(row(i), ensure_ascii=False) + "\n" for i in range(4)]
        original, expected = "".join(parts), parts[0] + parts[2]
    else:
        parts = [json.dumps(row(i), ensure_ascii=False) for i in range(4)]
        original, expected = f"[{', '.join(parts)}]", f"[{parts[0]}, {parts[2]}]"
    assert cut_text(original.encode(encoding), kind, [3, 1]) == expected.encode(encoding)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-32-le"])
def test_half_characters_and_a_torn_end_move_nothing(encoding):
    lines = [json.dumps(row(i), ensure_ascii=False).replace("🙂", "🙂\ud83d" if i == 1 else "🙂") for i in range(3)]
    mark = "\ufeff".encode(encoding)
    data = mark + b"".join((line + "\n").encode(encoding, "surrogatepass") for line in lines)
    decoded = decode_text(data + b"\x7b")
    assert decoded.mark + decoded.n_bytes(0, len(decoded.text)) == len(data)
    for gone in (0, 1, 2):
        kept = [line for i, line in enumerate(lines) if i != gone]
        expected = mark + b"".join((line + "\n").encode(encoding, "surrogatepass") for line in kept)
        assert cut_text(data + b"\x7b", "jsonl", [gone]) == expected + b"\x7b"


def test_several_objects_in_one_line():
    a, b, c, d = (json.dumps(row(i)) for i in range(4))
    data = f"{a}{b} {c}\n{d}\n".encode()
    assert cut_text(data, "jsonl", [0]) == f"{b} {c}\n{d}\n".encode()
    assert cut_text(data, "jsonl", [1]) == f"{a}{c}\n{d}\n".encode()
    assert cut_text(data, "jsonl", [2]) == f"{a}{b}\n{d}\n".encode()
    assert cut_text(data, "jsonl", [0, 1, 2]) == f"{d}\n".encode()
    assert cut_text(data, "jsonl", [3]) == f"{a}{b} {c}\n".encode()
    assert cut_text(data, "jsonl", [0, 1, 2, 3]) == b"\n"


def test_loose_arrays_are_cut_where_their_elements_are():
    a, b, c = (json.dumps(row(i)) for i in range(3))
    assert cut_text(f"[{a},\n{b},\n{c},\n]".encode(), "json", [2]) == f"[{a},\n{b},\n]".encode()
    assert cut_text(f"[{a}]\n[{b}, {c}]".encode(), "json", [1]) == f"[{a}]\n[{c}]".encode()
    assert cut_text(f"[{a}]\n[{b}, {c}]".encode(), "json", [0, 1, 2]) == b"[]\n[]"
    # What stands before the array counts as a record that cannot be read.
    assert cut_text(f"rows = [{a}, {b}];".encode(), "json", [2]) == f"rows = [{a}];".encode()


def test_a_broken_element_can_be_cut_and_can_stay():
    a, b, c = (json.dumps(row(i)) for i in range(3))
    broken = b.replace('"answer', "answer")
    data = f"[{a}, {broken}, {c}]".encode()
    assert cut_text(data, "json", [1]) == f"[{a}, {c}]".encode()
    assert cut_text(data, "json", [0]) == f"[{broken}, {c}]".encode()


def test_a_declared_separator_and_a_repeated_header_stay():
    data = b"sep=;\r\nquestion;answer\r\na;b\r\n\r\nquestion;answer\r\nc;d\r\n"
    assert cut_text(data, "csv", [0]) == b"sep=;\r\nquestion;answer\r\n\r\nquestion;answer\r\nc;d\r\n"
    assert cut_text(data, "csv", [1, 2]) == b"sep=;\r\nquestion;answer\r\na;b\r\n\r\n"


def test_nothing_excluded_is_the_same_file():
    for data, kind in ((SAMPLE_PATH.read_bytes(), "jsonl"), (b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n", "csv")):
        assert cut_text(data, kind, []) == data


def parquet_table():
    messages = pa.array(
        [[{"role": "user", "content": f"q{i}"}, {"role": "assistant", "content": f"a{i}"}] for i in range(50)]
    )
    fields = {
        "messages": messages,
        "n": pa.array(range(50), pa.int16()),
        "when": pa.array(range(50), pa.timestamp("us", tz="Europe/Berlin")),
        "kind": pa.array([f"k{i % 3}" for i in range(50)]).dictionary_encode(),
        "raw": pa.array([None if i % 4 == 0 else b"\xff" * i for i in range(50)], pa.large_binary()),
        "price": pa.array([None] * 50, pa.decimal128(12, 3)),
    }
    schema = pa.schema(
        [pa.field(name, array.type, name != "n", {b"note": name.encode()}) for name, array in fields.items()],
        metadata={b"made by": b"a test", b"pandas": b'{"index_columns": []}'},
    )
    # `n` is declared as never null.
    return pa.table([pa.chunked_array([array]) for array in fields.values()], schema=schema)


@pytest.mark.parametrize("codec", ["snappy", "zstd", "none"])
def test_parquet_keeps_schema_metadata_and_values(tmp_path, codec):
    table = parquet_table()
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=7, compression=codec)
    original = pq.read_table(tmp_path / "in.parquet")
    gone = {0, 6, 7, *range(14, 21), 49}
    assert cut_parquet((tmp_path / "in.parquet").read_bytes(), gone, tmp_path / "out.parquet") == 0
    cut = pq.read_table(tmp_path / "out.parquet")
    assert cut.schema.equals(original.schema, check_metadata=True)
    assert cut.equals(original.take([i for i in range(50) if i not in gone]))
    written = pq.ParquetFile(tmp_path / "out.parquet").metadata.row_group(0).column(0).compression
    assert written == {"none": "UNCOMPRESSED"}.get(codec, codec.upper())


def test_parquet_with_every_row_excluded_is_an_empty_table(tmp_path):
    pq.write_table(parquet_table(), tmp_path / "in.parquet")
    cut_parquet((tmp_path / "in.parquet").read_bytes(), range(50), tmp_path / "out.parquet")
    assert pq.read_table(tmp_path / "out.parquet").num_rows == 0


# -- exports of a dataset ----------------------------------------------------------------------------------


def test_the_cleaned_file_is_the_original_without_the_flagged_rows(store, tmp_path):
    fp = brought_in(store, tmp_path, "data.jsonl", SAMPLE_PATH.read_bytes())
    store.set_flags(fp, [0, 7, 449], True, "local")
    store.set_flags(fp, [7], False, "local")
    lines = SAMPLE_PATH.read_bytes().splitlines(keepends=True)
    out = tmp_path / "clean" / "cleaned.jsonl"
    made = export(store, fp, "cleaned", out, "local")
    assert out.read_bytes() == b"".join(lines[1:449])
    assert (made.path, made.rows, made.excluded, made.rejected, made.damaged) == (out, 448, 2, 0, 0)


def test_rejected_records_are_in_or_out_by_choice(store, tmp_path):
    lines = [json.dumps(row(i)) for i in range(6)]
    lines[2] = '{"question": "broken'
    lines[4] = json.dumps({"question": "No answer?", "answer": ""})
    fp = brought_in(store, tmp_path, "data.ndjson", "\r\n".join(lines).encode())
    store.set_flags(fp, [0], True, "local")
    out = tmp_path / "out.jsonl"
    made = export(store, fp, "cleaned", out, "local")
    assert out.read_bytes() == "\r\n".join([lines[1], lines[3], lines[5]]).encode()
    assert (made.rows, made.excluded, made.rejected) == (3, 1, 2)
    made = export(store, fp, "cleaned", out, "local", rejected="in")
    assert out.read_bytes() == "\r\n".join(lines[1:]).encode()
    assert (made.rows, made.excluded, made.rejected) == (5, 1, 0)


def test_csv_and_parquet_come_out_as_they_came_in(store, tmp_path):
    content = "question;answer\r\n" + "".join(f'"q {i}\n=1+1";a{i}\r\n' for i in range(6))
    fp = brought_in(store, tmp_path, "data.csv", content.encode("utf-8-sig"))
    store.set_flags(fp, [5], True, "local")
    export(store, fp, "cleaned", tmp_path / "out.csv", "local")
    # A training set is not neutralised: not a byte of a kept row changes.
    expected = content.removesuffix('"q 5\n=1+1";a5\r\n').encode("utf-8-sig")
    assert (tmp_path / "out.csv").read_bytes() == expected

    pq.write_table(parquet_table(), tmp_path / "in.parquet", row_group_size=20)
    fp = brought_in(store, tmp_path, "data.parquet", (tmp_path / "in.parquet").read_bytes())
    store.set_flags(fp, [3], True, "local")
    made = export(store, fp, "cleaned", tmp_path / "out.parquet", "local")
    assert made.rows == pq.read_table(tmp_path / "out.parquet").num_rows == 49


def test_a_cleaned_file_imports_as_the_rows_that_were_kept(store, tmp_path):
    fp = brought_in(store, tmp_path, "a.json", json.dumps([row(i) for i in range(9)], indent=1).encode())
    store.set_flags(fp, [0, 4, 8], True, "local")
    export(store, fp, "cleaned", tmp_path / "b.json", "local")
    again = read_dataset(tmp_path / "b.json")
    kept = [r.row_hash for r in store.load_rows(fp) if r.row_id not in (0, 4, 8)]
    assert [r.row_hash for r in again.rows] == kept and not again.rejected


def test_a_dataset_without_a_file_comes_out_as_messages(store, tmp_path):
    fp = imported(store.settings, tiny_dataset(8))
    store.set_flags(fp, [1], True, "local")
    export(store, fp, "cleaned", tmp_path / "hub.jsonl", "local")
    again = read_dataset(tmp_path / "hub.jsonl")
    assert [r.row_hash for r in again.rows] == [r.row_hash for r in store.load_rows(fp) if r.row_id != 1]
    assert again.rows[0].supplier == "A"


def test_the_hugging_face_folder_loads_with_its_card(store, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    fp = brought_in(store, tmp_path, "we [name] <b>.jsonl", SAMPLE_PATH.read_bytes())
    store.set_flags(fp, [2, 3], True, "local")
    out = tmp_path / "folder"
    made = export(store, fp, "cleaned", out, "local", form="hf")
    loaded = datasets.load_dataset(str(out), split="train", cache_dir=str(tmp_path / "cache"))
    rows = [r for r in store.load_rows(fp) if r.row_id not in (2, 3)]
    assert made.rows == len(loaded) == len(rows) == 448
    assert [m["content"] for m in loaded[5]["messages"]] == [turn.content for turn in rows[5].turns]
    assert loaded["row_id"] == [r.row_id for r in rows]
    card = (out / "README.md").read_text(encoding="utf-8")
    header = yaml.safe_load(card.split("---")[1])
    assert header["size_categories"] == ["n<1K"]
    assert "# we \\[name] &lt;b>" in card and f"`{fp}`" in card and "448 rows" in card and "2 rows that people" in card
    with pytest.raises(UserError, match="exists already"):
        export(store, fp, "cleaned", out, "local", form="hf")
    with pytest.raises(UserError, match="leave them out"):
        export(store, fp, "cleaned", tmp_path / "x", "local", form="hf", rejected="in")
    assert not (tmp_path / "x").exists()


def test_decisions_are_a_table_with_formulas_neutralised(store, tmp_path):
    fp = imported(store.settings, tiny_dataset(8))
    store.set_flags(fp, [1, 2], True, "local", note="=HYPERLINK(1)")
    store.set_flags(fp, [2], False, "local", note="fine\nafter all")
    export(store, fp, "decisions", tmp_path / "d.csv", "local")
    table = pd.read_csv(tmp_path / "d.csv")
    assert table["row_id"].tolist() == [1, 2]
    assert table["decision"].tolist() == ["exclude", "keep"]
    assert table["note"].tolist() == ["'=HYPERLINK(1)", "fine\nafter all"]
    assert table["row_hash"].tolist() == [r.row_hash for r in store.load_rows(fp)[1:3]]
    export(store, fp, "decisions", tmp_path / "d.jsonl", "local")
    lines = [json.loads(line) for line in (tmp_path / "d.jsonl").read_text().splitlines()]
    assert [line["note"] for line in lines] == ["=HYPERLINK(1)", "fine\nafter all"]


def test_outliers_are_the_highest_scores_and_for_those_with_the_role(store, tmp_path):
    fp = install_sample(store)
    store.set_user("tim", "trainer", "local")
    store.set_user("sam", "steward", "local")
    out = tmp_path / "o.csv"
    with pytest.raises(UserError, match="steward / adjudicator / admin"):
        export(store, fp, "outliers", out, "tim")
    assert not out.exists()
    export(store, fp, "outliers", out, "sam", top=25)
    table = pd.read_csv(out)
    scores = store.scores(store.score_runs(fp)[0].run_id).sort_values("self_inf_n", ascending=False)
    assert table["row_id"].tolist() == scores["row_id"].tolist()[:25]
    assert table["rank"].tolist() == list(range(1, 26))
    (entry,) = audit.read_log(store.url, LogFilter(actions=(audit.EXPORT,)))
    assert (entry.actor, entry.subject, entry.after["what"], entry.after["rows"]) == ("sam", fp, "outliers", 25)
    with pytest.raises(UserError, match="not scored"):
        export(store, imported(store.settings, tiny_dataset(5)), "outliers", out, "sam")


def test_every_export_is_logged_with_the_hash_of_the_file_and_no_text(store, tmp_path):
    fp = brought_in(store, tmp_path, "secret name.jsonl", SAMPLE_PATH.read_bytes())
    store.set_flags(fp, [1], True, "local", note="private remark")
    made = export(store, fp, "cleaned", tmp_path / "c.jsonl", "local")
    assert isinstance(made, Exported)
    assert made.sha256 == hashlib.sha256((tmp_path / "c.jsonl").read_bytes()).hexdigest()
    entry = audit.read_log(store.url)[0]
    assert (entry.action, entry.actor, entry.subject) == ("export", "local", fp)
    counts = {"rows": 449, "excluded": 1, "rejected": 0, "damaged": 0}
    assert entry.after == {
        "what": "cleaned",
        "form": "original",
        "keep_rejected": False,
        **counts,
        "sha256": made.sha256,
    }
    file = io.StringIO()
    audit.export_jsonl(store.url, file)
    for text in ("secret name", "private remark", store.load_rows(fp)[1].answer[:20]):
        assert text not in file.getvalue()


def test_those_who_may_only_look_export_nothing(store, tmp_path):
    fp = imported(store.settings, tiny_dataset(5))
    store.set_user("vera", "viewer", "local")
    for what in ("cleaned", "decisions", "outliers"):
        with pytest.raises(UserError, match="vera may not do this"):
            export(store, fp, what, tmp_path / "x", "vera")
    with pytest.raises(UserError, match="vera may not do this"):
        export(store, fp, "cleaned", tmp_path / "x", "vera", form="hf")
    assert not (tmp_path / "x").exists()
    assert not audit.count_log(store.url, LogFilter(actions=(audit.EXPORT,)))


def test_a_dataset_is_found_by_fingerprint_its_beginning_or_name(store, tmp_path):
    fp = imported(store.settings, tiny_dataset(5, name="mine"))
    other = tiny_dataset(6, name="mine", fingerprint="00112233aabbccff")
    assert find_dataset(store, "mine").fingerprint == fp
    imported(store.settings, other)
    for ambiguous in ("mine", "00112233"):
        with pytest.raises(UserError, match="Several datasets"):
            find_dataset(store, ambiguous)
    assert find_dataset(store, fp).fingerprint == fp
    assert find_dataset(store, "00112233aabbccf").fingerprint == other.fingerprint
    with pytest.raises(UserError, match="no dataset"):
        find_dataset(store, "0011")


def test_suffixes(store, tmp_path):
    fp = brought_in(store, tmp_path, "a.json", json.dumps([row(i) for i in range(9)]).encode())
    record = store.dataset(fp)
    assert file_suffix(record, "cleaned", "original") == ".json"
    assert file_suffix(record, "cleaned", "hf") == ""
    assert file_suffix(record, "decisions", "original") == ".csv"
    shutil.rmtree(store.dataset_folder(fp))
