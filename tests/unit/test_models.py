"""Which models load, and how those that do not say so."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import LoraConfig, get_peft_model

from core import models
from core.errors import UserError
from core.settings import Settings
from tests.tiny import tiny_model, tiny_model_folder, tiny_tokenizer


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(workspace=tmp_path / "workspace")


def test_a_folder_loads_frozen_with_an_id_of_its_content(tmp_path: Path, settings: Settings) -> None:
    one = models.load(str(tiny_model_folder(tmp_path, name="one")), settings)
    same = models.load(str(tiny_model_folder(tmp_path, name="same")), settings)
    other = models.load(str(tiny_model_folder(tmp_path, name="other", seed=1)), settings)
    assert one.model_id == same.model_id != other.model_id
    assert one.name == "one" and one.template == "own"
    assert one.parameters == sum(p.numel() for p in one.model.parameters())
    assert not any(p.requires_grad for p in one.model.parameters())


def test_a_tokenizer_without_a_chat_template_gets_the_fallback_and_says_so(tmp_path: Path, settings: Settings) -> None:
    loaded = models.load(str(tiny_model_folder(tmp_path, chat_template=None)), settings)
    assert loaded.template == "fallback"
    assert loaded.tokenizer.chat_template == models.FALLBACK_TEMPLATE


def tiny_adapter(folder: Path, base: Path, settings: Settings, seed: int = 1) -> Any:
    """Write a random LoRA adapter that names its base, and return the network with it."""
    torch.manual_seed(seed)
    adapted = get_peft_model(
        models.load(str(base), settings).model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapted.save_pretrained(folder)
    config = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    return adapted


def test_a_lora_folder_is_merged_into_its_base(tmp_path: Path, settings: Settings) -> None:
    base = tiny_model_folder(tmp_path, name="base")
    adapter = tmp_path / "adapter"
    adapted = tiny_adapter(adapter, base, settings)
    merged = models.load(str(adapter), settings)
    plain = models.load(str(base), settings)
    ids = torch.arange(10)[None]
    assert merged.model_id != plain.model_id
    assert not torch.allclose(merged.model(ids).logits, plain.model(ids).logits)
    assert torch.allclose(merged.model(ids).logits, adapted(ids).logits, atol=1e-5)
    assert type(merged.model) is type(plain.model)


def test_the_bundled_model_is_the_base_with_the_adapter_merged_once_per_adapter(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A tiny model where the unpacked base would be, and a tiny adapter for it.
    base = tiny_model_folder(settings.workspace / "models", name=models.BUNDLED_FOLDER)
    adapter = tmp_path / "adapter"
    adapted = tiny_adapter(adapter, base, settings)
    monkeypatch.setattr(models, "ADAPTER", adapter)
    aligned, plain = models.load("bundled", settings), models.load("bundled-base", settings)
    ids = torch.arange(10)[None]
    assert (aligned.name, plain.name) == ("SmolLM2-135M-Instruct, aligned", "SmolLM2-135M-Instruct")
    assert torch.allclose(aligned.model(ids).logits, adapted(ids).logits, atol=1e-5)
    assert not torch.allclose(aligned.model(ids).logits, plain.model(ids).logits, atol=1e-5)

    folder = models.resolve("bundled", settings)
    written = (folder / "model.safetensors").stat().st_mtime_ns
    assert models.load("bundled", settings).model_id == aligned.model_id
    assert (folder / "model.safetensors").stat().st_mtime_ns == written

    tiny_adapter(adapter, base, settings, seed=2)
    assert models.load("bundled", settings).model_id != aligned.model_id


def test_weights_that_are_not_safetensors_are_refused(tmp_path: Path, settings: Settings) -> None:
    folder = tiny_model_folder(tmp_path)
    (folder / "model.safetensors").unlink()
    torch.save(tiny_model(len(tiny_tokenizer())).state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(UserError, match="could not be loaded"):
        models.load(str(folder), settings)


def test_code_that_comes_with_a_model_is_not_run(tmp_path: Path, settings: Settings) -> None:
    folder = tiny_model_folder(tmp_path)
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = "mischief"
    config["auto_map"] = {"AutoConfig": "mischief.Config", "AutoModelForCausalLM": "mischief.Model"}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "mischief.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match="could not be loaded"):
        models.load(str(folder), settings)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["/no/such/folder", "./nowhere", "a/b/c"])
def test_a_missing_folder_is_named(name: str, settings: Settings) -> None:
    with pytest.raises(UserError, match="no model folder"):
        models.load(name, settings)


def test_a_folder_without_a_model_is_named(tmp_path: Path, settings: Settings) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        models.load(str(tmp_path), settings)


def test_a_hub_id_that_cannot_be_reached_says_so(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="no model on the hub called nobody/nothing-at-all"):
        models.load("nobody/nothing-at-all", settings)
