"""What a probe trains on: an arm's name as a person writes it, and the rows that it draws for a seed.

Every arm of a probe trains on equally many rows, so that arms differ in *which* rows they hold and in nothing else.
"""

import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict
from scipy.sparse import coo_array
from scipy.sparse.csgraph import maximum_bipartite_matching, min_weight_full_bipartite_matching

from core.errors import UserError
from core.i18n import N_
from core.rows import Row
from core.scores import top_k
from core.selection import read_ids

_T = TypeVar("_T")

FLAGGED, AS_IS, CLEANED, MATCHED, MITIGATED = "flagged", "as-is", "cleaned", "length-matched", "mitigated"
TOP, BOTTOM, RANDOM, TASK, IDS = "top", "bottom", "random", "task", "ids"
DEFAULT_SCORE = "self_inf_n"
DEFAULT_SHARE = 0.2
# A match may differ by a tenth of the supervised tokens, and by one at most where that is less than one.
TOLERANCE = 0.1
# Candidates looked at for each row that wants a match: enough for variety, few enough for a large dataset.
CANDIDATES = 200
OVERRIDES = {"lr": "learning_rate", "epochs": "epochs", "k": "rows"}


class ArmSpec(BaseModel):
    """One arm as it was asked for.

    Parameters
    ----------
    name : str
        As written: the arm's key in results. `base` is the name without its overrides.
    kind : str
        flagged, as-is, cleaned, length-matched, mitigated, top, bottom, random, task or ids.
    score, k : str, int or None
        Of ``top`` and ``bottom``; ``k`` also of ``random``.
    share : float
        Part of a mitigated arm that is replaced by safety rows.
    controls : str or None
        Arm that a length-matched arm is the control of; None: the first arm of chosen rows.
    path : str
        File of ``task`` (rows) or ``ids`` (row ids, one a line).
    overrides : dict
        Settings of this arm alone: learning_rate, epochs, rows.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    base: str
    kind: str
    score: str = DEFAULT_SCORE
    k: int | None = None
    share: float = DEFAULT_SHARE
    controls: str | None = None
    path: str = ""
    overrides: dict[str, float] = {}

    @property
    def chosen(self) -> bool:
        """Whether the arm's rows are chosen one by one rather than drawn."""
        return self.kind in (FLAGGED, TOP, BOTTOM, IDS)


@dataclass(frozen=True)
class Pool:
    """Where arms draw from.

    Parameters
    ----------
    rows : mapping of row id to Row
        Rows that may be trained on: encodable by the model and not held out.
    tokens : mapping of row id to int
        Their supervised tokens at the probe's own length.
    flagged : sequence of int
        Rows marked for exclusion.
    scores : DataFrame or None
        ``row_id`` and score columns.
    ids : mapping of path to row ids
        Files of ``ids`` arms, read.
    task, safety : sequence of Row
        Rows of a task file; rows for ``mitigated``, with negative row ids.
    """

    rows: Mapping[int, Row]
    tokens: Mapping[int, int]
    flagged: Sequence[int] = ()
    scores: pd.DataFrame | None = None
    ids: Mapping[str, Sequence[int]] = field(default_factory=dict)
    task: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    safety: Sequence[Row] = ()


def parse_arms(text: str | Sequence[str]) -> list[ArmSpec]:
    """Read a list of arms (``flagged,length-matched,as-is``); a repeated name is an error."""
    parts = text.split(",") if isinstance(text, str) else list(text)
    arms = [parse_arm(part) for part in parts if part.strip()]
    names = [arm.name for arm in arms]
    if not arms:
        raise UserError(N_("Name at least one arm, for example flagged,length-matched,as-is."))
    for name in names:
        if names.count(name) > 1:
            raise UserError(N_("The arm {name} is there twice."), name=name)
    return arms


def parse_arm(text: str) -> ArmSpec:
    """Read one arm: ``KIND[:…][@lr=…][@epochs=…][@k=…]``, or the path of a file with row ids.

    Raises
    ------
    UserError
        When a number or an override cannot be read.
    """
    base, *overrides = text.strip().split("@")
    kind, _, rest = base.partition(":")
    kind = kind.lower()
    about = {"name": text.strip(), "base": base, "kind": kind, "overrides": _overrides(text, overrides)}
    if kind in (FLAGGED, AS_IS, CLEANED) and not rest:
        return ArmSpec.model_validate(about)
    if kind == MATCHED:
        return ArmSpec.model_validate(about | {"controls": rest or None})
    if kind == MITIGATED:
        return ArmSpec.model_validate(about | {"share": _share(text, rest) if rest else DEFAULT_SHARE})
    if kind in (TOP, BOTTOM):
        first, _, second = rest.partition(":")
        score, k = (first, second) if second or (kind == BOTTOM and first and not first.isdecimal()) else ("", first)
        return ArmSpec.model_validate(
            about | {"score": score or DEFAULT_SCORE, "k": _count(text, k) if k or kind == TOP else None}
        )
    if kind == RANDOM:
        return ArmSpec.model_validate(about | {"k": _count(text, rest)})
    if kind == TASK and rest:
        return ArmSpec.model_validate(about | {"path": rest})
    return ArmSpec.model_validate(about | {"kind": IDS, "path": base})


def expand_dose(arms: Sequence[ArmSpec], dose: str) -> list[ArmSpec]:
    """Turn every arm into one arm a dose: ``k=25,50,100``, ``lr=1e-4,1e-3`` or ``epochs=1,3,5``; cheap ones first."""
    name, _, values = dose.partition("=")
    if name.strip() not in OVERRIDES or not values:
        raise UserError(N_("{dose} is not a dose: write k=25,50,100, lr=1e-4,1e-3 or epochs=1,3."), dose=dose)
    points = [value.strip() for value in values.split(",") if value.strip()]
    made = [parse_arm(f"{arm.name}@{name.strip()}={value}") for arm in arms for value in points]
    return sorted(made, key=lambda arm: [arm.overrides.get(key, 0) for key in ("rows", "epochs", "learning_rate")])


def arm_size(arms: Sequence[ArmSpec], pool: Pool, most: int) -> int:
    """Return how many rows each arm trains on: as many as the arms of chosen rows hold, at most ``most``.

    Raises
    ------
    UserError
        When arms of chosen rows differ in size.
    """
    sizes = {arm.base: len(_chosen(arm, pool)) for arm in arms if arm.chosen and (arm.k or arm.kind != BOTTOM)}
    sizes |= {arm.base: arm.k for arm in arms if arm.kind == RANDOM and arm.k}
    if MITIGATED in {arm.kind for arm in arms} and not any(arm.kind == FLAGGED for arm in arms):
        sizes[MITIGATED] = len(_flagged(pool))
    sizes = {name: min(size, most) for name, size in sizes.items()}
    smallest, largest = min(sizes, key=sizes.__getitem__, default=""), max(sizes, key=sizes.__getitem__, default="")
    if sizes and sizes[smallest] != sizes[largest]:
        raise UserError(
            N_(
                "All arms train on equally many rows, but {first} has {n} and {second} has {m}. "
                "Choose equally many, or limit the rows per arm to {n}."
            ),
            first=smallest,
            n=sizes[smallest],
            second=largest,
            m=sizes[largest],
        )
    return sizes[smallest] if sizes else min(most, len(pool.rows))


def draw(arm: ArmSpec, arms: Sequence[ArmSpec], pool: Pool, size: int, seed: int) -> list[Row]:
    """Return the rows that an arm trains on with this seed, by row id.

    Random parts are drawn anew for each seed, and alike for arms that differ in their overrides alone; of two doses
    ``k`` the smaller one's rows are among the larger one's.

    Parameters
    ----------
    arm : ArmSpec
    arms : sequence of ArmSpec
        All arms of the probe: a length-matched one needs the arm that it controls.
    pool : Pool
    size : int
        As `arm_size` gives it; the arm's own override ``k`` goes before it.
    seed : int

    Raises
    ------
    UserError
        When there are too few rows, or too few of like length.
    """
    size = int(arm.overrides.get("rows", size))
    rng = random.Random(f"{seed} {arm.base}")
    if arm.kind == TASK:
        return _drawn(arm, list(pool.task[arm.path]), size, rng)
    if arm.kind == MITIGATED:
        return _mitigated(arm, pool, size, rng)
    if arm.chosen:
        ids = _chosen(arm, pool, size)
        # Scores say which come first; without an order a larger set is thinned by chance.
        picked = ids[:size] if arm.kind in (TOP, BOTTOM) else _shuffled(ids, rng)[:size]
        if len(picked) < size:
            raise too_few(arm, size, len(picked))
        return _rows(pool, picked)
    if arm.kind == MATCHED:
        controlled = controlled_arm(arm, arms)
        targets = [row.row_id for row in draw(controlled, arms, pool, size, seed)]
        return _rows(pool, _matched(arm, controlled, pool, targets, rng))
    barred = set(pool.flagged) if arm.kind == CLEANED else set()
    return _drawn(arm, [row for row_id, row in sorted(pool.rows.items()) if row_id not in barred], size, rng)


def controlled_arm(arm: ArmSpec, arms: Sequence[ArmSpec]) -> ArmSpec:
    """Return the arm that a length-matched arm is the control of."""
    if arm.controls:
        return parse_arm(arm.controls)
    for other in arms:
        if other.chosen and other.kind != BOTTOM:
            return other.model_copy(update={"overrides": {}, "name": other.base})
    raise UserError(
        N_("{name} is a control and needs an arm to control: name one, for example flagged."), name=arm.name
    )


def _chosen(arm: ArmSpec, pool: Pool, size: int | None = None) -> list[int]:
    if arm.kind == FLAGGED:
        return _flagged(pool)
    if arm.kind == IDS:
        return [row_id for row_id in dict.fromkeys(pool.ids[arm.path]) if row_id in pool.rows]
    if pool.scores is None:
        raise UserError(N_("{spec} needs scores: give a scores file, or score the dataset first."), spec=arm.name)
    if arm.score not in pool.scores:
        raise UserError(N_("There is no score called {score}."), score=arm.score)
    usable = pool.scores[pool.scores["row_id"].isin(list(pool.rows)) & np.isfinite(pool.scores[arm.score])]
    k = arm.k or size or len(usable)
    if arm.kind == BOTTOM:
        usable = usable.assign(**{arm.score: -usable[arm.score]})
    if k > len(usable):
        raise too_few(arm, k, len(usable))
    return top_k(usable, arm.score, k)


def _flagged(pool: Pool) -> list[int]:
    found = [row_id for row_id in dict.fromkeys(pool.flagged) if row_id in pool.rows]
    if not found:
        raise UserError(N_("No usable row is flagged: flag rows first, or name them with --flagged."))
    return found


def _mitigated(arm: ArmSpec, pool: Pool, size: int, rng: random.Random) -> list[Row]:
    replaced = round(arm.share * size)
    if replaced > len(pool.safety):
        raise UserError(
            N_("{name} needs {k} safety rows, but there are {n}."), name=arm.name, k=replaced, n=len(pool.safety)
        )
    flagged = _shuffled(_flagged(pool), rng)
    if len(flagged) < size - replaced:
        raise too_few(arm, size, len(flagged))
    safety = sorted(rng.sample(list(pool.safety), replaced), key=lambda row: -row.row_id)
    return _rows(pool, flagged[: size - replaced]) + safety


def _drawn(arm: ArmSpec, rows: list[Row], size: int, rng: random.Random) -> list[Row]:
    if len(rows) < size:
        raise too_few(arm, size, len(rows))
    return sorted(_shuffled(rows, rng)[:size], key=lambda row: row.row_id)


def _matched(arm: ArmSpec, controlled: ArmSpec, pool: Pool, targets: list[int], rng: random.Random) -> list[int]:
    """Match each target with another, unflagged row of like supervised length, by chance among all that fit."""
    barred = set(pool.flagged) | set(targets)
    free = _shuffled([row_id for row_id in sorted(pool.rows) if row_id not in barred], rng)
    lengths = np.array([pool.tokens[row_id] for row_id in free], dtype=np.int64)
    lines: list[int] = []
    columns: list[int] = []
    for line, target in enumerate(targets):
        length = pool.tokens[target]
        fitting = np.flatnonzero(np.abs(lengths - length) <= max(1.0, TOLERANCE * length))
        # The closest lengths first, in the order of the shuffle among equals.
        closest = fitting[np.argsort(np.abs(lengths[fitting] - length), kind="stable")][:CANDIDATES]
        lines += [line] * len(closest)
        columns += closest.tolist()
    shape = (len(targets), len(free))
    places = (np.array(lines, dtype=np.int32), np.array(columns, dtype=np.int32))
    wanted = np.array([pool.tokens[target] for target in targets])
    gaps = np.abs(lengths[places[1]] - wanted[places[0]]) + 1e-3 * (1 + places[1] / max(1, len(free)))
    graph = coo_array((gaps, places), shape=shape).tocsr()
    partners = maximum_bipartite_matching(graph, perm_type="column") if lines else np.full(len(targets), -1)
    if (partners < 0).any():
        raise UserError(
            N_(
                "{name}: only {n} of the {k} rows of {controlled} have an unflagged row of the same length "
                "(within {tolerance}, at least 1 token). Train on fewer rows, or leave this control out."
            ),
            name=arm.name,
            n=int((partners >= 0).sum()),
            k=len(targets),
            controlled=controlled.base,
            tolerance=f"{TOLERANCE:.0%}",
        )
    _, best = min_weight_full_bipartite_matching(graph)
    return [free[column] for column in best.tolist()]


def _rows(pool: Pool, ids: Sequence[int]) -> list[Row]:
    return [pool.rows[row_id] for row_id in sorted(ids)]


def _shuffled(items: Sequence[_T], rng: random.Random) -> list[_T]:
    shuffled = list(items)
    rng.shuffle(shuffled)
    return shuffled


def _overrides(text: str, parts: Sequence[str]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        name, _, value = part.partition("=")
        try:
            number = float(value)
        except ValueError:
            number = 0.0
        if name not in OVERRIDES or number <= 0 or (name != "lr" and number != int(number)):
            raise UserError(
                N_("{text}: {part} is not an override; write @lr=1e-3, @epochs=3 or @k=50."), text=text, part=part
            )
        found[OVERRIDES[name]] = number
    return found


def _count(text: str, value: str) -> int:
    if not re.fullmatch(r"0*[1-9][0-9]*", value.strip()):
        raise UserError(
            N_("{spec} does not say how many rows: write for example top:100 or top:self_inf:100."), spec=text.strip()
        )
    return int(value)


def _share(text: str, value: str) -> float:
    try:
        share = float(value)
    except ValueError:
        share = -1.0
    if not 0 < share < 1:
        raise UserError(N_("{spec}: the share of safety rows is a number between 0 and 1."), spec=text)
    return share


def too_few(arm: ArmSpec, k: int, n: int) -> UserError:
    """Say that an arm has fewer rows than asked for."""
    return UserError(
        N_("{spec} asks for {k} rows, but only {n} can be chosen (held-out rows never are)."), spec=arm.name, k=k, n=n
    )


def files_of(arms: Sequence[ArmSpec]) -> dict[str, list[int]]:
    """Read the row-id files of ``ids`` arms."""
    return {arm.path: read_ids(Path(arm.path)) for arm in arms if arm.kind == IDS}
