import os
from pathlib import Path

import pytest
from pydantic import ValidationError

from core.settings import Settings, get_settings


@pytest.fixture(autouse=True)
def no_variables(monkeypatch):
    for name in [name for name in os.environ if name.startswith("ASSAY_")]:
        monkeypatch.delenv(name)
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


def test_defaults_put_both_databases_into_the_workspace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = Settings()
    assert settings.workspace == tmp_path / "workspace"
    assert settings.database_url == f"sqlite:///{tmp_path}/workspace/assay.db"
    assert settings.jobs_url == f"sqlite:///{tmp_path}/workspace/jobs.db"
    assert (settings.max_length, settings.truncate, settings.length_unit) == (512, "prompt", "tokens")
    assert settings.default_model == "bundled"


def test_import_is_allowed_from_one_folder_by_default(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert Settings().import_roots == [tmp_path / "data"]


def test_nobody_becomes_an_admin_by_signing_in(monkeypatch):
    assert Settings().default_role == "none"
    monkeypatch.setenv("ASSAY_DEFAULT_ROLE", "admin")
    with pytest.raises(ValidationError):
        Settings()


def test_environment_variables_override_defaults(tmp_path, monkeypatch):
    monkeypatch.setenv("ASSAY_WORKSPACE", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("ASSAY_DATABASE_URL", "postgresql://host/assay")
    monkeypatch.setenv("ASSAY_MAX_LENGTH", "64")
    monkeypatch.setenv("ASSAY_IMPORT_ROOTS", os.pathsep.join(["/data", str(tmp_path)]))
    settings = Settings()
    assert settings.database_url == "postgresql://host/assay"
    assert settings.jobs_url == f"sqlite:///{tmp_path}/elsewhere/jobs.db"
    assert settings.max_length == 64
    assert settings.import_roots == [Path("/data"), tmp_path]


def test_an_empty_variable_means_the_default(monkeypatch):
    monkeypatch.setenv("ASSAY_JOBS_URL", "")
    assert Settings().jobs_url.startswith("sqlite:///")


@pytest.mark.parametrize("name, value", [("ASSAY_TRUNCATE", "middle"), ("ASSAY_TOKEN_BUDGET", "0")])
def test_a_wrong_value_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        Settings()


def test_get_settings_reads_the_environment_once():
    assert get_settings() is get_settings()
