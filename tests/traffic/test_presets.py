"""Presets: what is shipped says what was published, and a user's own file is read with the same care."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from planner.errors import BadInput
from planner.spec.workload import RequestClass
from planner.traffic import Preset, draw, load, read_presets, shipped
from planner.traffic.arrivals import mean_rate_per_s
from planner.traffic.lengths import mean_tokens

HERE = Path(".")
ALL = shipped()
MEASURED = [(name, side) for name, p in ALL.items() for side in ("input", "output") if getattr(p, f"mean_{side}")]
MEAN_ERROR = {("azure-code-2023", "output"): 0.05, ("production-chat-large", "output"): 0.03}
"""Two tables of 27 quantiles lose more of a heavy tail than 2.5 % of the mean."""


def of_preset(name: str, **fields: object) -> RequestClass:
    return RequestClass.model_validate({"name": "c", "model": "m", "preset": name, **fields})


@pytest.mark.parametrize(("name", "side"), MEASURED)
def test_lengths_reproduce_the_published_mean(name: str, side: str) -> None:
    fitted = mean_tokens(getattr(ALL[name].lengths, side))
    published = getattr(ALL[name], f"mean_{side}")
    assert fitted == pytest.approx(published, rel=MEAN_ERROR.get((name, side), 0.025))


@pytest.mark.parametrize("name", [name for name, p in ALL.items() if p.arrivals])
def test_profile_keeps_the_published_mean_rate(name: str) -> None:
    arrivals = ALL[name].arrivals
    assert arrivals is not None
    assert mean_rate_per_s(arrivals) == pytest.approx(arrivals.rate_per_s, rel=1e-3)


@pytest.mark.parametrize("name", sorted(ALL))
def test_every_preset_draws(name: str) -> None:
    arrivals = None if ALL[name].arrivals else {"rate": "3/s"}
    drawn = draw([of_preset(name, arrivals=arrivals)], seed=1, folder=HERE, requests=4000)
    assert (np.diff(drawn.arrival_s) >= 0).all()
    for side, tokens in (("input", drawn.input_tokens), ("output", drawn.output_tokens)):
        expected = mean_tokens(getattr(ALL[name].lengths, side))
        assert abs(tokens.mean() - expected) < 5 * tokens.std() / np.sqrt(4000) + 0.5
    assert ALL[name].source
    assert ALL[name].confidence in ("low", "medium", "high")


def test_published_facts_of_the_conversation_trace() -> None:
    """Azure 2023 conversation: 5.53 requests/s, median 1,020 in and 129 out."""
    traffic = load([of_preset("azure-conv-2023")], HERE)
    drawn = traffic.draw(seed=2, requests=20_000)
    assert np.median(drawn.input_tokens) == pytest.approx(1020, rel=0.02)
    assert np.median(drawn.output_tokens) == pytest.approx(129, rel=0.05)
    (told,) = traffic.offered()
    assert told.rate_per_s == pytest.approx(5.5304, rel=1e-3)
    assert told.peak_per_s == pytest.approx(5.5304 * 1.521, rel=1e-3)


def test_slow_swing_of_the_conversation_preset_disperses_its_counts_as_measured() -> None:
    """Variance over mean of counts in 60 s: 16.13 measured, about 1 for Poisson; its spread over seeds is 2."""
    found = []
    for seed in range(12):
        times = draw([of_preset("azure-conv-2023")], seed=seed, folder=HERE, requests=19_366).arrival_s
        counts = np.histogram(times, np.arange(0, 3481, 60))[0]
        found.append(counts.var() / counts.mean())
    assert np.mean(found) == pytest.approx(16.13, abs=2.0)


def test_arrivals_of_the_class_override_those_of_the_preset() -> None:
    drawn = draw([of_preset("azure-conv-2023", arrivals={"concurrency": 8})], seed=2, folder=HERE, requests=50)
    assert drawn.concurrency == 8


GOOD = """
levels: [0, 0.5, 1]
presets:
  mine:
    description: mine
    source: measured here
    fitted_on: 10 requests
    arrivals: {rate: 2/s}
    lengths:
      input: [1, 10, 100]
      output: {fixed: 7}
"""


def test_a_users_presets_are_read_and_used(tmp_path: Path) -> None:
    (tmp_path / "presets.yaml").write_text(GOOD)
    known = {**ALL, **read_presets(tmp_path / "presets.yaml")}
    drawn = load([of_preset("mine")], tmp_path, known).draw(seed=0, requests=200)
    assert set(drawn.output_tokens.tolist()) == {7}
    assert isinstance(known["mine"], Preset)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[1, 10, 100]", "[1, 10]", "one token count from 1 for each of `levels`"),
        ("[1, 10, 100]", "[1, x, 100]", "one token count from 1 for each of `levels`"),
        ("[1, 10, 100]", "[1, 100, 10]", "values must not fall"),
        ("levels: [0, 0.5, 1]", "levels: 3", "one token count from 1 for each of `levels`"),
        ("{rate: 2/s}", "{concurrency: 3}", "arrivals of a preset are a rate"),
        ("{rate: 2/s}", "{rate: 2}", "presets.mine.arrivals.rate: expected rate with a unit"),
        ("source: measured here", "sauce: measured here", "presets.mine.source: Field required"),
        ("presets:", "prasets:", "presets: Field required"),
        ("levels: [0, 0.5, 1]", "levels: [", "cannot read the presets"),
    ],
)
def test_mistakes_in_a_users_presets_are_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "presets.yaml"
    file.write_text(GOOD.replace(old, new))
    with pytest.raises(BadInput) as caught:
        read_presets(file)
    assert any(message in str(problem) for problem in caught.value.problems)
    assert str(caught.value.problems[0]).startswith(str(file))


def test_missing_presets_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot read the presets"):
        read_presets(tmp_path / "none.yaml")
