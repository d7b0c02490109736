"""Which files of the server a page may read."""

import pytest

from core.errors import UserError
from core.server_files import allowed_path
from core.settings import Settings


@pytest.fixture
def settings(tmp_path):
    for name in ("data", "other", "data/.ssh", "workspace", "data/workspace"):
        (tmp_path / name).mkdir()
    for name in ("data/a.jsonl", "other/b.jsonl", "data/.env", "data/.ssh/c.csv", "data/workspace/d.jsonl"):
        (tmp_path / name).write_text("{}")
    (tmp_path / "data" / "out.jsonl").symlink_to(tmp_path / "other" / "b.jsonl")
    (tmp_path / "data" / "in.jsonl").symlink_to(tmp_path / "data" / "a.jsonl")
    (tmp_path / "data" / "loop").symlink_to(tmp_path / "data" / "loop")
    return Settings(workspace=tmp_path / "data" / "workspace", import_roots=[tmp_path / "data"])


@pytest.mark.parametrize("name", ["data/a.jsonl", "data/in.jsonl", "other/../data/a.jsonl", "data/not-there.csv"])
def test_inside_the_folders(settings, tmp_path, name):
    assert allowed_path(str(tmp_path / name), settings) == (tmp_path / name).resolve()


@pytest.mark.parametrize(
    "name",
    [
        "other/b.jsonl",
        "data/../other/b.jsonl",
        "data/out.jsonl",
        "data/.env",
        "data/.ssh/c.csv",
        "data/workspace/d.jsonl",
        "data-and-more/a.jsonl",
        "data/loop/x\x00",
    ],
)
def test_everything_else_is_refused(settings, tmp_path, name):
    with pytest.raises(UserError):
        allowed_path(str(tmp_path / name), settings)


def test_unknown_homes_and_circles_are_user_errors(settings, tmp_path):
    for text in ("~nobody-of-that-name/a.csv", "/etc/passwd", ""):
        with pytest.raises(UserError):
            allowed_path(text, settings)
