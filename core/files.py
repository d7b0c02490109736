"""Files that are either complete or not there."""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; it takes the place of `path` when the block ends well.

    Parameters
    ----------
    path : Path
        The file to write; its folder is created.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own: two processes may be writing the same file.
    temporary = path.with_name(f".{path.name}.{uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file atomically."""
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


def hash_files(*folders: Path, patterns: Iterable[str]) -> str:
    """Hash names and contents of the files in `folders` that match one of `patterns` (16 hex digits)."""
    digest = hashlib.sha256()
    for folder in dict.fromkeys(folders):
        for file in sorted(file for pattern in patterns for file in folder.glob(pattern)):
            digest.update(file.name.encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()[:16]
