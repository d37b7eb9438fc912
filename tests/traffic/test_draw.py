"""Merged streams: common random numbers, order, sizes, jobs and closed loops."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from planner.errors import BadInput
from planner.spec.requests import Requests
from planner.spec.workload import RequestClass
from planner.traffic import draw, load, mean_rate, offered

HERE = Path(".")
LENGTHS = {
    "input": {"lognormal": {"mean": 900, "cv": 1.2}},
    "output": {"uniform": {"low": 5, "high": 300}},
    "correlation": 0.3,
}


def one(name: str, requests: int | None = None, **arrivals: object) -> RequestClass:
    return RequestClass.model_validate(
        {"name": name, "model": "m", "lengths": LENGTHS, "arrivals": arrivals, "requests": requests}
    )


def traced(folder: Path, rows: str, **fields: object) -> RequestClass:
    (folder / "t.csv").write_text("arrival_s,input_tokens,output_tokens\n" + rows)
    trace = {"file": "t.csv", **{k: fields.pop(k) for k in ("rate_scale", "limit") if k in fields}}
    return RequestClass.model_validate({"name": "t", "model": "m", "trace": trace, **fields})


def of_class(requests: Requests, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    mine = requests.class_index == index
    return requests.arrival_s[mine], requests.input_tokens[mine], requests.output_tokens[mine]


def same(a: Requests, b: Requests) -> bool:
    columns = ("arrival_s", "input_tokens", "output_tokens", "class_index")
    return all(np.array_equal(getattr(a, c), getattr(b, c)) for c in columns) and a.class_names == b.class_names


CHAT, CODE = one("chat", rate="10/s"), one("code", rate="2.5/s", cv=2.0)


def test_same_seed_same_requests_other_seed_others() -> None:
    first, again, other = (draw([CHAT, CODE], seed=s, folder=HERE, requests=500) for s in (1, 1, 2))
    assert same(first, again)
    assert not np.array_equal(first.input_tokens, other.input_tokens)


def test_negative_seed_is_a_seed() -> None:
    assert len(draw([CHAT], seed=-5, folder=HERE, requests=10)) == 10


@given(scale=st.floats(0.01, 100), seed=st.integers(0, 2**40))
@settings(max_examples=40, deadline=None)
def test_rate_only_divides_the_gaps(scale: float, seed: int) -> None:
    base, scaled = (draw([CHAT, CODE], seed=seed, folder=HERE, requests=300, rate_scale=s) for s in (1.0, scale))
    for index in (0, 1):
        times, *lengths = of_class(base, index)
        new_times, *new_lengths = of_class(scaled, index)
        shared = min(len(times), len(new_times))  # rounding may move a request over the cut
        assert abs(len(times) - len(new_times)) <= 1
        assert new_times[:shared] * scale == pytest.approx(times[:shared], rel=1e-9)
        assert all(np.array_equal(a[:shared], b[:shared]) for a, b in zip(lengths, new_lengths, strict=True))


def test_another_class_never_changes_mine() -> None:
    alone, beside = (draw(c, seed=4, folder=HERE, requests=400) for c in ([CHAT], [CODE, CHAT]))
    mine = of_class(beside, 1)
    for column, whole in zip(mine, of_class(alone, 0), strict=True):
        assert np.array_equal(column, whole[: len(column)])
    assert 0 < len(mine[0]) < 400


def test_classes_are_independent_of_each_other() -> None:
    merged = draw([CHAT, one("twin", rate="10/s")], seed=4, folder=HERE, requests=4000)
    (times, tokens, _), (twin_times, twin_tokens, _) = of_class(merged, 0), of_class(merged, 1)
    n = min(len(times), len(twin_times)) - 1
    for mine, other in ((np.diff(times)[:n], np.diff(twin_times)[:n]), (tokens[:n], twin_tokens[:n])):
        assert abs(stats.spearmanr(mine, other).statistic) < 4 / np.sqrt(n)


def test_gaps_tell_nothing_about_lengths() -> None:
    """Over seeds, where a generator in common would show; nor about how far a length is from the median."""
    traffic = load([CHAT], HERE)
    n = 2000
    firsts = [traffic.draw(seed=seed, requests=1) for seed in range(n)]
    gaps = np.array([drawn.arrival_s[0] for drawn in firsts])
    tokens = np.array([drawn.input_tokens[0] for drawn in firsts])
    for tale in (tokens, np.abs(stats.rankdata(tokens) - n / 2)):
        assert abs(stats.spearmanr(gaps, tale).statistic) < 4 / np.sqrt(n)


def test_longer_draw_goes_on_where_the_shorter_ends() -> None:
    short, long = (draw([CHAT, CODE], seed=4, folder=HERE, requests=n) for n in (200, 1000))
    assert np.array_equal(long.arrival_s[:200], short.arrival_s)
    assert np.array_equal(long.output_tokens[:200], short.output_tokens)


def test_rate_of_a_class_changes_only_its_clock() -> None:
    slow, fast = (draw([one("chat", rate=r)], seed=4, folder=HERE, requests=200) for r in ("5/s", "10/s"))
    assert slow.arrival_s == pytest.approx(2 * fast.arrival_s, rel=1e-12)
    assert np.array_equal(slow.input_tokens, fast.input_tokens)


def test_merged_order_and_names() -> None:
    merged = draw([CHAT, CODE], seed=0, folder=HERE, requests=1000)
    assert (np.diff(merged.arrival_s) >= 0).all()
    assert merged.class_names == ("chat", "code")
    assert merged.concurrency == 0
    share = (merged.class_index == 1).mean()
    assert share == pytest.approx(0.2, abs=4 * 2.0 * np.sqrt(0.2 / 1000))


def test_ties_are_broken_by_class_then_index(tmp_path: Path) -> None:
    burst = list(range(1, 101))
    trace = traced(tmp_path, "".join(f"0,{i},1\n" for i in burst) + "5,999,1\n")
    twin = trace.model_copy(update={"name": "u"})
    merged = draw([trace, twin], seed=0, folder=tmp_path)
    assert merged.class_index.tolist() == [0] * 100 + [1] * 100 + [0, 1]
    assert merged.input_tokens.tolist() == burst + burst + [999, 999]


def test_every_class_gets_on_average_what_it_asks_for() -> None:
    classes = [CHAT.model_copy(update={"requests": 100}), CODE.model_copy(update={"requests": 100})]
    merged = draw(classes, seed=0, folder=HERE)
    assert len(merged) == 500  # 100 at 2.5/s last 40 s, in which the other class brings 400
    assert len(draw([CHAT], seed=0, folder=HERE)) == 1000
    assert len(draw(classes[:1], seed=0, folder=HERE)) == 100


def test_long_run_rate_is_the_offered_rate() -> None:
    drawn = draw([CHAT], seed=0, folder=HERE, requests=20_000)
    assert 20_000 / drawn.arrival_s[-1] == pytest.approx(10.0, rel=4 / np.sqrt(20_000))


def test_job_arrives_at_once_and_has_its_size() -> None:
    job = one("job", 70, all_at_once=True)
    drawn = draw([job], seed=0, folder=HERE)
    assert len(drawn) == 70
    assert (drawn.arrival_s == 0).all()
    assert len(draw([job], seed=0, folder=HERE, requests=30)) == 30
    assert len(draw([job], seed=0, folder=HERE, requests=300)) == 70


def test_job_beside_an_open_class_comes_first() -> None:
    job = one("job", 70, all_at_once=True)
    merged = draw([CHAT, job], seed=0, folder=HERE, requests=100)
    assert len(merged) == 170
    assert (merged.class_index[:70] == 1).all()


def test_closed_loop_has_its_concurrency() -> None:
    drawn = draw([one("loop", concurrency=16)], seed=0, folder=HERE, requests=64)
    assert drawn.concurrency == 16
    assert (drawn.arrival_s == 0).all()
    faster = draw([one("loop", concurrency=16)], seed=0, folder=HERE, requests=64, rate_scale=9.0)
    assert same(drawn, faster)


def test_closed_loop_beside_others_is_refused() -> None:
    with pytest.raises(BadInput, match="'loop' is a closed loop and cannot share"):
        draw([CHAT, one("loop", concurrency=16)], seed=0, folder=HERE)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_rate_scale_must_be_positive(scale: float) -> None:
    with pytest.raises(BadInput, match="rate_scale must be positive"):
        draw([CHAT], seed=0, folder=HERE, rate_scale=scale)


def test_all_problems_of_all_classes_at_once(tmp_path: Path) -> None:
    bad = [
        RequestClass(name="a", model="m", preset="azure-konv-2023"),
        RequestClass(name="b", model="m", preset="sharegpt-chat"),
        RequestClass.model_validate({"name": "c", "model": "m", "trace": {"file": "none.csv"}}),
    ]
    with pytest.raises(BadInput) as caught:
        load(bad, tmp_path)
    first, second, third = map(str, caught.value.problems)
    assert "unknown traffic preset 'azure-konv-2023'" in first
    assert "did you mean 'azure-conv-2023'" in first
    assert "class 'b': preset 'sharegpt-chat' has no arrivals of its own" in second
    assert third.startswith(str(tmp_path / "none.csv"))


def test_trace_is_replayed_row_by_row_and_scaled(tmp_path: Path) -> None:
    trace = traced(tmp_path, "100,11,1\n102,12,2\n106,13,3\n", rate_scale=2.0)
    drawn = draw([trace], seed=0, folder=tmp_path)
    assert drawn.arrival_s.tolist() == [0.0, 1.0, 3.0]
    assert drawn.input_tokens.tolist() == [11, 12, 13]
    assert draw([trace], seed=0, folder=tmp_path, rate_scale=3.0).arrival_s == pytest.approx([0, 1 / 3, 1.0])
    assert draw([trace], seed=0, folder=tmp_path, requests=2).arrival_s.tolist() == [0.0, 1.0]
    (told,) = offered([trace], tmp_path)
    assert told.rate_per_s == pytest.approx(2 / 3.0)
    assert (told.input_tokens, told.output_tokens) == (12.0, 2.0)


def test_limit_keeps_the_head_of_a_trace(tmp_path: Path) -> None:
    trace = traced(tmp_path, "0,11,1\n1,12,2\n2,13,3\n", limit=2)
    assert draw([trace], seed=0, folder=tmp_path).input_tokens.tolist() == [11, 12]


def test_stream_of_several_classes_ends_with_its_trace(tmp_path: Path) -> None:
    trace = traced(tmp_path, "0,11,1\n1,12,2\n2,13,3\n")
    merged = draw([trace, CHAT], seed=0, folder=tmp_path, requests=10_000)
    assert merged.arrival_s[-1] == 2.0
    assert (merged.class_index == 0).sum() == 3
    assert 5 < (merged.class_index == 1).sum() < 45


def test_lengths_of_a_trace_under_another_process_are_its_rows(tmp_path: Path) -> None:
    trace = traced(tmp_path, "0,11,1\n1,12,2\n2,13,3\n", arrivals={"rate": "4/s"})
    drawn = draw([trace], seed=0, folder=tmp_path, requests=600)
    assert len(drawn) == 600
    pairs = set(zip(drawn.input_tokens.tolist(), drawn.output_tokens.tolist(), strict=True))
    assert pairs == {(11, 1), (12, 2), (13, 3)}
    assert 600 / drawn.arrival_s[-1] == pytest.approx(4.0, rel=4 / np.sqrt(600))


def test_rate_scale_of_times_that_are_not_played_is_refused(tmp_path: Path) -> None:
    trace = traced(tmp_path, "0,11,1\n1,12,2\n", arrivals={"rate": "4/s"}, rate_scale=2.0)
    with pytest.raises(BadInput, match="'t': rate_scale scales the trace's own times only"):
        draw([trace], seed=0, folder=tmp_path)


def test_trace_without_times_needs_arrivals(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("isl,osl\n10,20\n")
    bare = RequestClass.model_validate({"name": "l", "model": "m", "trace": {"file": "l.csv"}})
    with pytest.raises(BadInput, match="lengths but no times - give arrivals"):
        draw([bare], seed=0, folder=tmp_path)
    job = bare.model_copy(update={"arrivals": one("x", 9, all_at_once=True).arrivals})
    assert len(draw([job], seed=0, folder=tmp_path)) == 1


def test_offered_rates() -> None:
    swing = one("swing", rate="6/s", profile=(0.5, 1.0, 3.0))
    job = one("job", 70, all_at_once=True, deadline="10 s")
    loop = one("loop", concurrency=16)
    told = {o.name: o for o in offered([CHAT, swing, job, loop], HERE)}
    assert (told["chat"].rate_per_s, told["chat"].peak_per_s) == (10.0, 10.0)
    assert (told["swing"].rate_per_s, told["swing"].peak_per_s) == (9.0, 18.0)
    assert (told["job"].rate_per_s, told["job"].requests, told["job"].deadline_s) == (7.0, 70, 10.0)
    assert (told["loop"].rate_per_s, told["loop"].concurrency) == (None, 16)
    assert told["chat"].output_tokens == 152.5
    assert mean_rate([CHAT, swing, loop], HERE) == 19.0


def test_at_peak_is_flat_at_the_busiest_step() -> None:
    swing = one("swing", rate="6/s", profile=(0.5, 1.0, 3.0), profile_step="3600 s")
    traffic = load([swing, CHAT], HERE)
    peak = traffic.at_peak()
    assert [o.rate_per_s for o in peak.offered()] == [18.0, 10.0]
    drawn = peak.draw(seed=0, requests=20_000)
    assert 20_000 / drawn.arrival_s[-1] == pytest.approx(28.0, rel=4 / np.sqrt(20_000))
    first_hour = traffic.draw(seed=0, requests=2000)
    assert np.array_equal(of_class(first_hour, 0)[1][:100], of_class(drawn, 0)[1][:100])
