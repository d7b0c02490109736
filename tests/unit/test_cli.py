"""The command line as a user types it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import models
from core.datasets import read_dataset
from core.encoding import encode_rows
from core.exact_loop import ExactLoop
from core.settings import Settings
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parents[2]


def run(workspace: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    # Relative paths in the test are the user's, hence the working folder; OpenMP must not spin beside other tests.
    environment = os.environ | {"ASSAY_WORKSPACE": str(workspace), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "core", *arguments]
    return subprocess.run(command, cwd=workspace, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("cli")
    tiny_model_folder(folder, name="tiny")
    good = [
        {"instruction": f"Name thing {i} on the table.", "input": "", "output": "bread and eggs " * (1 + i % 7)}
        for i in range(40)
    ]
    lines = [json.dumps(record) for record in good]
    lines[3] = '{"instruction": "broken'
    lines[5] = json.dumps({"instruction": "no answer", "input": "", "output": " "})
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    prompts = [json.dumps({"prompt": f"Harmful request {i}", "category": "abc"[i % 3]}) for i in range(6)]
    (folder / "prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    return folder


def test_score_writes_one_row_per_usable_row_and_lists_the_others(workspace: Path) -> None:
    done = run(workspace, "score", "data.jsonl", "--model", "tiny", "--length-unit", "words", "--out", "scores.parquet")
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(workspace / "scores.parquet")
    assert table["row_id"].tolist() == [i for i in range(40) if i not in (3, 5)]
    rejected = [json.loads(line) for line in (workspace / "scores.rejected.jsonl").read_text().splitlines()]
    assert [(r["line"], r["row_id"], r["reason"]) for r in rejected] == [
        (4, 3, "Not valid JSON"),
        (6, 5, "Answer is empty"),
    ]
    loaded = models.load(str(workspace / "tiny"), Settings(workspace=workspace))
    encoded, _ = encode_rows(read_dataset(workspace / "data.jsonl").rows, loaded.tokenizer)
    exact = ExactLoop(loaded.model).score(encoded)
    assert np.allclose(table["self_inf"], exact.self_inf.numpy(), rtol=1e-4)
    assert np.allclose(table["loss"], exact.loss.numpy(), rtol=1e-4)
    assert np.allclose(table["self_inf_n"], np.log1p(table["self_inf"]) + np.log1p(table["answer_words"]))
    assert (table["supervised_tokens"] == table["answer_tokens"] + 1).all()


def test_limit_and_exact_loop(workspace: Path) -> None:
    options = ["--model", "tiny", "--limit", "4", "--exact-loop", "--out", "few.parquet"]
    done = run(workspace, "score", "data.jsonl", *options)
    assert done.returncode == 0, done.stderr
    assert pd.read_parquet(workspace / "few.parquet")["row_id"].tolist() == [0, 1, 2, 4]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("score", "missing.jsonl", "--model", "tiny"), "missing.jsonl"),
        (("score", "data.jsonl", "--model", "./nowhere"), "nowhere"),
        (("probe", "data.jsonl", "--model", "tiny", "--rows", "random:1000"), "1000"),
    ],
)
def test_unusable_input_is_one_line_and_exit_code_2(workspace: Path, arguments: tuple[str, ...], words: str) -> None:
    done = run(workspace, *arguments, "--out", "never.out")
    assert done.returncode == 2
    assert done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1 and words in done.stderr
    assert not (workspace / "never.out").exists()


def test_a_learning_rate_out_of_range_is_a_usage_error_not_a_traceback(workspace: Path) -> None:
    done = run(
        workspace, "probe", "data.jsonl", "--model", "tiny", "--rows", "top:5", "--lr", "-1", "--out", "never.out"
    )
    assert done.returncode == 2 and "Traceback" not in done.stderr and "--lr" in done.stderr


def test_probe_reports_before_and_after_on_the_same_prompts(workspace: Path) -> None:
    (workspace / "ids.txt").write_text("\n".join(str(i) for i in range(12) if i not in (3, 5)))
    options = ["--prompts", "prompts.jsonl", "--epochs", "1", "--max-new-tokens", "8", "--lr", "0.001", "--seed", "3"]
    done = run(
        workspace, "probe", "data.jsonl", "--model", "tiny", "--rows", "ids.txt", *options, "--out", "probe.json"
    )
    assert done.returncode == 0, done.stderr
    result = json.loads((workspace / "probe.json").read_text())
    for side in (result["before"], result["arms"]["ids.txt"]["seeds"]["3"]):
        harmful = side["harmful_compliance"]
        assert harmful["n"] == 6 and harmful["low"] <= harmful["value"] <= harmful["high"]
    asked = [answer for answer in result["answers"] if answer["kind"] == "harmful"]
    assert len(asked) == 6 and all(a["before"]["outcome"] and len(a["after"]) == 2 for a in asked)
    assert result["settings"]["learning_rate"] == 0.001 and result["settings"]["seed"] == 3
    assert result["arms"]["ids.txt"]["rows"] <= 10
    again = run(workspace, "probe", "--from", "probe.json", "--out", "again.json")
    assert again.returncode == 0, again.stderr
    repeated = json.loads((workspace / "again.json").read_text())
    assert repeated["answers"] == result["answers"] and repeated["arms"] == result["arms"]


def test_probe_ranks_by_itself_when_no_scores_are_given(workspace: Path) -> None:
    options = ["--prompts", "prompts.jsonl", "--limit-prompts", "2", "--epochs", "1", "--max-new-tokens", "4"]
    done = run(workspace, "probe", "data.jsonl", "--model", "tiny", "--rows", "top:5", *options, "--out", "top.json")
    assert done.returncode == 0, done.stderr
    assert json.loads((workspace / "top.json").read_text())["arms"]["top:5"]["rows"] == 5


def test_every_command_and_option_explains_itself_in_the_readme(workspace: Path) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in ("score", "probe", "worker", "bench"):
        assert f"python -m core {command}" in readme
