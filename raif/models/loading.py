"""Opening a transformers model: device, number type, threads, and everything that can be wrong with a folder."""

from __future__ import annotations

import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.constants import HF_HUB_OFFLINE
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, GenerationConfig
from transformers.utils import logging as transformers_logging

from raif.errors import ConfigError, ModelSpecError
from raif.models.base import ModelInfo
from raif.models.chat import ChatFormat
from raif.models.locate import locate
from raif.records import digest

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass
class Loaded:
    """A model that is ready to run, and all that must be known about it."""

    model: Any
    chat: ChatFormat
    device: torch.device
    end_ids: tuple[int, ...]
    pad_id: int
    vocabulary_size: int
    """Rows of the embedding: tokenizers may know fewer tokens, or more."""
    context: int | None
    """The most tokens of prompt and completion together; None where the model sets no limit."""
    info: ModelInfo


def choose_device(wanted: str) -> torch.device:
    """The device to run on; ``auto`` prefers CUDA, then Apple's GPU, then the CPU.

    Raises:
        ModelSpecError: the wanted one isn't here.
    """
    available = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if wanted == "auto":
        return torch.device(next(name for name, here in available.items() if here))
    if not available.get(wanted.partition(":")[0], False):
        raise ModelSpecError(f"there is no device {wanted!r} on this machine; use device auto or cpu")
    return torch.device(wanted)


def choose_dtype(wanted: str, device: torch.device) -> torch.dtype:
    """The number type of the weights; ``auto`` is bfloat16 on a GPU that computes in it, else float32.

    A CPU gets float32 also for weights that are stored in bfloat16, which it computes slowly and coarsely.
    """
    if wanted == "auto":
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if fast else torch.float32
    if wanted not in _DTYPES:
        raise ModelSpecError(f"there is no dtype {wanted!r}; use auto, {', '.join(_DTYPES)}")
    return _DTYPES[wanted]


def limit_threads() -> None:
    """One CPU thread, unless ``RAIF_THREADS`` or ``OMP_NUM_THREADS`` says otherwise.

    Threads that wait by spinning make small models many times slower when the cores are shared, and a fixed number
    of threads keeps sums, and so results, equal.

    Raises:
        ConfigError: ``RAIF_THREADS`` is not a positive number.
    """
    wanted = os.environ.get("RAIF_THREADS", "")
    if wanted:
        if not wanted.isdecimal() or int(wanted) < 1:
            raise ConfigError(f"RAIF_THREADS is {wanted!r}; it must be a number of threads, 1 or more")
        torch.set_num_threads(int(wanted))
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(1)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' advice and progress bars off the terminal; its errors still show.

    What its warnings would say that matters here (weights that are missing or don't fit) is checked and raised.
    """
    before, bar = transformers_logging.get_verbosity(), transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(logging.ERROR)
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"transformers\.|huggingface_hub\.")
            yield
    finally:
        transformers_logging.set_verbosity(before)
        if bar:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]


def load(
    target: str,
    *,
    spec: str,
    name: str | None,
    device: str,
    dtype: str,
    trust_remote_code: bool,
    kind_of_model: Any = AutoModelForCausalLM,
) -> Loaded:
    """Open the model that ``target`` names.

    Args:
        target: a folder or a Hub id.
        spec: what the user wrote, for messages.
        name: what the identity calls the model; ``hf:`` and the folder's name or the Hub id unless given.
        kind_of_model: the class of transformers that opens it.

    Raises:
        ModelSpecError: one line for anything that keeps the model from being opened.
    """
    place = locate(target)
    where, kind = choose_device(device), choose_dtype(dtype, choose_device(device))
    if where.type == "cpu":
        limit_threads()
    with quiet():
        config, chat = load_chat(place, spec, trust_remote_code)
        model, report = _guarded(
            spec,
            "model",
            lambda: kind_of_model.from_pretrained(
                place,
                config=config,
                dtype=kind,
                use_safetensors=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,  # they are in the report, and refused below in one line
                **trust(trust_remote_code),
            ),
        )
        _check_weights(spec, report)
        model = model.to(where).eval()
    ends = end_ids(model.config, getattr(model, "generation_config", None), chat)
    text_config = config.get_text_config()
    size = text_config.vocab_size
    pad_id = chat.tokenizer.pad_token_id
    if pad_id is None or pad_id >= size:  # some tokenizers were given a pad token that the model has no row for
        pad_id = (ends or (0,))[0]
    # Whatever the repository recommends (temperatures, penalties) must not leak into requests that say it all.
    model.generation_config = GenerationConfig()  # type: ignore[no-untyped-call]
    return Loaded(
        model=model,
        chat=chat,
        device=where,
        end_ids=ends,
        pad_id=pad_id,
        vocabulary_size=size,
        context=getattr(text_config, "max_position_embeddings", None) or getattr(text_config, "n_positions", None),
        info=_info(place, spec, name, model, chat, where, kind),
    )


def load_chat(place: str, spec: str, trust_remote_code: bool) -> tuple[Any, ChatFormat]:
    """The configuration and the chat format of the model at ``place``: all but its weights.

    Raises:
        ModelSpecError: one line for anything that keeps them from being read.
    """
    trusted = trust(trust_remote_code)
    config = _guarded(spec, "configuration", lambda: AutoConfig.from_pretrained(place, **trusted))
    tokenizer = _guarded(spec, "tokenizer", lambda: AutoTokenizer.from_pretrained(place, **trusted))
    return config, ChatFormat(tokenizer, spec)


def trust(allowed: bool) -> dict[str, bool]:
    """Said out loud in every call: left unsaid, transformers asks on the terminal."""
    return {"trust_remote_code": allowed}


def _guarded(spec: str, what: str, action: Any) -> Any:
    try:
        return action()
    except Exception as error:  # transformers raises whatever its parts raise; all of it is a model that won't open
        if "trust_remote_code" in str(error):
            raise ModelSpecError(
                f"{spec}: this model brings its own code, which raif does not run; if you trust it, "
                "set trust_remote_code: true"
            ) from error
        raise ModelSpecError(f"{spec}: the {what} can't be opened: {_reason(error, spec)}") from error


def _reason(error: Exception, spec: str) -> str:
    """One line of an error that may have many."""
    if HF_HUB_OFFLINE and not Path(spec.partition(":")[2]).expanduser().is_dir():
        return "there is no such folder, and the Hub is switched off (HF_HUB_OFFLINE)"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if "does not appear to have a file named" in lines[0] and ".safetensors" in lines[0]:
        return "it offers no safetensors weights, and raif loads no others"
    return (" ".join(lines[:2]) if lines[0].endswith(":") else lines[0])[:300]


def _check_weights(spec: str, report: dict[str, Any]) -> None:
    """Weights that transformers would fill with random numbers make a model that only looks like one."""
    missing = sorted(map(str, report.get("missing_keys", ())))
    unfit = sorted(str(key[0] if isinstance(key, tuple) else key) for key in report.get("mismatched_keys", ()))
    for what, keys in (("are missing", missing), ("have another shape than config.json says", unfit)):
        if keys:
            raise ModelSpecError(f"{spec}: {len(keys)} of the model's weights {what}, for example {keys[0]}")


def end_ids(config: Any, generation_config: Any, chat: ChatFormat) -> tuple[int, ...]:
    """Every token that ends a completion, from wherever the model says so; ``generation_config`` may be None."""
    found: set[int] = set()
    for value in (
        generation_config.eos_token_id if generation_config else None,
        getattr(config.get_text_config(), "eos_token_id", None),
        chat.tokenizer.eos_token_id,
        chat.end_of_turn(),
    ):
        found |= set(value) if isinstance(value, list | tuple) else {value} if value is not None else set()
    return tuple(sorted(found))


def _info(
    place: str, spec: str, name: str | None, model: Any, chat: ChatFormat, device: torch.device, dtype: torch.dtype
) -> ModelInfo:
    details = {
        "architecture": type(model).__name__,
        "parameters": str(sum(p.numel() for p in model.parameters())),
        "dtype": str(dtype).removeprefix("torch."),
        "device": device.type if device.type != "cuda" else f"cuda ({torch.cuda.get_device_name(device)})",
        "chat_template": digest(chat.source),
    }
    if device.type == "cpu":
        details["threads"] = str(torch.get_num_threads())
    if Path(place).is_dir():
        from raif.manifest import weights_fingerprint

        fingerprint = weights_fingerprint(Path(place))
        details |= {"path": place, "fingerprint": fingerprint}
        return ModelInfo(spec, f"{name or 'hf:' + Path(place).name}@{fingerprint[:8]}", details)
    revision = getattr(model.config, "_commit_hash", None) or "unknown"
    details["revision"] = revision
    return ModelInfo(spec, f"{name or 'hf:' + place}@{revision}", details)
