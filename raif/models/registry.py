"""Model specifications, as people write them in flags and in ``raif.yaml``, and the models that they open.

    hf:PATH_OR_ID            a transformers causal language model with a chat template: a folder, or an id on the Hub
    demo:judge, demo:policy  the small models that ship with raif
    scripted:FILE            rules in a JSONL file: a model for tests and dry runs
    openai:MODEL@BASE_URL    a server that speaks the OpenAI protocol
    reward:PATH_OR_ID        a reward model, as raif train reward makes it; it can judge, and nothing else
    vllm:PATH_OR_ID          the same models in vLLM's engine, which raif starts and stops

Nothing heavy is imported before a model is opened.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from raif.config import PriceConfig, ServerConfig, VllmConfig
from raif.errors import ModelSpecError
from raif.models.base import ChatModel
from raif.models.budget import Budget, price_of
from raif.models.middleware import CachedModel
from raif.resources import PACKAGE

if TYPE_CHECKING:
    from raif.cache import CompletionCache

Backend = Literal["hf", "openai", "vllm", "demo", "scripted", "reward"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
DEMO_MODELS = ("judge", "policy")
FORMS = "hf:PATH_OR_ID, demo:judge, demo:policy, scripted:FILE, openai:MODEL@BASE_URL, vllm:PATH_OR_ID, reward:PATH"

_OPENAI = re.compile(r"(?P<model>[^@\s](?:.*?\S)?)@(?P<url>https?://\S+)")


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """A specification taken apart. ``base_url`` is set for ``openai:`` alone."""

    backend: Backend
    target: str
    base_url: str | None = None

    def __str__(self) -> str:
        return f"{self.backend}:{self.target}" + (f"@{self.base_url}" if self.base_url else "")


def parse_spec(spec: str) -> ModelSpec:
    """Take a specification apart; the path of an existing folder counts as ``hf:``.

    Raises:
        ModelSpecError: none of the forms; says which form is nearest.
    """
    text = spec.strip()
    backend, colon, target = text.partition(":")
    if not colon or backend not in BACKENDS:
        if text and Path(text).expanduser().is_dir():
            return ModelSpec("hf", text)
        raise ModelSpecError(f"{spec!r} is not a model: {_nearest(text)}the forms are {FORMS}")
    if not target.strip() or target != target.strip():
        raise ModelSpecError(f"{spec!r} says nothing after {backend}: — the forms are {FORMS}")
    if backend == "demo" and target not in DEMO_MODELS:
        near = get_close_matches(target, DEMO_MODELS, n=1, cutoff=0.4)
        hint = f"did you mean demo:{near[0]}? " if near else ""
        raise ModelSpecError(f"there is no demo model {target!r}: {hint}there are demo:judge and demo:policy")
    if backend == "openai":
        found = _OPENAI.fullmatch(target)
        if not found:
            raise ModelSpecError(
                f"{spec!r} lacks the server's address: write openai:MODEL@BASE_URL, "
                "for example openai:judge@http://localhost:8000/v1"
            )
        return ModelSpec("openai", found["model"], found["url"].rstrip("/"))
    return ModelSpec(backend, target)


def _nearest(text: str) -> str:
    """What the user may have meant, as the start of a sentence; empty where nothing is near."""
    backend, colon, target = text.partition(":")
    if not colon:
        if text in DEMO_MODELS:
            return f"did you mean demo:{text}? "
        if text.endswith(".jsonl"):
            return f"did you mean scripted:{text}? "
        return f"there is no such folder; did you mean hf:{text}? " if "/" in text else ""
    near = get_close_matches(backend.lower(), BACKENDS, n=1, cutoff=0.5)
    return f"did you mean {near[0]}:{target}? " if near else ""


def demo_model_path(name: str) -> Path:
    """The folder of a demo model: ``judge`` or ``policy``.

    Raises:
        ModelSpecError: its weights are not there.
    """
    folder = PACKAGE / "demo" / "models" / name
    if not (folder / "config.json").is_file():
        raise ModelSpecError(
            f"the weights of demo:{name} are missing; install raif again, or build them with "
            "scripts/build_demo_models.py in a checkout",
            path=folder,
        )
    return folder


def model_path(spec: str) -> str:
    """The folder or Hub id that a trainer starts from.

    Raises:
        ModelSpecError: the specification is malformed, has no weights to train, or names a folder that isn't there.
    """
    parsed = parse_spec(spec)
    if parsed.backend == "demo":
        return str(demo_model_path(parsed.target))
    if parsed.backend != "hf":
        reason = {
            "scripted": "rules have no weights to train",
            "openai": "the weights behind a server are out of reach",
            "vllm": "vLLM serves weights but does not train them; name the same ones with hf:",
            "reward": "a reward model rates, and does not answer",
        }[parsed.backend]
        raise ModelSpecError(f"{spec} can't be trained: {reason}; use hf:PATH_OR_ID or demo:policy")
    from raif.models.locate import locate

    return locate(parsed.target)


def open_model(
    spec: str,
    *,
    device: str = "auto",
    dtype: str = "auto",
    batch_size: int = 32,
    trust_remote_code: bool = False,
    cache: CompletionCache | None = None,
    budget: Budget | None = None,
    prices: Mapping[str, PriceConfig] | None = None,
    server: ServerConfig | None = None,
    vllm: VllmConfig | None = None,
    on_note: Callable[[str], object] | None = None,
) -> CachedModel:
    """Open a model, metered, capped by ``budget``, and behind ``cache`` where one is given.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; local models only.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``; local models only.
        batch_size: requests in one forward pass; local models only.
        trust_remote_code: let a model's repository run its own code.
        cache: where finished calls are looked up and kept.
        budget: caps on what is spent, shared by the models of one command.
        prices: what tokens cost, by patterns of specifications.
        server: how a server is asked; ``openai:`` alone.
        vllm: how vLLM is started; ``vllm:`` alone.
        on_note: told what a person should know of a server, or of an engine.

    Raises:
        ModelSpecError: the specification is malformed, or the model can't be found or opened.
        ConfigError: money is capped and the model's price is not known; a key's file can't be read.
        ModelError: a server refuses the key, or answers nothing of use.
    """
    parsed = parse_spec(spec)
    price = price_of(str(parsed), prices or {})
    if budget is not None:
        budget.admit(str(parsed), price)  # before anything is asked, let alone paid
    if parsed.backend == "openai":
        model = _open_server(parsed, server or ServerConfig(), on_note)
    elif parsed.backend == "vllm":
        from raif.models.vllm import VllmModel

        model = VllmModel.open(
            parsed.target,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            config=vllm,
            on_note=on_note,
        )
    else:
        model = _open(parsed, device, dtype, batch_size, trust_remote_code)
    return CachedModel(model, cache, budget=budget, price=price)


def _open_server(spec: ModelSpec, config: ServerConfig, on_note: Callable[[str], object] | None) -> ChatModel:
    try:
        from raif.models.openai import OpenAIModel
    except ModuleNotFoundError as error:
        raise ModelSpecError(f"{spec} needs the package {error.name}: pip install aiohttp") from error
    return OpenAIModel.open(spec.target, spec.base_url or "", config, on_note)


def _open(spec: ModelSpec, device: str, dtype: str, batch_size: int, trust_remote_code: bool) -> ChatModel:
    if spec.backend == "scripted":
        from raif.models.scripted import ScriptedModel

        return ScriptedModel.from_file(Path(spec.target).expanduser())
    if spec.backend == "reward":
        from raif.models.reward import RewardModel

        return RewardModel.open(
            spec.target, device=device, dtype=dtype, batch_size=batch_size, trust_remote_code=trust_remote_code
        )
    from raif.models.huggingface import HuggingFaceModel

    if spec.backend == "demo":
        # The demo models are stored in bfloat16 to be small, but were trained and measured in float32.
        return HuggingFaceModel.open(
            str(demo_model_path(spec.target)),
            spec=str(spec),
            name=str(spec),
            device=device,
            dtype="float32" if dtype == "auto" else dtype,
            batch_size=batch_size,
        )
    return HuggingFaceModel.open(
        spec.target,
        spec=str(spec),
        device=device,
        dtype=dtype,
        batch_size=batch_size,
        trust_remote_code=trust_remote_code,
    )
