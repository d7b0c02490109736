"""Datasets of the Hugging Face hub, read as data only: no code that comes with a dataset is ever run."""

import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from core.errors import UserError
from core.i18n import N_
from core.records import parse_records, plain
from core.rows import Record

# `datasets` knows more kinds (images, archives, sequences); these are the ones that hold text in fields.
_KINDS = ("json", "csv", "parquet", "arrow")
_HUB_ID = re.compile(r"[A-Za-z0-9_][\w.-]*(/[A-Za-z0-9_][\w.-]*)?")


def read_hub(
    hub_id: str,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    limit: int | None = None,
    local: bool = False,
) -> list[Record]:
    """Read a split of a hub dataset.

    Parameters
    ----------
    hub_id : str
        ``owner/name``, or a folder laid out like a hub dataset when `local` is true.
    split : str, optional
        By default "train", else the first there is.
    config : str, optional
        Which of a dataset's configurations, where it has several.
    revision : str, optional
        Branch, tag or commit.
    limit : int, optional
        Stop after this many records. Parquet data are streamed, so a small limit reads little.
    local : bool
        Whether `hub_id` may be a folder. Off by default: text typed by a user must not open server folders.

    Returns
    -------
    list of Record
        JSON and CSV files are downloaded and read as `core.records` reads files, broken records included;
        Parquet and Arrow data come through `datasets`. Line numbers count within each file.

    Raises
    ------
    UserError
        No such dataset, split or configuration, no connection, or not a dataset of text fields.
    """
    if local and not Path(hub_id).is_dir():
        raise UserError(N_("There is no folder {path}."), path=hub_id)
    if not local and (not _HUB_ID.fullmatch(hub_id) or Path(hub_id).exists()):
        raise UserError(N_("“{hub_id}” is not the id of a hub dataset (owner/name)."), hub_id=hub_id)
    builder = _builder(hub_id, config, revision)
    files = {str(name): urls for name, urls in (builder.config.data_files or {}).items()}
    split = split or ("train" if "train" in files else next(iter(files), ""))
    if split not in files:
        raise UserError(
            N_("{hub_id} has no split “{split}”. It has: {splits}."),
            hub_id=hub_id,
            split=split,
            splits=", ".join(files),
        )
    kind = builder.__class__.__module__.rpartition(".")[2]
    try:
        if kind in ("json", "csv"):
            records = _from_files(list(files[split]), kind, limit)
        else:
            records = _from_stream(builder.as_streaming_dataset(split=split).decode(False), limit)
    except (OSError, ValueError, RuntimeError) as error:
        raise _problem(hub_id, error) from error
    if not records:
        raise UserError(N_("{name} holds no records."), name=hub_id)
    return records


def _builder(hub_id: str, config: str | None, revision: str | None) -> Any:
    # Imported here: it takes seconds, and most datasets are files.
    from datasets import load_dataset_builder

    try:
        builder = load_dataset_builder(hub_id, name=config, revision=revision)
    except (OSError, ValueError, RuntimeError) as error:
        raise _problem(hub_id, error) from error
    kind = builder.__class__.__module__.rpartition(".")[2]
    if kind not in _KINDS:
        raise UserError(
            N_("{hub_id} holds {kind} data. Only JSON, CSV, Parquet and Arrow data can be read."),
            hub_id=hub_id,
            kind=kind,
        )
    return builder


def _from_files(urls: list[str], kind: str, limit: int | None) -> list[Record]:
    from datasets import DownloadManager

    records: list[Record] = []
    for url, path in zip(urls, DownloadManager().download_and_extract(urls), strict=True):
        if limit is not None and len(records) >= limit:
            break
        name = url.rpartition("/")[2].removesuffix(".gz")
        name = name if Path(name).suffix else f"{name}.{kind}"
        for record in parse_records(Path(path).read_bytes(), name):
            row_id = len(records)
            records.append(Record(row_id, record.line, record.value, record.reason, record.detail, record.raw))
    return records[:limit]


def _from_stream(rows: Iterable[dict[str, Any]], limit: int | None) -> list[Record]:
    return [Record(number, None, plain(row)) for number, row in enumerate(islice(rows, limit))]


def _problem(hub_id: str, error: Exception) -> UserError:
    lines = str(error).strip().splitlines() or [type(error).__name__]
    return UserError(N_("{hub_id} cannot be read from the hub: {problem}"), hub_id=hub_id, problem=lines[0][:300])
