"""Files become datasets: used rows, listed rejects, one fingerprint per content, a frozen benign split."""

import csv
import json
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from core.datasets import (
    Dataset,
    FieldMapping,
    Row,
    Turn,
    detect_mapping,
    holdout_ids,
    read_dataset,
    read_records,
    reason_counts,
    rejected_jsonl,
    to_dataset,
)
from core.errors import UserError

ROWS = [
    {"instruction": f"Name {i} of the moons.", "input": "" if i % 2 else "Of Saturn.", "output": f"Moon {i}\n",
     "category": "open_qa", "supplier": ["A", "B"][i % 2]}
    for i in range(6)
]  # fmt: skip


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    elif path.suffix == ".json":
        path.write_text(json.dumps(rows, indent=2), encoding="utf-8")
    elif path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
    return path


@pytest.mark.parametrize("extension", ["jsonl", "json", "csv", "parquet"])
def test_the_same_rows_in_every_file_format(tmp_path: Path, extension: str) -> None:
    dataset = read_dataset(write(tmp_path / f"moons.{extension}", ROWS))
    assert (dataset.name, dataset.source_format, dataset.rejected) == ("moons", extension, [])
    assert dataset.mapping.format == "alpaca"
    assert [row.row_id for row in dataset.rows] == list(range(6))
    assert dataset.rows[0] == Row(
        0, (Turn("user", "Name 0 of the moons.\n\nOf Saturn."), Turn("assistant", "Moon 0\n")), "open_qa", "A"
    )
    assert dataset.fingerprint == read_dataset(write(tmp_path / "same.jsonl", ROWS)).fingerprint


def test_the_fingerprint_is_of_the_content_not_of_the_column_names(tmp_path: Path) -> None:
    def fingerprint(rows: list[dict[str, Any]]) -> str:
        return read_dataset(write(tmp_path / "a.jsonl", rows)).fingerprint

    plain = [{"question": "q", "answer": "a"}, {"question": "r", "answer": "b"}]
    same = [{"prompt": r["question"], "completion": r["answer"]} for r in plain]
    assert fingerprint(plain) == fingerprint(same)
    assert len(fingerprint(plain)) == 16
    changed = [
        plain[::-1],
        [plain[0]],
        [plain[0], {**plain[1], "answer": "b "}],
        [{**r, "category": "x"} for r in plain],
    ]
    assert len({fingerprint(rows) for rows in [plain, *changed]}) == 5


def test_row_hash_is_of_the_turns_only() -> None:
    turns = (Turn("user", "q"), Turn("assistant", "a"))
    assert Row(0, turns, "x").row_hash == Row(5, turns, "", "y").row_hash
    moved = (Turn("user", "q"), Turn("user", "a"))
    assert len({Row(0, turns).row_hash, Row(0, moved).row_hash}) == 2


def test_prompt_shows_roles_only_when_there_are_several() -> None:
    assert Row(0, (Turn("user", "q"), Turn("assistant", "a"))).prompt == "q"
    several = Row(0, (Turn("system", "s"), Turn("user", "q"), Turn("assistant", "a")))
    assert (several.prompt, several.answer) == ("system: s\n\nuser: q", "a")


def test_rejected_records_use_up_ids_and_keep_line_reason_and_text(tmp_path: Path) -> None:
    path = tmp_path / "messy.jsonl"
    lines = [
        b'{"question": "q0", "answer": "a0"}',
        b'{"question": "q1", "answer": ""}',
        b"",
        b'{"question": "q2"}',
        b'{"question": "q3", "answer": 3}',
        b'{"question": "q4", "answer": "a4"',
        b'{"question": "caf\xe9", "answer": "a5"}',
        b'{"question": "q6", "answer": null}',
        b'{"question": "q7", "answer": "a7", "extra": [1]}',
        b'["q8", "a8"]',
        b'{"question": "", "answer": "a9"}',
        b'{"question": "q10", "answer": "\\ud800"}',
        '{"question": "日本", "answer": "東京"}'.encode(),
    ]
    path.write_bytes(b"\r\n".join(lines))
    dataset = read_dataset(path)
    assert [(row.row_id, row.answer) for row in dataset.rows] == [(0, "a0"), (7, "a7"), (11, "東京")]
    assert [(r.row_id, r.line, r.reason) for r in dataset.rejected] == [
        (1, 2, "Answer is empty"),
        (2, 4, "Field is missing"),
        (3, 5, "Answer is not text"),
        (4, 6, "Not valid JSON"),
        (5, 7, "Not valid UTF-8 text"),
        (6, 8, "Answer is empty"),
        (8, 10, "Record is not an object"),
        (9, 11, "Prompt is empty"),
        (10, 12, "Text holds half a character (lone surrogate)"),
    ]
    assert dataset.rejected[0].raw == lines[1].decode()
    assert reason_counts(dataset.rejected)["Answer is empty"] == 2


def test_the_download_of_rejected_rows_is_one_json_object_a_line(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_bytes(b'{"question": "q", "answer": "a"}\n{"question": "\xff\xe2\x80\xa8", "answer": "b"}\n')
    text = rejected_jsonl(read_dataset(path).rejected)
    text.encode("utf-8")
    assert len(text.splitlines()) == 1
    row = json.loads(text)
    assert list(row) == ["line", "row_id", "reason", "detail", "raw"]
    assert (row["line"], row["row_id"], row["raw"]) == (2, 1, '{"question": "\\udcff\u2028", "answer": "b"}')
    assert rejected_jsonl([]) == ""


def test_rejects_of_formats_without_lines_show_the_record(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": "a"}, {"question": "é" * 3000, "answer": None}]
    (rejected,) = read_dataset(write(tmp_path / "a.parquet", rows)).rejected
    assert (rejected.row_id, rejected.line) == (1, None)
    assert rejected.raw.startswith('{"question": "ééé') and len(rejected.raw) == 2000


def test_limit_counts_usable_rows(tmp_path: Path) -> None:
    rows = [{"question": "q", "answer": ""}, *ROWS_QA, *ROWS_QA]
    dataset = read_dataset(write(tmp_path / "a.jsonl", rows), limit=2)
    assert [row.row_id for row in dataset.rows] == [1, 2]
    assert len(dataset.rejected) == 1


ROWS_QA = [{"question": "q0", "answer": "a0"}, {"question": "q1", "answer": "a1"}]


def test_a_corrected_mapping_is_used(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", [{"in": "q", "out": "NA", "who": "V"}])
    with pytest.raises(UserError, match="in, out, who"):
        read_dataset(path)
    mapping = FieldMapping(format="custom", columns={"prompt": "in", "answer": "out", "supplier": "who"})
    dataset = read_dataset(path, mapping)
    assert (dataset.rows[0].answer, dataset.rows[0].supplier) == ("NA", "V")
    assert FieldMapping.model_validate_json(mapping.model_dump_json()) == mapping


def test_a_mapping_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    records = read_records(write(tmp_path / "a.jsonl", ROWS_QA))
    with pytest.raises(UserError, match="Choose the column for “answer”"):
        to_dataset(records, FieldMapping(format="custom", columns={"prompt": "question"}), "a")
    with pytest.raises(UserError, match="no column “reply”"):
        to_dataset(records, FieldMapping(format="custom", columns={"prompt": "question", "answer": "reply"}), "a")


def test_a_file_without_a_usable_row_is_refused_with_the_first_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", [{"question": "q", "answer": ""}, {"question": "q", "answer": 1}])
    with pytest.raises(UserError, match=r"None of the 2 .* Answer is empty"):
        read_dataset(path)
    path.write_text("nonsense\n")
    with pytest.raises(UserError, match="Not valid JSON"):
        read_dataset(path)


def test_conversations_survive_csv_and_parquet(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": 'a, "b"\n'}, {"role": "assistant", "content": "日本"}]
    expected = (Turn("user", 'a, "b"\n'), Turn("assistant", "日本"))
    for name, content in (("a.parquet", messages), ("a.csv", json.dumps(messages)), ("b.csv", messages)):
        assert read_dataset(write(tmp_path / name, [{"messages": content}])).rows[0].turns == expected


# -- the benign split --------------------------------------------------------------------------------------


def rows_of(prompts: list[str]) -> list[Row]:
    return [Row(i, (Turn("user", p), Turn("assistant", f"answer {i}"))) for i, p in enumerate(prompts)]


@pytest.mark.parametrize(
    ("count", "size"), [(4, 0), (10, 1), (24, 2), (25, 5), (40, 5), (60, 6), (500, 50), (1000, 100), (3000, 100)]
)
def test_the_split_is_a_tenth_at_least_five_at_most_a_hundred(count: int, size: int) -> None:
    assert len(holdout_ids(rows_of([f"prompt {i}" for i in range(count)]))) == size


def test_the_split_does_not_depend_on_order_or_ids() -> None:
    rows = rows_of([f"prompt {i}" for i in range(200)])
    shuffled = rows[:]
    Random(1).shuffle(shuffled)
    assert holdout_ids(shuffled) == holdout_ids(rows)
    backwards = rows_of([row.prompt for row in rows[::-1]])
    assert {backwards[i].prompt for i in holdout_ids(backwards)} == {rows[i].prompt for i in holdout_ids(rows)}


def test_the_same_prompt_is_never_on_both_sides() -> None:
    rows = rows_of([f"Prompt  {i % 70}" if i % 2 else f" prompt {i % 70}\n" for i in range(300)])
    chosen = holdout_ids(rows)
    inside = {" ".join(rows[i].prompt.casefold().split()) for i in chosen}
    outside = {" ".join(row.prompt.casefold().split()) for row in rows if row.row_id not in chosen}
    assert 20 <= len(chosen) <= 30
    assert not inside & outside


def test_one_prompt_for_all_rows_leaves_the_rows_to_train_on() -> None:
    assert holdout_ids(rows_of(["Sum up."] * 50)) == set()


def test_a_dataset_is_what_it_says(tmp_path: Path) -> None:
    records = read_records(write(tmp_path / "a.jsonl", ROWS))
    dataset = to_dataset(records, detect_mapping(records), "moons", source_format="jsonl")
    assert isinstance(dataset, Dataset)
    assert dataset == read_dataset(write(tmp_path / "moons.jsonl", ROWS))
