"""Which models load, and how those that do not say so."""

import json
from pathlib import Path

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


def test_a_lora_folder_is_merged_into_its_base(tmp_path: Path, settings: Settings) -> None:
    base = tiny_model_folder(tmp_path, name="base")
    torch.manual_seed(1)
    adapted = get_peft_model(
        models.load(str(base), settings).model, LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=False)
    )
    adapter = tmp_path / "adapter"
    adapted.save_pretrained(adapter)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**config, "base_model_name_or_path": str(base)}))
    merged = models.load(str(adapter), settings)
    plain = models.load(str(base), settings)
    ids = torch.arange(10)[None]
    assert merged.model_id != plain.model_id
    assert not torch.allclose(merged.model(ids).logits, plain.model(ids).logits)
    assert torch.allclose(merged.model(ids).logits, adapted(ids).logits, atol=1e-5)
    assert type(merged.model) is type(plain.model)


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
