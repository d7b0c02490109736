"""Tables for the pages, as plain functions of tables."""

import hashlib
import html
import re

import numpy as np
import pandas as pd

from core.i18n import N_
from core.scores import self_inf_n

SCORES = {"self_inf_n": N_("Self-Inf-N"), "self_inf": N_("Self-Inf"), "loss": N_("Loss")}
UNITS = {"tokens": N_("Tokens"), "words": N_("Words")}
# Kana, Han and their punctuation: scripts that do not put spaces between words.
_SPACELESS = re.compile(r"[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff66-\uff9f]")
PREVIEW = 240


def inspect_frame(rows: pd.DataFrame, scores: pd.DataFrame, flags: pd.DataFrame, unit: str = "tokens") -> pd.DataFrame:
    """Join rows, scores and flags; recompute Self-Inf-N in the chosen unit.

    Parameters
    ----------
    rows, scores, flags : DataFrame
        As `Store` returns them, one line a row id.
    unit : {"tokens", "words"}
        Unit of the answer length in Self-Inf-N.

    Returns
    -------
    DataFrame
        One line per row of the dataset, in dataset order; scores are missing where a row could not be scored.
    """
    drop = [c for c in scores.columns if c in rows.columns and c != "row_id"]
    frame = rows.merge(scores.drop(columns=drop), on="row_id", how="left")
    frame["self_inf_n"] = self_inf_n(frame["self_inf"], frame[f"answer_{unit}"])
    flagged = flags.loc[flags["flagged"].astype(bool), "row_id"] if len(flags) else []
    frame["flagged"] = frame["row_id"].isin(flagged)
    notes = dict(zip(flags["row_id"], flags["note"].fillna(""), strict=True)) if len(flags) else {}
    frame["note"] = [notes.get(row_id, "") for row_id in frame["row_id"]]
    frame["truncated"] = frame["truncated"].fillna(False).astype(bool)
    return frame


def prepare(rows: pd.DataFrame) -> pd.DataFrame:
    """Add what the pages need of each row's text and what takes a while over many rows.

    Returns
    -------
    DataFrame
        With the columns ``prompt_short`` and ``answer_short`` (for table cells), ``hover`` (for plotly's little HTML)
        and ``spaceless`` (whether the answer is mostly written without spaces: Japanese, Chinese).
    """
    prompt, answer = short(rows["prompt"]), short(rows["answer"])
    hover = [f"{html.escape(p[:60])}<br>→ {html.escape(a[:60])}" for p, a in zip(prompt, answer, strict=True)]
    return rows.assign(prompt_short=prompt, answer_short=answer, hover=hover, spaceless=is_spaceless(answer))


def is_spaceless(answers: pd.Series) -> pd.Series:
    """Tell which answers are mostly written without spaces (Japanese, Chinese)."""
    characters = answers.str.replace(r"\s", "", regex=True).str.len()
    return answers.str.count(_SPACELESS) > 0.3 * characters.clip(lower=1)


def matches(
    frame: pd.DataFrame,
    text: str = "",
    categories: list[str] | None = None,
    suppliers: list[str] | None = None,
    flagged: bool | None = None,
) -> pd.Series:
    """Return which lines of an inspect frame pass every given filter."""
    keep = pd.Series(True, index=frame.index)
    if text:
        needle = text.casefold()
        keep &= frame["prompt"].str.casefold().str.contains(needle, regex=False) | frame[
            "answer"
        ].str.casefold().str.contains(needle, regex=False)
    if categories:
        keep &= frame["category"].isin(categories)
    if suppliers:
        keep &= frame["supplier"].isin(suppliers)
    if flagged is not None:
        keep &= frame["flagged"] == flagged
    return keep


def ranked(frame: pd.DataFrame, score: str) -> pd.DataFrame:
    """Sort by a score, highest first, ties by row id, unscored rows last; add ``rank`` from 1."""
    order = frame.sort_values([score, "row_id"], ascending=[False, True], na_position="last", kind="stable")
    order = order.reset_index(drop=True)
    order["rank"] = np.where(order[score].notna(), np.arange(1, len(order) + 1), 0)
    return order


def table_key(row_ids: pd.Series) -> str:
    """Return a short name of an order of rows.

    A keyed table keeps its selection by position; with this in the key another order is another table.
    """
    return hashlib.sha256(row_ids.to_numpy(dtype="int64").tobytes()).hexdigest()[:16]


def short(text: pd.Series) -> pd.Series:
    """Cut texts to what a table cell can show, so that a large table stays light."""
    # Only the start matters: answers may be books.
    flat = text.str.slice(0, 4 * PREVIEW).str.replace(r"\s+", " ", regex=True).str.strip()
    return flat.where(flat.str.len() <= PREVIEW, flat.str.slice(0, PREVIEW) + "…")


def inside(x: np.ndarray, y: np.ndarray, polygon: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Tell which points lie in a polygon, by crossings.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Points.
    polygon : pair of sequences of length k
        Corner coordinates; the last joins the first.

    Returns
    -------
    ndarray of bool, shape (n,)
    """
    px, py = (np.asarray(side, dtype=float) for side in polygon)
    crossings = np.zeros(len(x), dtype=bool)
    for x0, y0, x1, y1 in zip(px, py, np.roll(px, -1), np.roll(py, -1), strict=True):
        spans = (y0 > y) != (y1 > y)
        if not spans.any():
            continue
        crossings[spans] ^= x[spans] < (x1 - x0) * (y[spans] - y0) / (y1 - y0) + x0
    return crossings


def chosen_by_shapes(
    x: np.ndarray, y: np.ndarray, selection: dict, log: tuple[bool, bool] = (False, False)
) -> np.ndarray:
    """Tell which points lie in any box or lasso of a plotly selection event.

    Parameters
    ----------
    x, y : ndarray of shape (n,)
        Points in data units, which is also how the event writes its shapes.
    selection : dict
        The event's ``selection`` with lists ``box`` and ``lasso``.
    log : pair of bool
        Which axes are logarithmic: a lasso's sides are straight on the screen, not in data units.
    """
    x, y = _on_screen(x, log[0]), _on_screen(y, log[1])
    chosen = np.zeros(len(x), dtype=bool)
    for box in selection.get("box") or []:
        x0, x1 = sorted(_on_screen(box["x"], log[0]))
        y0, y1 = sorted(_on_screen(box["y"], log[1]))
        chosen |= (x >= x0) & (x <= x1) & (y >= y0) & (y <= y1)
    for lasso in selection.get("lasso") or []:
        chosen |= inside(x, y, (_on_screen(lasso["x"], log[0]), _on_screen(lasso["y"], log[1])))
    return chosen


def _on_screen(values: np.ndarray | list[float], log: bool) -> np.ndarray:
    numbers = np.asarray(values, dtype=float)
    # A log axis does not draw what is not positive.
    return np.log10(np.where(numbers > 0, numbers, np.nan)) if log else numbers


def drawn(frame: pd.DataFrame, score: str, limit: int = 20_000) -> pd.DataFrame:
    """Return the rows a chart draws: all, or every flagged row, the 2,000 highest and a fixed random rest."""
    if len(frame) <= limit:
        return frame
    must = frame["flagged"] | frame.index.isin(frame[score].nlargest(2000).index)
    rest = frame[~must]
    room = max(0, limit - int(must.sum()))
    sample = rest.sample(min(room, len(rest)), random_state=0)
    return frame.loc[frame[must].index.union(sample.index)]


def text_key(text: str) -> str:
    """Return a short name for a text, to be part of a widget's key."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
