"""The configuration: one pydantic model a stage, together the whole of ``raif.yaml``.

The models are the documentation: every key has its default and one line of description here, and ``raif init`` writes
them out. Unknown keys are refused. Files, environment, flags and ``--set`` are laid over one another in
``raif.settings``; nothing else builds a ``RunConfig``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveInt

Fraction = Annotated[float, Field(ge=0, le=1)]


class Section(BaseModel):
    """A part of the configuration: frozen, and strict about its keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class GenerateConfig(Section):
    """Answers of the policy: N samples a prompt."""

    samples: PositiveInt = Field(4, description="answers to draw for each prompt")
    temperature: float = Field(1.0, ge=0, description="0 is greedy")
    top_p: float = Field(1.0, gt=0, le=1, description="nucleus sampling; 1 cuts nothing")
    max_tokens: PositiveInt = Field(512, description="longest answer, in tokens")


class ReviseConfig(Section):
    """Critique and revision of the policy's answers."""

    rounds: PositiveInt = Field(4, description="critique-and-revision rounds a response, a principle drawn for each")
    samples: PositiveInt = Field(1, description="responses a prompt to revise, of those generated")
    verify: bool = Field(True, description="ask the judge whether each revision is better; keep the old text where not")
    min_mass: Fraction = Field(0.1, description="a check whose YES and NO got less probability than this has no answer")
    temperature: float = Field(0.0, ge=0, description="of critiques and revisions; 0 is greedy")
    max_tokens: PositiveInt = Field(512, description="longest critique or revision, in tokens")


class LabelConfig(Section):
    """Preference labels of the judge."""

    pairs: Literal["responses", "revisions", "both"] = Field("both", description="what to compare in a run folder")
    pairs_per_prompt: PositiveInt = Field(1, description="pairs of responses drawn for each prompt")
    orders: Literal["both", "one"] = Field("both", description="ask in both orders, or in one drawn by the record's id")
    principles: Literal["all"] | PositiveInt = Field("all", description="ask under all principles, or draw this many")
    mode: Literal["logprob", "cot"] = Field("logprob", description="read probabilities at once, or let it reason first")
    allow_tie: bool = Field(False, description="offer TIE as an answer")
    tie_margin: Annotated[float, Field(ge=0, lt=0.5)] = Field(0.02, description="|p_a - 0.5| at most this is a tie")
    conflict_margin: Annotated[float, Field(ge=0, lt=0.5)] = Field(
        0.1, description="orders that disagree, both by more than this from 0.5, are an order conflict"
    )
    min_mass: Fraction = Field(0.1, description="abstain where the offered answers got less probability than this")
    temperature: float = Field(0.0, ge=0, description="of the reasoning in mode cot; 0 is greedy")
    max_tokens: PositiveInt = Field(512, description="longest reasoning in mode cot, in tokens")
    clamp: tuple[Fraction, Fraction] = Field((0.0, 1.0), description="least and greatest probability in mode cot")


class LoraConfig(Section):
    """Low-rank adapters instead of full fine-tuning."""

    enabled: bool = Field(False, description="train adapters and keep the weights frozen")
    r: PositiveInt = Field(16, description="rank")
    alpha: PositiveInt = Field(32, description="scaling")
    dropout: Fraction = Field(0.0, description="dropout of the adapters' input")
    target_modules: tuple[str, ...] | Literal["all-linear"] = Field("all-linear", description="layers that get one")


class TrainerConfig(Section):
    """What every trainer needs."""

    epochs: float = Field(1.0, gt=0, description="passes over the data")
    max_steps: int = Field(-1, ge=-1, description="stop after this many optimiser steps; -1: only epochs count")
    learning_rate: float = Field(1e-5, ge=0, description="peak learning rate")
    batch_size: PositiveInt = Field(16, description="examples in one forward pass, on each device")
    accumulate: PositiveInt = Field(1, description="forward passes for each optimiser step")
    max_length: PositiveInt = Field(1024, description="longest example in tokens; what is longer is left out, counted")
    warmup: Fraction = Field(0.05, description="share of the steps in which the learning rate rises")
    scheduler: Literal["constant", "linear", "cosine"] = Field("cosine", description="how the learning rate goes down")
    weight_decay: float = Field(0.0, ge=0, description="AdamW's weight decay")
    max_grad_norm: float = Field(1.0, gt=0, description="gradients are clipped to this norm")
    save_steps: PositiveInt = Field(100, description="optimiser steps between checkpoints")
    keep_checkpoints: bool = Field(False, description="keep the last checkpoint once training is done")
    gradient_checkpointing: bool = Field(False, description="less memory for more time")
    threads: PositiveInt = Field(1, description="CPU threads; for small models one is fastest, and repeats exactly")
    save_dtype: Literal["float32", "bfloat16", "float16"] = Field("float32", description="of the final model's weights")
    lora: LoraConfig = Field(default_factory=LoraConfig, description="low-rank adapters")


class SftConfig(TrainerConfig):
    """Supervised fine-tuning on revisions, demonstrations, or a mixture of them."""

    data: Literal["revisions", "demonstrations", "mixture"] = Field("revisions", description="what to imitate")
    helpful_share: Fraction = Field(
        0.0, description="share of helpful demonstrations in the mixture, against overuse of refusal"
    )
    demonstrations: Path | None = Field(
        None, description="prompts with a human's answer, for data other than revisions"
    )


class RewardConfig(TrainerConfig):
    """A Bradley–Terry reward model."""

    base: str | None = Field(None, description="model to start from; the policy unless given")
    eval_share: Fraction = Field(0.1, description="share of pairs (whole prompts) held out to measure accuracy")


class DpoConfig(TrainerConfig):
    """Direct preference optimisation."""

    beta: float = Field(0.1, gt=0, description="strength of the pull to the reference policy")
    start: Literal["sft", "policy"] = Field("sft", description="start from the SFT policy, or from the policy itself")


class TrainConfig(Section):
    """The trainers."""

    sft: SftConfig = Field(default_factory=SftConfig)
    reward: RewardConfig = Field(default_factory=RewardConfig)
    dpo: DpoConfig = Field(default_factory=DpoConfig)


class EvalConfig(Section):
    """Policies side by side on held-out prompts."""

    prompts: str | None = Field(None, description="held-out prompts: a file or a datasets id")
    holdout: Fraction = Field(
        0.1, description="share of the prompts held out for evaluation where eval.prompts is unset"
    )
    samples: PositiveInt = Field(1, description="answers for each prompt and policy")
    temperature: float = Field(0.7, ge=0, description="of the policies' answers")
    max_tokens: PositiveInt = Field(512, description="longest answer, in tokens")
    compare: bool = Field(True, description="let the judge compare each policy with the base policy")
    limit: PositiveInt | None = Field(None, description="at most this many held-out prompts")


class InputConfig(Section):
    """How input files are read."""

    prompt_column: str | None = Field(None, description="column of the prompt; detected unless given")
    response_column: str | None = Field(None, description="column of a human's answer")
    chosen_column: str | None = Field(None, description="column of the chosen response")
    rejected_column: str | None = Field(None, description="column of the rejected response")
    split: str = Field("train", description="split of a datasets id or folder")
    on_bad_row: Literal["skip", "fail"] = Field("skip", description="report a bad row and go on, or stop")


class RunConfig(Section):
    """The whole of ``raif.yaml``."""

    policy: str = Field("demo:policy", description="the model to improve")
    judge: str = Field("demo:judge", description="the model that judges; self: the policy judges itself")
    constitution: Path | None = Field(None, description="principle file; raif's default constitution unless given")
    prompts: str | None = Field(None, description="prompts to answer: a file or a datasets id")
    pairs: str | None = Field(None, description="pairs of responses to label: a file or a datasets id")
    run: Path | None = Field(None, description="folder of the artefacts; runs/NAME beside this file unless given")
    limit: PositiveInt | None = Field(None, description="at most this many prompts or pairs")
    seed: int = Field(0, ge=0, lt=2**31, description="of everything that is drawn")
    templates: dict[str, Path] = Field(default_factory=dict, description="prompt templates that replace shipped ones")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where local models run")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: float32 on a CPU")
    batch_size: PositiveInt = Field(32, description="requests in one batch of a local model")
    trust_remote_code: bool = Field(False, description="let a model's repository run its own code")
    input: InputConfig = Field(default_factory=InputConfig)
    generate: GenerateConfig = Field(default_factory=GenerateConfig)
    revise: ReviseConfig = Field(default_factory=ReviseConfig)
    label: LabelConfig = Field(default_factory=LabelConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)
