"""Row -> Case: names resolved in the catalogs, defaults of engine and checkpoint filled in, pools laid out.

Not a prediction. What cannot be resolved is a Refusal with the nearest known name, never a guess; what can be answered
with a nearby profile is answered, and `doubts` says so.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import get_args

from planner.calibrate.client import Client, client_of
from planner.calibrate.rows import Plan, Row
from planner.calibrate.speculation import Draft, draft_of
from planner.calibrate.versions import Version, version_of
from planner.catalog import Catalog
from planner.errors import BadInput, did_you_mean
from planner.spec.deployment import Parallelism, Pool
from planner.spec.engine import EngineProfile, narrowest_profile
from planner.spec.hardware import Accelerator, Node
from planner.spec.model import Model
from planner.spec.precision import Dtype, KvDtype

# An engine that no profile describes is answered with its nearest relative: same scheduler idea, same kernels.
NEAREST_ENGINE = {
    "atom": "sglang", "llmboost": "vllm", "tgi": "vllm", "lmdeploy": "vllm", "deepspeed-mii": "vllm",
    "deepspeed": "vllm", "neuronx": "vllm", "optimum-habana": "vllm", "sambaflow": "vllm", "llamacpp": "vllm",
    "tensorrt-llm": "trtllm", "trt-llm": "trtllm", "tensorrt": "trtllm", "nim": "trtllm", "triton": "trtllm",
    "fastertransformer": "trtllm", "dynamo": "vllm", "mlx": "llamacpp", "ollama": "llamacpp", "exllamav2": "llamacpp",
    "mlc-llm": "vllm", "mlc": "vllm", "turbomind": "lmdeploy", "vllm-ascend": "vllm", "mindie": "vllm",
    "ipex-llm": "vllm", "openvino": "llamacpp", "max": "vllm", "jetstream": "vllm", "lightllm": "vllm",
    "friendli": "vllm",
    "transformers": "deepspeed", "hf": "deepspeed", "text-generation-inference": "tgi", "aphrodite": "vllm",
}  # fmt: skip
FALLBACK_ENGINE = "vllm"


class Refusal(Exception):
    """The row cannot be predicted: status `unsupported` (something is not known) or `infeasible` (it does not fit)."""

    def __init__(self, status: str, reason: str):
        super().__init__(reason)
        self.status, self.reason = status, reason


@dataclass(frozen=True, slots=True)
class Case:
    """A row that can be predicted. pools: one (aggregated), or the prefill and the decode pool.

    plans: the layouts to choose the best of when the row states none; the first is `pools`.
    draft: how it speculates, None for plain decoding. token_yield: output tokens per decode step and sequence.
    doubts: what had to be assumed.
    """

    id: str
    model: Model
    accelerator: Accelerator
    node: Node
    profile: EngineProfile
    version: Version | None
    plans: tuple[tuple[Pool, ...], ...]
    client: Client
    gpus: int
    draft: Draft | None
    token_yield: float
    doubts: tuple[str, ...]

    @property
    def pools(self) -> tuple[Pool, ...]:
        return self.plans[0]

    def with_plan(self, pools: tuple[Pool, ...]) -> Case:
        return replace(self, plans=(pools,))


def case_of(row: Row, catalog: Catalog) -> Case:
    """The case of a row; Refusal when a name is unknown or the formats do not exist."""
    model = _model(row, catalog)
    accelerator = _accelerator(row, catalog)
    version = version_of(row.engine, row.engine_version, row.source_date)
    profile, doubts = profile_of(row.engine, version, catalog.profiles())
    client = client_of(row)
    node, draft = _node(accelerator, catalog), draft_of(row.spec_decode)
    return Case(
        id=row.id, model=model, accelerator=accelerator, node=node, profile=profile, version=version,
        plans=_plans(row, model, accelerator, node, profile, client), client=client, gpus=row.gpus,
        draft=draft, token_yield=draft.tokens(draft.depths[-1]) if draft else 1.0,
        doubts=(*doubts, *_length_doubts(row), *_plan_doubts(row)),
    )  # fmt: skip


def profile_of(
    engine: str, version: Version | None, profiles: tuple[EngineProfile, ...]
) -> tuple[EngineProfile, tuple[str, ...]]:
    """Profile of an engine version; the nearest version, or a relative of the engine, with a doubt when none covers it.

    Refusal for an engine that nobody has heard of.
    """
    name = _engine(engine, sorted({p.engine for p in profiles}))
    doubts = () if name == engine else (f"no profile of engine {engine or '(not stated)'}: {name} stands in",)
    own = [p for p in profiles if p.engine == name]
    if version is None or name != engine:
        return next((p for p in own if p.default), own[-1]), doubts
    text = ".".join(str(n) for n in version)
    covering = [p for p in own if p.covers(text)]
    if covering:
        return narrowest_profile(covering), doubts
    return min(own, key=lambda p: _distance(p, version)), (*doubts, f"{name} {text} is outside every profile")


def _engine(engine: str, known: list[str]) -> str:
    """The engine whose profile answers: itself, its nearest relative, or the commonest where none is stated."""
    if engine in known:
        return engine
    if engine and engine not in NEAREST_ENGINE:
        hint = did_you_mean(engine, sorted({*known, *NEAREST_ENGINE})) or f"known: {', '.join(known)}"
        raise Refusal("unsupported", f"unknown engine {engine!r} - {hint}")
    return NEAREST_ENGINE.get(engine, FALLBACK_ENGINE)


def _distance(profile: EngineProfile, version: Version) -> float:
    bounds = [profile.read_version(b) for b in (profile.since, profile.before) if b]
    return min((abs(_scalar(b) - _scalar(version)) for b in bounds if b), default=1e9)


def _scalar(version: Version) -> float:
    return sum(part / 1000.0**place for place, part in enumerate(version))


def _model(row: Row, catalog: Catalog) -> Model:
    """By the model column; by the checkpoint where only that is spelt as the catalog knows it."""
    problems = []
    for text in filter(None, (row.model, row.model.rpartition("/")[2], row.checkpoint)):
        try:
            return catalog.model(text)
        except BadInput as error:
            problems.append(problem_text(error))
    raise Refusal("unsupported", problems[0] if problems else "the row names no model")


def _accelerator(row: Row, catalog: Catalog) -> Accelerator:
    try:
        return catalog.accelerator(row.gpu)
    except BadInput as error:
        raise Refusal("unsupported", problem_text(error)) from error


def problem_text(error: BadInput) -> str:
    """All problems of an error on one line."""
    return "; ".join(str(problem) for problem in error.problems)


def _node(accelerator: Accelerator, catalog: Catalog) -> Node:
    """The largest cataloged server of this accelerator; a bare host when there is none."""
    own = [n for n in map(catalog.node, catalog.names("nodes")) if n.accelerator == accelerator.name]
    if own:
        return max(own, key=lambda n: (n.accelerators, n.name))
    return Node(
        name=f"{accelerator.name}-host", accelerator=accelerator.name,
        accelerators=max(8, accelerator.scaleup_domain), scaleup_fabric="", scaleup_domain=accelerator.scaleup_domain,
        source="assumed: no server of this accelerator is cataloged", confidence="low",
    )  # fmt: skip


def _plans(
    row: Row, model: Model, accelerator: Accelerator, node: Node, profile: EngineProfile, client: Client
) -> tuple[tuple[Pool, ...], ...]:
    def pool(name: str, plan: Parallelism, replicas: int, share: float) -> Pool:
        return Pool(
            name=name, model=model.name, node=node.name, accelerator=accelerator.name, parallelism=plan,
            phases=("prefill", "decode") if name == "serve" else (name,), replicas=replicas,
            weights=weight_dtype(row, model), kv=kv_dtype(row, profile),
            max_tokens_per_step=profile.max_tokens_per_step * (plan.dp if profile.limits_per_dp_rank else 1),
            max_seqs=max_seqs(profile, client, share, drafts=draft_of(row.spec_decode) is not None),
        )  # fmt: skip

    if row.mode == "disagg":
        sides = ("prefill", row.prefill), ("decode", row.decode)
        layouts = [(name, *layout(side, model, 0)) for name, side in sides]
        return (tuple(pool(name, plan, copies * replicas, 1.0 / (copies * replicas))
                      for (name, plan, replicas), (_, side) in zip(layouts, sides, strict=True)
                      for copies in (side.workers,)),)  # fmt: skip
    if not row.plan.tp:
        degrees = [n for n in range(1, row.gpus + 1) if row.gpus % n == 0 and model_divides(model, n)]
        return tuple((pool("serve", Parallelism(tp=n), row.gpus // n, n / row.gpus),) for n in degrees)
    plan, replicas = layout(row.plan, model, row.gpus)
    return ((pool("serve", plan, replicas, 1.0 / replicas),),)


def layout(plan: Plan, model: Model, gpus: int) -> tuple[Parallelism, int]:
    """(degrees of one replica, replicas). dp of a dense model is independent replicas, of a MoE attention ranks."""
    tp, pp, dp, ep = max(1, plan.tp), max(1, plan.pp), max(1, plan.dp), max(1, plan.ep)
    replicas = 1
    if not model.is_moe and dp > 1:
        replicas, dp = dp, 1
    if gpus and gpus % (tp * pp * dp * replicas) == 0:
        replicas *= gpus // (tp * pp * dp * replicas)
    ep = ep if model.is_moe and (tp * dp) % ep == 0 else 1
    return Parallelism(tp=tp, pp=pp, dp=dp, ep=ep), replicas


def model_divides(model: Model, tp: int) -> bool:
    """Whether every attention layer splits over tp ranks."""
    heads = [getattr(layer.attention, "heads", tp) for layer in model.layers if layer.attention]
    return all(h % tp == 0 for h in heads)


def weight_dtype(row: Row, model: Model) -> Dtype:
    """As stated, else as the checkpoint ships."""
    if not row.weights:
        return model.native_dtype
    if row.weights not in get_args(Dtype):
        raise Refusal(
            "unsupported", f"weight format {row.weights!r} is not known - known: {', '.join(get_args(Dtype))}"
        )
    return row.weights  # type: ignore[return-value]


def kv_dtype(row: Row, profile: EngineProfile) -> KvDtype:
    """As stated, else what the engine picks: fp8 for some engines with fp8 or fp4 checkpoints, else 16 bits."""
    if row.kv:
        if row.kv not in get_args(KvDtype):
            raise Refusal("unsupported", f"KV format {row.kv!r} is not known - known: {', '.join(get_args(KvDtype))}")
        return row.kv  # type: ignore[return-value]
    if row.weights in ("fp8", "nvfp4", "mxfp4") and profile.kv_for_fp8_weights:
        return profile.kv_for_fp8_weights
    return "fp16" if row.weights == "fp16" else "bf16"


def max_seqs(profile: EngineProfile, client: Client, share: float, *, drafts: bool = False) -> int:
    """Recipes raise the limit to the concurrency they ask for; data-set runs, open loops and jobs keep the default."""
    asked = max(1, round(client.concurrency * share))
    usual = min(profile.max_seqs, profile.max_seqs_drafting) if drafts else profile.max_seqs
    if client.kind not in ("concurrency", "static_batch"):
        return usual
    if drafts and client.input_shape in ("dataset", "uniform_0_2"):
        return min(asked, usual)
    return min(asked, profile.max_seqs) if client.input_shape == "dataset" and not client.steady else asked


def _length_doubts(row: Row) -> tuple[str, ...]:
    return () if row.input_mean and row.output_mean else ("lengths not published: those usual for the data set",)


def _plan_doubts(row: Row) -> tuple[str, ...]:
    return () if row.plan.tp or row.mode == "disagg" else ("plan not stated: the best one on these accelerators",)
