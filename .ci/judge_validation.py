"""Recompute the phrase judge's figures on the labelled answers and write them where the pages read them."""

import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from core.files import write_json  # noqa: E402
from core.safety.validation import FIGURES, read_labels, validate  # noqa: E402

if __name__ == "__main__":
    write_json(
        FIGURES, validate(read_labels(ROOT / "tests" / "fixtures" / "judge_labels.jsonl")).model_dump(mode="json")
    )
