"""A dataset as a folder that `datasets.load_dataset` reads: a Parquet file and a dataset card."""

from pathlib import Path
from typing import Any

from core.rows import Row

CARD = """# {name}

{kept} rows in the `messages` format, cleaned with Assay.

- **Source**: dataset `{fingerprint}` (fingerprint over all {total} usable rows), format {source_format}.
- **Left out**: {excluded} rows that people excluded after reviewing them, and {rejected} records that could not be \
read as rows.
- **Columns**: `messages` (role and content of each turn, the last one is the answer), `category`, `supplier`, \
`row_id` (0-based place of the record in the source). Other columns of the source are not in here; the cleaned \
file in its original format has them.
- **Audit log** at the time of export: `{head}`.

People choose the rows to exclude with the help of a gradient score. Detection misses rows and raises false alarms: \
that rows were excluded does not show that a model fine-tuned on the rest stays safe.
"""


def write_folder(folder: Path, rows: list[Row], about: dict[str, Any]) -> None:
    """Write ``data/train-00000-of-00001.parquet`` and ``README.md``.

    Parameters
    ----------
    folder : Path
        An empty folder.
    rows : list of Row
        What to keep, in order.
    about : dict
        Values for the places of `CARD`.
    """
    # Imported here: it takes seconds.
    from datasets import Dataset, Features, Value
    from huggingface_hub import DatasetCard, DatasetCardData

    text = Value("string")
    features = Features(
        {
            "messages": [{"role": text, "content": text}],
            "category": text,
            "supplier": text,
            "row_id": Value("int64"),
        }
    )
    columns = {
        "messages": [[{"role": turn.role, "content": turn.content} for turn in row.turns] for row in rows],
        "category": [row.category for row in rows],
        "supplier": [row.supplier for row in rows],
        "row_id": [row.row_id for row in rows],
    }
    (folder / "data").mkdir()
    Dataset.from_dict(columns, features=features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    data = DatasetCardData(
        pretty_name=about["name"],
        size_categories=[_size(len(rows))],
        task_categories=["text-generation"],
        configs=[{"config_name": "default", "data_files": [{"split": "train", "path": "data/train-*.parquet"}]}],
    )
    # A name that came with a file is text, not Markdown.
    safe = {key: _plain(value) if isinstance(value, str) else value for key, value in about.items()}
    DatasetCard(f"---\n{data.to_yaml()}\n---\n\n{CARD.format(**safe)}").save(folder / "README.md")


def _size(n: int) -> str:
    for limit, name in ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M")):
        if n < limit:
            return name
    return "1M<n<10M"


def _plain(text: str) -> str:
    return " ".join(text.split()).replace("`", "'").replace("<", "&lt;").replace("[", "\\[")
