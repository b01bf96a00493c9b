"""Model specifications, as people write them in flags and in ``raif.yaml``, and the models that they open.

    hf:PATH_OR_ID            a transformers causal language model with a chat template: a folder, or an id on the Hub
    demo:judge, demo:policy  the small models that ship with raif
    scripted:FILE            rules in a JSONL file: a model for tests and dry runs
    openai:MODEL@BASE_URL    a server that speaks the OpenAI protocol
    vllm:PATH_OR_ID          vLLM in this process

Nothing heavy is imported before a model is opened.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

from raif.errors import ModelSpecError
from raif.models.base import ChatModel
from raif.models.middleware import CachedModel
from raif.resources import PACKAGE

if TYPE_CHECKING:
    from raif.cache import CompletionCache

Backend = Literal["hf", "openai", "vllm", "demo", "scripted"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
DEMO_MODELS = ("judge", "policy")
FORMS = "hf:PATH_OR_ID, demo:judge, demo:policy, scripted:FILE, openai:MODEL@BASE_URL, vllm:PATH_OR_ID"

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
) -> CachedModel:
    """Open a model, metered, and behind ``cache`` where one is given.

    Args:
        device: ``auto``, ``cpu``, ``cuda`` or ``mps``; local models only.
        dtype: ``auto``, ``float32``, ``bfloat16`` or ``float16``; local models only.
        batch_size: requests in one forward pass; local models only.
        trust_remote_code: let a model's repository run its own code.
        cache: where finished calls are looked up and kept.

    Raises:
        ModelSpecError: the specification is malformed, or the model can't be found or opened.
    """
    parsed = parse_spec(spec)
    return CachedModel(_open(parsed, device, dtype, batch_size, trust_remote_code), cache)


def _open(spec: ModelSpec, device: str, dtype: str, batch_size: int, trust_remote_code: bool) -> ChatModel:
    if spec.backend == "scripted":
        from raif.models.scripted import ScriptedModel

        return ScriptedModel.from_file(Path(spec.target).expanduser())
    if spec.backend in ("openai", "vllm"):
        later = " (it will need: pip install 'raif[vllm]')" if spec.backend == "vllm" else ""
        raise ModelSpecError(
            f"{spec}: the {spec.backend}: backend is not available in this version yet{later}; "
            "use hf:, demo: or scripted:"
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
