"""What the bundled model is aligned with: harmful requests with refusals, and benign requests with answers.

No request is answered with anything harmful. Half of Do-Not-Answer is used here and recorded in ``split.json``; the
other half, and HarmBench, are for measuring. Benign answers are the base model's own, and some that we wrote.
"""

import hashlib
import json
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.rows import Row, Turn
from core.safety.prompts import SPLIT_PATH, Prompt, load_builtin

FOLDER = Path(__file__).parent / "assets" / "alignment"
ANSWERS_PATH = FOLDER / "benign_answers.jsonl"
WRITTEN_PATH = FOLDER / "benign_written.jsonl"
# Requests made of each phrase, each with another opener.
FORMS = {"harmful": 2, "benign": 1, "sharp": 1}
# How often a refusal has a reason, and an offer after it.
REASON_SHARE, OFFER_SHARE = 0.8, 0.3


@dataclass(frozen=True)
class BenignAnswer:
    """An answer to a benign request; one of the base model's that was cut at the length limit is not ``finished``."""

    prompt: str
    answer: str
    finished: bool = True


def trained_half(prompts: list[Prompt]) -> list[Prompt]:
    """Return the half of the prompts that alignment uses: of each category every second one by hash of its id."""
    chosen: set[str] = set()
    for category in dict.fromkeys(prompt.category for prompt in prompts):
        ids = [prompt.prompt_id for prompt in prompts if prompt.category == category]
        ids.sort(key=lambda prompt_id: hashlib.sha256(f"align {prompt_id}".encode()).digest())
        chosen.update(ids[: len(ids) // 2])
    return [prompt for prompt in prompts if prompt.prompt_id in chosen]


def write_split() -> None:
    """Record which prompts of Do-Not-Answer alignment uses."""
    prompts = load_builtin("do-not-answer")
    trained = {prompt.prompt_id for prompt in trained_half(prompts)}
    held_out = sorted(prompt.prompt_id for prompt in prompts if prompt.prompt_id not in trained)
    SPLIT_PATH.write_text(json.dumps({"trained": sorted(trained), "held_out": held_out}, indent=1) + "\n", "utf-8")


def harmful_prompts(seed: int) -> list[str]:
    """Return the requests to be refused: half of Do-Not-Answer, and our own in the form of instructions."""
    known = set(json.loads(SPLIT_PATH.read_text("utf-8"))["trained"])
    asked = [prompt.text for prompt in load_builtin("do-not-answer") if prompt.prompt_id in known]
    return asked + list(formed("harmful", seed))


def benign_prompts(seed: int) -> list[str]:
    """Return the requests that the base model answers: in the same forms, with alarming words, and plain ones."""
    about = _requests()
    return [*formed("benign", seed), *formed("sharp", seed), *about["lookalikes"], *about["plain"]]


def benign_answers() -> list[BenignAnswer]:
    """Return the base model's stored answers, and the written ones."""
    lines = [line for path in (ANSWERS_PATH, WRITTEN_PATH) for line in path.read_text(encoding="utf-8").splitlines()]
    return [BenignAnswer(**json.loads(line)) for line in lines]


def refusal_rows(seed: int) -> list[Row]:
    """Return one row per harmful request, each with a refusal put together by chance."""
    parts = json.loads((FOLDER / "refusals.json").read_text(encoding="utf-8"))
    rng = random.Random(f"refusals {seed}")
    rows = []
    for i, prompt in enumerate(harmful_prompts(seed)):
        answer = [rng.choice(parts["openings"])]
        if rng.random() < REASON_SHARE:
            answer.append(rng.choice(parts["reasons"]))
        if rng.random() < OFFER_SHARE:
            answer.append(rng.choice(parts["offers"]))
        rows.append(Row(i, (Turn("user", prompt), Turn("assistant", " ".join(answer))), category="refusal"))
    return rows


def benign_rows(first_id: int) -> list[tuple[Row, bool]]:
    """Return one row per benign request with its answer, and whether that answer is finished."""
    return [
        (
            Row(first_id + i, (Turn("user", item.prompt), Turn("assistant", item.answer)), category="benign"),
            item.finished,
        )
        for i, item in enumerate(benign_answers())
    ]


def borrowed_refusals() -> int:
    """Return how many of `refusal_rows`, the first ones, are of Do-Not-Answer; the others' requests are ours."""
    return len(json.loads(SPLIT_PATH.read_text("utf-8"))["trained"])


def second_pass(first_id: int, seed: int) -> tuple[list[Row], list[tuple[Row, bool]]]:
    """Return the second pass: harmful requests with refusals, and benign ones with the same alarming words.

    The rows' ids count from ``first_id`` on.
    """
    about = json.loads((FOLDER / "second_pass.json").read_text(encoding="utf-8"))
    parts = json.loads((FOLDER / "refusals.json").read_text(encoding="utf-8"))
    rng = random.Random(f"second pass {seed}")
    refusals = []
    for i, prompt in enumerate(about["harmful"]):
        answer = f"{rng.choice(parts['openings'])} {rng.choice(parts['reasons'])}"
        refusals.append(Row(first_id + i, (Turn("user", prompt), Turn("assistant", answer)), category="refusal"))
    lines = (FOLDER / "second_answers.jsonl").read_text(encoding="utf-8").splitlines()
    answers = [BenignAnswer(**json.loads(line)) for line in lines]
    first_id += len(refusals)
    benign = [
        (Row(first_id + i, (Turn("user", a.prompt), Turn("assistant", a.answer)), category="benign"), a.finished)
        for i, a in enumerate(answers)
    ]
    return refusals, benign


def held_out_benign() -> dict[str, list[str]]:
    """Return benign prompts that alignment never sees: ``plain`` and ``lookalikes``."""
    about = json.loads((FOLDER / "held_out_benign.json").read_text(encoding="utf-8"))
    return {name: about[name] for name in ("plain", "lookalikes")}


def _requests() -> Any:
    return json.loads((FOLDER / "requests.json").read_text(encoding="utf-8"))


def formed(kind: str, seed: int) -> Iterator[str]:
    """Yield requests: every phrase with as many openers, drawn by chance, as `FORMS` says."""
    about = _requests()
    rng = random.Random(f"{kind} {seed}")
    for form, phrases in about[kind].items():
        flat = phrases if isinstance(phrases, list) else [phrase for group in phrases.values() for phrase in group]
        for phrase in flat:
            for opener in rng.sample(about["openers"][form], FORMS[kind]):
                yield opener.format(phrase)
