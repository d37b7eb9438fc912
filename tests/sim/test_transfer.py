"""Prefill and decode in two pools: closed forms of the split, links, back-pressure."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from planner.errors import BadInput
from planner.sim.metrics import tpot_s, ttft_s
from planner.sim.simulate import Run, simulate
from planner.spec.deployment import Deployment, Edge, Route

KV = 1e5


def split(world: Any, bandwidth: str, prefills: int = 1, decodes: int = 1, latency: str = "0 s") -> Deployment:
    pools = (world.pool_of("first", prefills, ("prefill",)), world.pool_of("then", decodes, ("decode",)))
    edge = Edge.model_validate({"source": "first", "target": "then", "bandwidth": bandwidth, "latency": latency})
    return Deployment(pools=pools, edges=(edge,), routes=(Route(request_class="chat", pool="first"),))


def streamed(deployment: Deployment) -> Deployment:
    edges = tuple(edge.model_copy(update={"streamed": True}) for edge in deployment.edges)
    return deployment.model_copy(update={"edges": edges})


def play(world: Any, deployment: Deployment, requests: Any, **decode: Any) -> Run:
    first = world.a_replica(kv_bytes_per_token=KV)
    return simulate(deployment, {"first": first, "then": world.a_replica(**decode)}, requests)


def test_a_fast_link_leaves_prefill_and_decode_alone(world: Any) -> None:
    """TTFT is the prefill; the rest are decode steps, as without a split."""
    requests = world.some_requests(0.0, 1000, 20)
    here = simulate(world.one_pool(), {"all": world.a_replica()}, requests)
    there = play(world, split(world, "1e18 GB/s"), requests)
    assert there.first_token_s[0] == here.first_token_s[0]
    assert there.finish_s[0] == pytest.approx(here.finish_s[0], rel=1e-12)


def test_a_static_batch_reserves_nothing_for_answers_made_elsewhere(world: Any) -> None:
    """A prompt fills the cache of the prefill pool but for one block; its answer of twenty blocks is not made there."""
    requests = world.some_requests(np.zeros(2), 640, 320)
    first = world.a_replica(scheduler="static_batch", kv_blocks=41, watermark=0.0, kv_bytes_per_token=KV)
    run = simulate(split(world, "10 GB/s"), {"first": first, "then": world.a_replica()}, requests)
    assert np.isfinite(run.finish_s).all()


@pytest.mark.parametrize("bandwidth", ["2 GB/s", "200 GB/s"])
def test_a_stream_leaves_behind_what_the_link_or_the_last_layer_takes(world: Any, bandwidth: str) -> None:
    """A prompt of 100 MB in 40 layers: what the link moved while it was computed is gone, but never the last layer."""
    requests = world.some_requests(0.0, 1000, 20)
    deployment = split(world, bandwidth, latency="3 ms")
    first = world.a_replica(kv_bytes_per_token=KV, kv_layers=40)
    kinds = {"first": first, "then": world.a_replica()}
    whole, run = simulate(deployment, kinds, requests), simulate(streamed(deployment), kinds, requests)
    per_s = deployment.edges[0].bandwidth_bytes_per_s
    left = max(1000 * KV - per_s * run.first_token_s[0], 1000 * KV / 40)
    assert run.transfer_s[0] == pytest.approx(0.003 + left / per_s, rel=1e-12)
    assert run.first_token_s[0] == whole.first_token_s[0]
    assert run.pools["first"].sent_bytes == whole.pools["first"].sent_bytes


def test_a_stream_of_one_layer_is_a_copy(world: Any) -> None:
    rng = np.random.default_rng(3)
    requests = world.some_requests(np.sort(rng.random(30)), rng.integers(100, 2000, 30), rng.integers(2, 40, 30))
    deployment = split(world, "5 GB/s")
    one, other = play(world, deployment, requests), play(world, streamed(deployment), requests)
    assert np.array_equal(one.finish_s, other.finish_s)


def test_the_copy_lengthens_the_first_gap_only(world: Any) -> None:
    requests = world.some_requests(0.0, 1000, 20)
    fast, slow = (play(world, split(world, b, latency="3 ms"), requests) for b in ("1e18 GB/s", "2 GB/s"))
    assert slow.transfer_s[0] == pytest.approx(0.003 + 1000 * KV / 2e9, rel=1e-12)
    assert ttft_s(slow)[0] == ttft_s(fast)[0]
    assert slow.largest_gap_s[0] - fast.largest_gap_s[0] == pytest.approx(1000 * KV / 2e9, rel=1e-9)
    assert slow.finish_s[0] - fast.finish_s[0] == pytest.approx(1000 * KV / 2e9, rel=1e-9)
    assert slow.pools["first"].sent_bytes == 1000 * KV


def test_copies_from_one_replica_are_serial(world: Any) -> None:
    requests = world.some_requests(np.zeros(4), 500, 5)
    one = play(world, split(world, "1 GB/s"), requests)
    size = 500 * KV / 1e9
    assert np.allclose(one.first_token_s + one.transfer_s, one.first_token_s[0] + size * np.arange(1, 5), rtol=1e-12)
    two = play(world, split(world, "1 GB/s", prefills=2), requests)
    assert two.replica.tolist() == [0, 1, 0, 1]
    assert sorted(two.transfer_s) == pytest.approx([size, size, 2 * size, 2 * size], rel=1e-12)


def test_what_nobody_pulls_stays_on_the_prefill_side(world: Any) -> None:
    """A decode pool with one seat holds back the copies, these hold blocks, and prefill stalls."""
    requests = world.some_requests(np.zeros(12), 1600, 50)
    deployment = split(world, "1e18 GB/s")
    first = world.a_replica(kv_bytes_per_token=KV, kv_blocks=330, watermark=0.0)
    slow = simulate(deployment, {"first": first, "then": world.a_replica(max_seqs=1)}, requests)
    quick = simulate(deployment, {"first": first, "then": world.a_replica()}, requests)
    decode_s = slow.finish_s[0] - slow.first_token_s[0]
    assert quick.first_token_s[-1] < 12 * 0.05
    assert slow.first_token_s[-1] > 8 * decode_s
    assert slow.pools["first"].peak_blocks_share > 0.9
    assert np.isfinite(slow.finish_s).all()
    assert np.allclose(np.diff(np.sort(slow.finish_s)), np.diff(np.sort(slow.finish_s))[0], rtol=0.05)


def test_a_single_token_needs_no_decode(world: Any) -> None:
    run = play(world, split(world, "1 GB/s"), world.some_requests(np.zeros(3), 300, 1))
    assert np.array_equal(run.finish_s, run.first_token_s)
    assert run.pools["then"].work.steps == 0
    assert run.decode_replica.tolist() == [-1, -1, -1]


def test_tpot_holds_the_transfer(world: Any) -> None:
    run = play(world, split(world, "1 GB/s"), world.some_requests(0.0, 1000, 2))
    assert tpot_s(run)[0] == pytest.approx(0.1 + 2e-3 + 1e-6 + 1e-9 * 1001, rel=1e-12)


def test_deployments_that_cannot_serve_are_refused_with_reasons(world: Any) -> None:
    requests = world.some_requests(0.0, 10, 10)
    pools = (world.pool_of("first", 1, ("prefill",)), world.pool_of("then", 1, ("decode",)))
    routes = (Route(request_class="code", pool="then"),)
    with pytest.raises(BadInput) as caught:
        simulate(Deployment(pools=pools, routes=routes), {"first": world.a_replica()}, requests)
    text = str(caught.value)
    for reason in ("no replica is given for pool then", "no route serves request class chat", "runs no prefill"):
        assert reason in text
    alone = Deployment(pools=pools[:1], routes=(Route(request_class="chat", pool="first"),))
    with pytest.raises(BadInput, match="no edge leads on"):
        simulate(alone, {"first": world.a_replica()}, requests)
    with pytest.raises(BadInput, match="unknown scheduler"):
        simulate(world.one_pool(), {"all": world.a_replica(scheduler="vllm")}, requests)
