"""Where a transformers model lies: a folder of this machine, checked before anything heavy looks at it, or a Hub id."""

from __future__ import annotations

import re
from pathlib import Path

import orjson

from raif.errors import ModelSpecError

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*(?:/[A-Za-z0-9][\w.-]*)?")
_TOKENIZERS = ("tokenizer.json", "tokenizer.model", "spiece.model", "vocab.json", "vocab.txt", "tekken.json")


def locate(target: str) -> str:
    """The absolute path of the folder that ``target`` names, or ``target`` itself where it can only be a Hub id.

    Raises:
        ModelSpecError: a path without a folder, or a folder that can't be a causal language model with safetensors.
    """
    folder = Path(target).expanduser()
    if folder.is_dir():
        check_folder(folder)
        return str(folder.resolve())
    if folder.exists():
        raise ModelSpecError("is a file; a model is a folder with config.json and safetensors weights", path=target)
    if not _HUB_ID.fullmatch(target):
        raise ModelSpecError("there is no such folder", path=target)
    return target


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks what every model needs, naming what is missing.

    Raises:
        ModelSpecError: no configuration, a malformed one, no tokenizer, or no safetensors weights.
    """
    config = folder / "config.json"
    if not config.is_file():
        if (folder / "adapter_config.json").is_file():
            raise ModelSpecError(
                "holds a LoRA adapter alone; merge it into its base model and name the merged folder", path=folder
            )
        raise ModelSpecError("has no config.json, so it is not a model's folder", path=folder)
    try:
        parsed = orjson.loads(config.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise ModelSpecError(f"is not readable JSON ({error})", path=config) from error
    if not isinstance(parsed, dict) or "model_type" not in parsed:
        raise ModelSpecError("has no model_type, so it is not a transformers configuration", path=config)
    if not any(folder.glob("*.safetensors")):
        if any(folder.glob("*.bin")) or any(folder.glob("*.pt")) or any(folder.glob("*.pth")):
            raise ModelSpecError(
                "holds pickled weights alone, which can run code when they are loaded; convert them to safetensors",
                path=folder,
            )
        raise ModelSpecError("holds no safetensors weights", path=folder)
    if not any((folder / name).is_file() for name in _TOKENIZERS):
        raise ModelSpecError("holds no tokenizer (tokenizer.json); copy the model's own there", path=folder)
