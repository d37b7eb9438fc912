"""Speculative decoding: a step drafts some tokens, verifies them all at once and keeps those that were guessed right.

Not the planner's advice on drafting: published runs state the kind of draft at best, so depth and acceptance are those
usual for the kind. What a step costs is priced: the products and experts of a decode step see depth + 1 tokens of
every sequence, its attention reads each cache once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from planner.perf.cut import cut_of, stages_of
from planner.perf.estimators.analytic import DECODE_BYTES, DECODE_FLOP
from planner.perf.hardware import Hardware
from planner.perf.work import Tokens, stage_work
from planner.spec.deployment import Pool
from planner.spec.model import Model
from planner.spec.step import Replica


@dataclass(frozen=True, slots=True)
class Draft:
    """How a kind of draft guesses. accepted: chance that a token is right when those before it were; depths: drafted
    tokens per step that recipes choose from; share: one drafted token over a decode step of the model."""

    accepted: float
    depths: tuple[int, ...]
    share: float

    def tokens(self, depth: int) -> float:
        """Expected tokens of a step: the guessed ones up to the first miss, and one that the model adds itself."""
        return float(sum(self.accepted**place for place in range(depth + 1)))


# Multi-token-prediction heads and EAGLE drafts are one layer of the model and its head. mtp: the best of .5 to .8 on 9
# groups of DeepSeek-R1 runs (TPOT within 11 %, tokens/s 16 %; one yield of 1.45 for every batch 14 and 29 %). eagle and
# draft-k3: one model each (gpt-oss-120b), not checked on others.
DRAFTS = {
    "mtp": Draft(0.55, (1, 2, 3), 0.05), "yes": Draft(0.55, (1, 2, 3), 0.05), "eagle": Draft(0.5, (3,), 0.05),
    "draft-k3": Draft(0.65, (3,), 0.05),
}  # fmt: skip


def draft_of(kind: str) -> Draft | None:
    """The draft of a row's `spec_decode`; rows that do not say whether they speculate are taken not to."""
    return None if kind in ("", "unknown") else DRAFTS.get(kind, DRAFTS["yes"])


def verified(alone: Replica, wide: Replica, draft: Draft, depth: int, *, per_seq_s: float, reads: float) -> Replica:
    """`alone`, a replica without drafts, whose decode steps verify `depth` tokens more of every sequence.

    wide: the same replica priced for depth + 1 times the sequences. per_seq_s: host time, paid once a sequence. reads:
    attention over a cache with depth + 1 queries, in units of one query.
    """
    cost = alone.cost
    n = np.arange(len(cost.decode_s))
    tokens = wide.cost.decode_s[(depth + 1) * n] - per_seq_s * depth * np.ceil(n / alone.dp)
    drafting = depth * draft.share * cost.decode_s
    decode_s = np.maximum(tokens, cost.decode_s) + drafting
    decode_s[0] = cost.decode_s[0]
    return replace(alone, cost=replace(cost, decode_s=decode_s, decode_context_s=cost.decode_context_s * reads))


def reads_of(model: Model, pool: Pool, hardware: Hardware, queries: int) -> float:
    """Time to attend with so many queries at once over that with one: the cache is read once, the products are not.

    Grouped queries leave the matrix units idle, so more of them are free; latent attention keeps them busy with one.
    """
    stage, one = stages_of(model, pool.parallelism.pp)[0], np.ones(1)
    work = stage_work(model, cut_of(model, pool, hardware), stage, Tokens(one, one, one, "decode"))
    peak = DECODE_FLOP * hardware.flop_per_s(hardware.rate("bf16"))

    def seconds(count: int) -> float:
        moved = [op.bytes_per_token / (DECODE_BYTES * hardware.bandwidth) for op in work.decode]
        busy = [count * op.flop_per_token / peak for op in work.decode]
        return sum(max(m, b) * op.count for m, b, op in zip(moved, busy, work.decode, strict=True))

    return seconds(queries) / seconds(1) if work.decode else 1.0


def cheapest(drafted: dict[int, Replica], draft: Draft, sequences: int, context: float) -> int:
    """The depth that makes a token cheapest at that many sequences of that context, as a tuned recipe has it."""

    def per_token(depth: int) -> float:
        cost = drafted[depth].cost
        at = min(sequences, len(cost.decode_s) - 1)
        return float(cost.decode_s[at] + cost.decode_context_s[at] * at * context) / draft.tokens(depth)

    return min(draft.depths, key=per_token)
