"""What the commands read: a dataset by file or hub id, and the folder of its scores."""

from pathlib import Path

import pandas as pd

from core.datasets import Dataset, detect_mapping, read_dataset, read_hub, to_dataset
from core.errors import UserError
from core.i18n import N_
from core.settings import get_settings

SUFFIXES = {".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet"}


def read_data(data: str, limit: int | None = None) -> Dataset:
    """Read a file, or a dataset of the hub when there is no such file and the name does not look like one."""
    if Path(data).exists() or Path(data).suffix.lower() in SUFFIXES:
        return read_dataset(Path(data), limit=limit)
    records = read_hub(data, limit=limit)
    return to_dataset(records, detect_mapping(records), data, limit, "hub")


def scores_folder(dataset: Dataset) -> Path:
    """Return the folder that the app uses too: what one has scored the other finds."""
    return get_settings().workspace / "datasets" / str(dataset.fingerprint) / "scores"


def read_scores(path: Path) -> pd.DataFrame:
    """Read a scores file; anything but a Parquet file with ``row_id`` is a UserError."""
    try:
        table = pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise UserError(
            N_("{path} is not a scores file (Parquet with row_id and score columns): {cause}"),
            path=str(path),
            cause=str(error),
        ) from error
    if "row_id" not in table:
        raise UserError(N_("{path} has no column row_id: it is not a scores file."), path=str(path))
    return table
