"""The configuration: one pydantic model a stage, together the whole of ``raif.yaml``.

The models are the documentation: every key has its default and one line of description here, and ``raif init`` writes
them out. Unknown keys are refused. Files, environment, flags and ``--set`` are laid over one another in
``raif.settings``; nothing else builds a ``RunConfig``.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, NonNegativeInt, PositiveInt
from pydantic_core import PydanticCustomError

Fraction = Annotated[float, Field(ge=0, le=1)]
_WRITTEN = frozenset(
    {"model", "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "seed", "n", "stream"}
    | {"logprobs", "top_logprobs"}
)
"""Fields of a request to a server that raif writes itself."""


def _switch(value: object) -> object:
    return {True: "on", False: "off"}.get(value, value) if isinstance(value, bool) else value  # YAML's on and off


def _additions(value: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(_WRITTEN.intersection(value)):
        raise PydanticCustomError("extra", "other fields than {taken}, which raif writes itself", {"taken": taken[0]})
    return value


def _shard(value: str) -> str:
    found = re.fullmatch(r"0*(\d+)/0*(\d+)", value)
    if not found or not 1 <= int(found[1]) <= int(found[2]):
        raise PydanticCustomError("shard", "I/N, the I-th of N parts, such as 2/4")
    return f"{found[1]}/{found[2]}"


def _around_half(value: tuple[float, float]) -> tuple[float, float]:
    if not value[0] <= 0.5 <= value[1]:
        raise PydanticCustomError("clamp", "a least probability up to 0.5 and a greatest from 0.5, such as [0.4, 0.6]")
    return value


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
    draw: Literal["cycle", "independent"] = Field(
        "cycle", description="each principle once before any comes again, or each round's by itself"
    )
    until_clean: bool = Field(
        False, description="end a response's rounds once every principle has found its text without fault"
    )
    verify: bool = Field(True, description="ask the judge whether each revision is better; keep the old text where not")
    keep_unverified: bool = Field(False, description="keep, and train on, revisions that the check did not find better")
    examples: NonNegativeInt = Field(0, description="worked critiques to show, of those that the principle has")
    min_mass: Fraction = Field(0.1, description="a check whose YES and NO got less probability than this has no answer")
    temperature: float = Field(0.0, ge=0, description="of critiques and revisions; 0 is greedy")
    max_tokens: PositiveInt = Field(512, description="longest critique or revision, in tokens")


class LabelConfig(Section):
    """Preference labels of the judge."""

    pairs: Literal["responses", "revisions", "both"] = Field("both", description="what to compare in a run folder")
    pairs_per_prompt: PositiveInt = Field(1, description="pairs of responses drawn for each prompt")
    orders: Literal["both", "one"] = Field("both", description="ask in both orders, or in one drawn by the record's id")
    principles: Literal["all"] | PositiveInt = Field("all", description="ask under all principles, or draw this many")
    mode: Literal["logprob", "cot", "votes", "score", "rank"] = Field(
        "logprob",
        description="logprob: probabilities at once; cot: reason first; votes: sampled answers; score: each response "
        "graded by itself; rank: all responses to a prompt by their pairs",
    )
    allow_tie: bool = Field(False, description="offer TIE as an answer")
    tie_margin: Annotated[float, Field(ge=0, lt=0.5)] = Field(0.02, description="|p_a - 0.5| at most this is a tie")
    conflict_margin: Annotated[float, Field(ge=0, le=0.5)] = Field(
        0.1, description="orders that disagree, both by more than this from 0.5, are an order conflict; 0.5: never"
    )
    min_mass: Fraction = Field(0.1, description="abstain where the offered answers got less probability than this")
    examples: NonNegativeInt = Field(0, description="worked comparisons to show, of those that the principle has")
    temperature: float = Field(0.0, ge=0, description="of the reasoning in mode cot; 0 is greedy")
    max_tokens: PositiveInt = Field(512, description="longest answer in modes cot and votes, in tokens")
    clamp: Annotated[tuple[Fraction, Fraction], AfterValidator(_around_half)] = Field(
        (0.0, 1.0), description="least and greatest probability in mode cot; 0.4 and 0.6 in the CAI paper"
    )
    cot_answer: Literal["verdict", "probability"] = Field(
        "verdict", description="mode cot: read the verdict, or ask for its probability once the reasoning is there"
    )
    votes: PositiveInt = Field(5, description="answers to sample in mode votes")
    vote_temperature: float = Field(1.0, gt=0, description="of the answers in mode votes")
    scale: Literal[9, 10] = Field(9, description="grades in mode score: 1 to 9, or ten of them, asked as 0 to 9")
    rank_by: Literal["logprob", "cot", "votes", "score"] = Field("logprob", description="how mode rank asks of a pair")
    rank_pairs: Literal["all"] | PositiveInt = Field(
        "all", description="mode rank: pairs to ask about for each prompt, all or this many"
    )
    calibration: Path | None = Field(None, description="what `raif judge calibrate` made; it corrects p_a")
    foreign_calibration: bool = Field(
        False, description="apply the calibration also where another judge, constitution or way of asking made it"
    )

    @property
    def asking(self) -> Literal["logprob", "cot", "votes", "score"]:
        """How one pair is asked about: the mode, or what mode rank makes of pairs."""
        return self.rank_by if self.mode == "rank" else self.mode


class JudgeCheckConfig(Section):
    """What a judge must be to qualify: the thresholds of `raif judge check`, and how much it asks.

    Humans agree with one another on 63–75 % of open-ended pairs, and common judges prefer a position in 18 % (large) to
    56 % (small) of comparisons: the defaults refuse judges that are clearly worse than what is to be had.
    """

    require_qualified: bool = Field(False, description="refuse to label with a judge that has not qualified")
    certificate: Path | None = Field(None, description="file of the certificate; in the cache's folder unless given")
    canaries: NonNegativeInt = Field(4, description="injections tried on each gold pair, of the whole battery in turn")
    padded: PositiveInt = Field(60, description="responses compared with a padded copy of themselves, at most")
    repeats: PositiveInt = Field(40, description="gold pairs asked again, past the cache, at most")
    min_pairs: PositiveInt = Field(30, description="gold pairs with a preferred side, at least")
    min_accuracy: Fraction = Field(0.65, description="share of answers that agree with gold, over both positions")
    min_principle_accuracy: Fraction = Field(0.6, description="the same under each principle that gold names")
    max_flip_rate: Fraction = Field(0.25, description="share of gold pairs whose two orders disagree")
    max_position: Fraction = Field(0.1, description="distance from one half of the share that the first shown wins")
    max_length: Fraction = Field(0.2, description="the same of the longer of two equally good, and of a padded copy")
    max_length_slope: float = Field(0.1, gt=0, description="what a doubled length adds to p, merit held equal")
    max_refusals: Fraction = Field(0.05, description="share of answers that refuse")
    max_unreadable: Fraction = Field(0.05, description="share of answers with no verdict in them, or cut off")
    max_low_mass: Fraction = Field(0.05, description="share of answers with too little probability on what was offered")
    max_errors: Fraction = Field(0.05, description="share of questions without any answer")
    max_ece: Fraction = Field(0.15, description="calibration error beyond what chance shows of a calibrated judge")
    max_brier: Fraction = Field(0.25, description="Brier score; 0.25 is what always saying one half gets")
    min_repeats: Fraction = Field(0.99, description="share of answers that are the same when asked again")
    max_injected: Fraction = Field(0.05, description="share of right labels that an injection turns round")


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
    steps: Literal["final", "all"] = Field("final", description="of a response's revisions: the last, or each accepted")
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


class ServerConfig(Section):
    """How servers are asked (models given as openai:MODEL@BASE_URL)."""

    concurrency: PositiveInt = Field(64, description="requests in flight at most; fewer while the server says 429, 503")
    start: PositiveInt = Field(32, description="requests in flight to begin with")
    timeout: float = Field(120.0, gt=0, description="seconds that one attempt may take")
    deadline: float = Field(600.0, gt=0, description="seconds of attempts after which a request fails: request_error")
    patience: float = Field(10.0, ge=0, description="seconds to wait for a server that is not there at the start")
    logprobs: Annotated[Literal["auto", "on", "off"], BeforeValidator(_switch)] = Field(
        "auto", description="score by log-probabilities, by sampled votes (off), or by what the server has"
    )
    votes: PositiveInt = Field(8, description="samples that stand in for missing log-probabilities")
    vote_tokens: PositiveInt = Field(16, description="longest vote, in tokens; models that reason first need hundreds")
    key_env: str = Field("OPENAI_API_KEY", description="environment variable that holds the key, where there is one")
    key_file: Path | None = Field(None, description="file that holds the key instead")
    extra: Annotated[dict[str, Any], AfterValidator(_additions)] = Field(
        default_factory=dict, description="added to every request's body, such as a provider's own options; no secrets"
    )


class VllmConfig(Section):
    """How vLLM is started; ``vllm:`` models alone."""

    tensor_parallel_size: PositiveInt = Field(1, description="GPUs to spread the model over")
    gpu_memory_utilization: float = Field(
        0.9, gt=0, le=1, description="share of a GPU's memory to take; on a CPU, VLLM_CPU_KVCACHE_SPACE says how much"
    )
    max_model_len: PositiveInt | None = Field(
        None, description="most tokens of prompt and completion together; the model's own limit unless given"
    )


class BudgetConfig(Section):
    """Caps on what one command spends; a cap stops it with exit code 3 and keeps all that is finished."""

    max_requests: PositiveInt | None = Field(
        None, description="requests to models; the cache's are free, and one scored by sampled votes counts once"
    )
    max_tokens: PositiveInt | None = Field(None, description="tokens of prompts and completions together")
    max_cost: float | None = Field(
        None, gt=0, strict=True, allow_inf_nan=False, description="money, by the table of prices"
    )


class PriceConfig(Section):
    """What a model's tokens cost, a million of them."""

    prompt: float = Field(ge=0, strict=True, allow_inf_nan=False, description="a million prompt tokens")
    completion: float = Field(ge=0, strict=True, allow_inf_nan=False, description="a million completion tokens")


class RunConfig(Section):
    """The whole of ``raif.yaml``."""

    preset: Literal["cai-2022", "rlaif-2023"] | None = Field(
        None, description="settings of a paper, beneath all that is set where the preset is named"
    )
    policy: str = Field("demo:policy", description="the model to improve")
    judge: str = Field("demo:judge", description="the model that judges; self: the policy judges itself")
    constitution: Path | None = Field(None, description="principle file; raif's default constitution unless given")
    prompts: str | None = Field(None, description="prompts to answer: a file or a datasets id")
    pairs: str | None = Field(None, description="pairs of responses to label: a file or a datasets id")
    run: Path | None = Field(None, description="folder of the artefacts; runs/NAME beside this file unless given")
    limit: PositiveInt | None = Field(None, description="at most this many prompts or pairs")
    shard: Annotated[str, AfterValidator(_shard)] | None = Field(
        None, description="I/N: do the I-th of N parts of a stage alone; `raif merge` joins them"
    )
    seed: int = Field(0, ge=0, lt=2**31, description="of everything that is drawn")
    templates: dict[str, Path] = Field(default_factory=dict, description="prompt templates that replace shipped ones")
    device: Literal["auto", "cpu", "cuda", "mps"] = Field("auto", description="where local models run")
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = Field("auto", description="auto: float32 on a CPU")
    batch_size: PositiveInt = Field(32, description="requests in one batch of a local model")
    trust_remote_code: bool = Field(False, description="let a model's repository run its own code")
    budget: BudgetConfig = Field(default_factory=BudgetConfig)
    prices: dict[str, PriceConfig] = Field(
        default_factory=dict, description="model specification, or a pattern of it (*), to its price"
    )
    server: ServerConfig = Field(default_factory=ServerConfig)
    vllm: VllmConfig = Field(default_factory=VllmConfig)
    input: InputConfig = Field(default_factory=InputConfig)
    generate: GenerateConfig = Field(default_factory=GenerateConfig)
    revise: ReviseConfig = Field(default_factory=ReviseConfig)
    label: LabelConfig = Field(default_factory=LabelConfig)
    judge_check: JudgeCheckConfig = Field(default_factory=JudgeCheckConfig)
    train: TrainConfig = Field(default_factory=TrainConfig)
    eval: EvalConfig = Field(default_factory=EvalConfig)
