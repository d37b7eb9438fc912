"""The public traces, where they stand beside the repository: counts and means as published, presets against rows."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from planner.spec.workload import RequestClass
from planner.traffic import draw, shipped
from planner.traffic.readers import read

TRACES = Path(__file__).resolve().parents[2].parent / "shared" / "traces"
pytestmark = pytest.mark.skipif(not TRACES.is_dir(), reason="the public traces are not beside the repository")

# file -> format, rows, requests/s, mean input, mean output: the publishers' full files
PUBLISHED = {
    "azure_llm_2023_conv.csv.gz": ("azure", 19_366, 5.53, 1154.7, 211.1),
    "azure_llm_2023_code.csv.gz": ("azure", 8_819, 2.567, 2047.8, 27.9),
    "mooncake_conversation.jsonl.gz": ("mooncake", 12_031, 3.399, 12_035.1, 342.6),
    "mooncake_synthetic.jsonl.gz": ("mooncake", 3_993, 3.907, 15_325.5, 149.1),
    "arxiv_long_lengths.csv.gz": ("sharegpt", 2_895, None, 10_041.0, 471.4),
    "sharegpt_lengths.csv.gz": ("sharegpt", 5_000, None, None, None),
}
# preset, side -> file and published KS distance of the quantile table
FITS = {
    ("azure-conv-2023", "input"): ("azure_llm_2023_conv.csv.gz", 0.0337),
    ("azure-conv-2023", "output"): ("azure_llm_2023_conv.csv.gz", 0.0265),
    ("azure-code-2023", "input"): ("azure_llm_2023_code.csv.gz", 0.0212),
    ("azure-code-2023", "output"): ("azure_llm_2023_code.csv.gz", 0.0216),
    ("mooncake-conversation", "input"): ("mooncake_conversation.jsonl.gz", 0.0163),
    ("mooncake-synthetic", "output"): ("mooncake_synthetic.jsonl.gz", 0.018),
    ("longdoc-summarisation", "output"): ("arxiv_long_lengths.csv.gz", 0.0077),
}
SPEARMAN = {
    "azure-conv-2023": 0.073, "sharegpt-chat": 0.15, "mooncake-conversation": 0.072, "mooncake-synthetic": -0.517,
    "longdoc-summarisation": 0.705, "doc-summarisation-4k": -0.114, "apex-creation": 0.713,
}  # fmt: skip


def replay(file: str) -> RequestClass:
    return RequestClass.model_validate({"name": "c", "model": "m", "trace": {"file": file}})


@pytest.mark.parametrize("file", PUBLISHED)
def test_trace_has_its_published_rows_and_means(file: str) -> None:
    _, rows, rate, mean_input, mean_output = PUBLISHED[file]
    found = read(TRACES / file)
    assert len(found) == rows
    if rate is not None:
        assert found.rate_per_s == pytest.approx(rate, rel=1e-3)
    if mean_input is not None:
        assert found.input_tokens.mean() == pytest.approx(mean_input, abs=0.05)
        assert found.output_tokens.mean() == pytest.approx(mean_output, abs=0.05)


@pytest.mark.parametrize("file", PUBLISHED)
def test_format_is_recognised(file: str) -> None:
    named, guessed = read(TRACES / file, PUBLISHED[file][0]), read(TRACES / file)
    assert np.array_equal(named.input_tokens, guessed.input_tokens)
    assert np.array_equal(named.output_tokens, guessed.output_tokens)


@pytest.mark.parametrize(("preset", "side"), FITS)
def test_preset_stands_as_near_to_the_rows_as_published(preset: str, side: str) -> None:
    file, published = FITS[preset, side]
    arrivals = {"rate": "1/s"}
    fitted = RequestClass.model_validate({"name": "c", "model": "m", "preset": preset, "arrivals": arrivals})
    n = 100_000
    drawn = getattr(draw([fitted], seed=0, folder=TRACES, requests=n), f"{side}_tokens")
    rows = getattr(read(TRACES / file), f"{side}_tokens")
    noise = 1.63 / np.sqrt(n)  # 99 % band of a KS distance
    assert stats.ks_2samp(drawn, rows).statistic < published + noise


@pytest.mark.parametrize("preset", SPEARMAN)
def test_preset_has_the_published_rank_correlation(preset: str) -> None:
    arrivals = {"rate": "1/s"}
    fitted = RequestClass.model_validate({"name": "c", "model": "m", "preset": preset, "arrivals": arrivals})
    drawn = draw([fitted], seed=0, folder=TRACES, requests=100_000)
    measured = stats.spearmanr(drawn.input_tokens, drawn.output_tokens).statistic
    assert measured == pytest.approx(SPEARMAN[preset], abs=0.02)


def test_replay_of_exact_times_is_the_trace() -> None:
    drawn = draw([replay("azure_llm_2023_conv.csv.gz")], seed=0, folder=TRACES)
    rows = read(TRACES / "azure_llm_2023_conv.csv.gz")
    assert rows.arrival_s is not None
    assert np.array_equal(drawn.arrival_s, rows.arrival_s)
    assert np.array_equal(drawn.input_tokens, rows.input_tokens)


def test_times_rounded_to_three_seconds_are_spread_and_look_poisson() -> None:
    """1,180 distinct times for 12,031 requests: gap CV 3.0 as recorded, 1.018 after spreading."""
    rows = read(TRACES / "mooncake_conversation.jsonl.gz")
    assert rows.arrival_s is not None
    assert len(np.unique(rows.arrival_s)) == 1180
    assert rows.grid_s == pytest.approx(3.0, abs=0.01)
    played = draw([replay("mooncake_conversation.jsonl.gz")], seed=5, folder=TRACES)
    raw, spread = np.diff(rows.arrival_s), np.diff(played.arrival_s)
    assert raw.std() / raw.mean() == pytest.approx(3.0, abs=0.05)
    assert spread.std() / spread.mean() == pytest.approx(1.018, abs=0.02)


def test_dispersion_of_the_code_preset_is_what_its_notes_say() -> None:
    """Variance over mean of counts in 1, 10, 60 s windows; single seeds scatter by a fifth, so thirty are averaged."""
    preset = shipped()["azure-code-2023"]
    assert "14, 43 and 183" in preset.notes
    one = RequestClass(name="c", model="m", preset="azure-code-2023")
    found = []
    for seed in range(30):
        times = draw([one], seed=seed, folder=TRACES, requests=8819).arrival_s
        counts = [np.histogram(times, np.arange(0, 3421, window))[0] for window in (1, 10, 60)]
        found.append([c.var() / c.mean() for c in counts])
    assert np.mean(found, axis=0) == pytest.approx([14, 43, 183], rel=0.1)
