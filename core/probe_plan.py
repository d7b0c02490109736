"""What a probe will do, settled before anything is trained: prompts, held-out rows, and the rows of every fine-tune."""

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core import arms as arms_
from core.arms import ArmSpec, Pool
from core.datasets import read_dataset
from core.encoding import EncodedRow, encode_rows
from core.errors import UserError
from core.i18n import N_
from core.models import LoadedModel
from core.probe_settings import SEEDS_CPU, SEEDS_GPU, ProbeSettings
from core.rows import RejectedRow, Row
from core.safety import prompts as safety_prompts
from core.safety.prompts import Prompt
from core.safety.safety_rows import built_in_safety_rows


@dataclass(frozen=True)
class PlannedRun:
    """One fine-tune: an arm with a seed.

    Parameters
    ----------
    key : str
        Content address of its result: model, recipe, rows, seed, test (16 hex digits). Equal work has an equal key,
        in whichever probe.
    settings : ProbeSettings
        The probe's, with the arm's overrides and this seed.
    """

    arm: ArmSpec
    seed: int
    rows: tuple[EncodedRow, ...]
    settings: ProbeSettings
    key: str


@dataclass(frozen=True)
class Plan:
    """A whole probe.

    Parameters
    ----------
    runs : tuple of PlannedRun
        In the order in which they are done: seed by seed, so that a probe cut short has every arm.
    baseline : str
        Content address of the measurement before.
    benign, task : tuple of EncodedRow
        Rows that are measured on, never trained on; `benign_rows` has the benign ones' texts.
    left_out : tuple of RejectedRow
        Rows that this model cannot be trained on.
    held_out : int
        Flagged rows that are held out for measuring.
    """

    loaded: LoadedModel
    settings: ProbeSettings
    arms: tuple[ArmSpec, ...]
    seeds: tuple[int, ...]
    size: int
    runs: tuple[PlannedRun, ...]
    baseline: str
    prompts: tuple[Prompt, ...]
    rejected_prompts: tuple[RejectedRow, ...]
    benign: tuple[EncodedRow, ...]
    benign_rows: tuple[Row, ...]
    task: tuple[EncodedRow, ...]
    left_out: tuple[RejectedRow, ...]
    held_out: int
    flagged: tuple[int, ...]

    def run(self, key: str) -> PlannedRun:
        """Return the fine-tune with this key; a missing one is a KeyError."""
        return {run.key: run for run in self.runs}[key]


def plan_probe(
    loaded: LoadedModel,
    settings: ProbeSettings,
    rows: Sequence[Row],
    holdout: Collection[int],
    flagged: Sequence[int] = (),
    scores: pd.DataFrame | None = None,
) -> Plan:
    """Settle a probe.

    Parameters
    ----------
    loaded : LoadedModel
        The model to be probed.
    settings : ProbeSettings
    rows : sequence of Row
        All usable rows of the dataset.
    holdout : collection of int
        Ids of the benign rows that nothing is trained on.
    flagged : sequence of int
        Ids of the rows marked for exclusion.
    scores : DataFrame, optional
        ``row_id`` and score columns, for arms by score.

    Raises
    ------
    UserError
        When an arm cannot be drawn, a held-out row would be trained on, or a file cannot be read.
    """
    specs = tuple(arms_.parse_arms(settings.arms))
    seeds = tuple(settings.seed + i for i in range(settings.seeds or default_seeds(loaded)))
    harmful, rejected = load_prompts(settings)
    benign_rows = choose_benign([row for row in rows if row.row_id in holdout], settings)
    benign, _ = encode_rows(benign_rows, loaded.tokenizer, settings.max_length, settings.truncate)
    usable = {row.row_id for row in benign}
    task_rows = _read_rows(settings.task_file) if settings.task_file else []
    task, _ = encode_rows(task_rows, loaded.tokenizer, settings.max_length, settings.truncate)
    free = [row for row in rows if row.row_id not in holdout]
    encoded, left_out = encode_rows(free, loaded.tokenizer, settings.max_length, settings.truncate)
    by_id = {row.row_id: row for row in encoded}
    pool = Pool(
        rows={row.row_id: row for row in free if row.row_id in by_id},
        tokens={row.row_id: row.supervised_tokens for row in encoded},
        flagged=tuple(flagged),
        scores=scores,
        ids=arms_.files_of(specs),
        task={arm.path: _read_rows(arm.path) for arm in specs if arm.kind == arms_.TASK},
        safety=_safety_rows(specs, settings, harmful),
    )
    size = arms_.arm_size(specs, pool, settings.rows)
    baseline = baseline_key(loaded.model_id, settings, harmful, benign_rows, task_rows)
    held = {row.row_hash for row in (*benign_rows, *task_rows)}
    runs = []
    for seed in seeds:
        for arm in specs:
            drawn = arms_.draw(arm, specs, pool, size, seed)
            _refuse_held_out(arm, drawn, held)
            runs.append(_planned(loaded, settings, arm, seed, drawn, by_id, baseline))
    return Plan(
        loaded=loaded,
        settings=settings,
        arms=specs,
        seeds=seeds,
        size=size,
        runs=tuple(runs),
        baseline=baseline,
        prompts=tuple(harmful),
        rejected_prompts=tuple(rejected),
        benign=tuple(benign),
        benign_rows=tuple(row for row in benign_rows if row.row_id in usable),
        task=tuple(task),
        left_out=tuple(left_out),
        held_out=len(set(flagged) & set(holdout)),
        flagged=tuple(sorted(set(flagged))),
    )


def waves(plan: Plan) -> list[list[PlannedRun]]:
    """Return the fine-tunes in the order of their cost: of each arm the cheapest dose first, all else at once."""
    doses: dict[str, list[str]] = {}
    for arm in sorted(plan.arms, key=_cost(plan)):
        doses.setdefault(arm.base, []).append(arm.name)
    places = {name: place for names in doses.values() for place, name in enumerate(names)}
    return [[run for run in plan.runs if places[run.arm.name] == i] for i in range(max(places.values()) + 1)]


def _cost(plan: Plan) -> Callable[[ArmSpec], tuple[float, float]]:
    def cost(arm: ArmSpec) -> tuple[float, float]:
        settings = plan.settings.model_dump() | {"rows": plan.size} | arm.overrides
        return settings["rows"] * settings["epochs"], settings["learning_rate"]

    return cost


def default_seeds(loaded: LoadedModel) -> int:
    """Return how many seeds an arm gets unless asked otherwise."""
    return SEEDS_GPU if loaded.model.device.type == "cuda" else SEEDS_CPU


def load_prompts(settings: ProbeSettings) -> tuple[list[Prompt], list[RejectedRow]]:
    """Load the harmful prompts that the settings ask for; the draw is the same for every seed."""
    found, rejected = safety_prompts.load(settings.prompt_source)
    return safety_prompts.subset(found, settings.limit_prompts), rejected


def choose_benign(holdout_rows: Sequence[Row], settings: ProbeSettings) -> list[Row]:
    """Choose the held-out rows to measure on, by content, so that the choice never changes."""
    ordered = sorted(holdout_rows, key=lambda row: (row.row_hash, row.row_id))
    return sorted(ordered[: settings.limit_benign], key=lambda row: row.row_id)


def baseline_key(
    model_id: str,
    settings: ProbeSettings,
    prompts: Sequence[Prompt],
    benign_rows: Sequence[Row],
    task_rows: Sequence[Row] = (),
) -> str:
    """Hash everything that decides what is measured before the fine-tune (16 hex digits)."""
    parts = [model_id, settings.test_key(), safety_prompts.set_hash(prompts), settings.judge_key()]
    parts += [f"{row.row_id} {row.row_hash}" for row in (*benign_rows, *task_rows)]
    # Another release may round differently, and greedy answers then part ways.
    parts += [f"{name} {version(name)}" for name in ("torch", "transformers")]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def version(package: str) -> str:
    """Return the installed version of a package."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "not installed"


def _planned(
    loaded: LoadedModel,
    settings: ProbeSettings,
    arm: ArmSpec,
    seed: int,
    drawn: Sequence[Row],
    encoded: dict[int, EncodedRow],
    baseline: str,
) -> PlannedRun:
    strangers = [row for row in drawn if arm.kind == arms_.TASK or row.row_id not in encoded]
    others, unusable = encode_rows(strangers, loaded.tokenizer, settings.max_length, settings.truncate)
    if unusable:
        raise UserError(
            N_("Arm {name}: row {row_id} cannot be used with this model: {reason}."),
            name=arm.name,
            row_id=unusable[0].row_id,
            reason=unusable[0].reason,
        )
    lookup = encoded | {row.row_id: row for row in others}
    overrides = {name: type(getattr(settings, name))(value) for name, value in arm.overrides.items()}
    own = settings.model_copy(update={**overrides, "seed": seed})
    content = {
        "baseline": baseline,
        "recipe": own.recipe(),
        "seed": seed,
        "max_length": own.max_length,
        "rows": [row.row_hash for row in drawn],
    }
    key = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]
    return PlannedRun(arm, seed, tuple(lookup[row.row_id] for row in drawn), own, key)


def _refuse_held_out(arm: ArmSpec, drawn: Sequence[Row], held: set[str]) -> None:
    if clash := [row.row_id for row in drawn if row.row_hash in held]:
        raise UserError(
            N_("Row {row_id} of arm {name} is held out for measuring and cannot be trained on."),
            row_id=clash[0],
            name=arm.name,
        )


def _safety_rows(specs: Sequence[ArmSpec], settings: ProbeSettings, prompts: Sequence[Prompt]) -> list[Row]:
    """Rows for mitigated arms: harmful requests with a refusal, none of them asked in the test."""
    if not any(arm.kind == arms_.MITIGATED for arm in specs):
        return []
    found = _read_rows(settings.safety_file) if settings.safety_file else built_in_safety_rows()
    asked = {prompt.text.strip() for prompt in prompts}
    kept = [row for row in found if row.prompt.strip() not in asked]
    return [Row(-1 - i, row.turns, row.category, row.supplier) for i, row in enumerate(kept)]


def _read_rows(path: str) -> list[Row]:
    if not Path(path).is_file():
        raise UserError(N_("There is no file {path}."), path=path)
    return read_dataset(Path(path)).rows
