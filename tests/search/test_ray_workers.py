"""Ray computes what the processes do, in the same order; what it cannot do is one line of bad input within seconds."""

from __future__ import annotations

import importlib.util
import math
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from planner.errors import BadInput
from planner.search import ray_workers
from planner.search.admit import admit
from planner.search.evaluate import Evaluation, evaluate
from planner.search.journal import NoJournal
from planner.search.setting import Setting
from planner.search.space import enumerate_pools
from planner.search.workers import Executor, Serial
from planner.testing import TINY_YAML

HAS_RAY = importlib.util.find_spec("ray") is not None
needs_ray = pytest.mark.skipif(not HAS_RAY, reason="Ray is not installed (the extra `ray`)")
Ended = subprocess.CompletedProcess[str]
ROOT = Path(__file__).parents[2]


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.mark.skipif(HAS_RAY, reason="Ray is installed")
def test_without_ray_the_line_says_what_to_install() -> None:
    with pytest.raises(BadInput, match=r"serveplan\[ray\]"), ray_workers.ray_workers("ray", 1):
        pass


@pytest.mark.parametrize(
    "engine", ["ray://", "ray://host", "ray://host:", "ray://:10001", "ray://host:port", "ray://h:99999"]
)
def test_words_that_are_no_address(engine: str) -> None:
    with pytest.raises(BadInput, match="no address"):
        ray_workers.reach(engine)


def test_an_address_where_nobody_answers_is_told_in_seconds() -> None:
    begun = time.monotonic()
    with pytest.raises(BadInput, match=r"nobody answers at ray://127\.0\.0\.1:\d+: Connection refused") as told:
        ray_workers.reach(f"ray://127.0.0.1:{free_port()}")
    assert time.monotonic() - begun < 2 * ray_workers.ANSWERS_WITHIN_S
    assert "\n" not in str(told.value)


def test_code_is_compared_by_source_and_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = ray_workers.code()
    assert set(mine) == {"serveplan", "python", "numpy", "numba"}
    ray_workers.same_code(dict(mine))
    with pytest.raises(BadInput, match=r"runs numpy 1\.0 \(here "):
        ray_workers.same_code({**mine, "numpy": "1.0"})


@pytest.fixture(scope="module")
def local() -> Iterator[Executor]:
    """A Ray of this machine with two processes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.setenv("RAY_AUTH_MODE", "disabled")
        with ray_workers.ray_workers("ray", 2) as workers:
            yield workers


@needs_ray
def test_answers_come_in_order_and_errors_as_they_were_raised(local: Executor) -> None:
    assert list(local.map(abs, list(range(-5, 6)))) == [abs(i) for i in range(-5, 6)]
    with pytest.raises(ValueError, match=r"^math domain error$"):
        list(local.map(math.sqrt, [4.0, -1.0]))


@needs_ray
def test_workers_with_other_code_are_refused(local: Executor, monkeypatch: pytest.MonkeyPatch) -> None:
    here = ray_workers.code()
    monkeypatch.setattr(ray_workers, "code", lambda: {**here, "serveplan": "another"})
    with pytest.raises(BadInput, match=r"runs serveplan \w+ \(here another\)"):
        list(local.map(abs, [1]))


@needs_ray
def test_a_search_on_ray_finds_what_it_finds_here(local: Executor, small: Callable[..., Setting]) -> None:
    one, other = found_by(local, small()), found_by(Serial(), small())
    assert one.found == other.found
    assert len(one.found) > 1
    assert [(r.rule, r.candidate) for r in one.refused] == [(r.rule, r.candidate) for r in other.refused]


def found_by(workers: Executor, setting: Setting) -> Evaluation:
    admitted = admit(enumerate_pools(setting), setting)
    return evaluate(admitted, setting, workers, NoJournal(), lambda done, total, what: None)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Ray cluster of one machine, as somebody else would have started it; its address for clients."""
    folder, port, client = tmp_path_factory.mktemp("ray"), free_port(), free_port()
    words = ["--num-cpus=2", "--include-dashboard=false", "--node-ip-address=127.0.0.1", f"--temp-dir={folder}"]
    ports = [f"--port={port}", f"--ray-client-server-port={client}"]
    command = [Path(sys.executable).with_name("ray"), "start", "--head", "--block", *words, *ports]
    own = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0"}
    with open(folder / "log", "w") as log, subprocess.Popen(command, stdout=log, stderr=log, env=own) as head:
        wait_for(client)
        yield f"ray://127.0.0.1:{client}"
        head.send_signal(signal.SIGTERM)


def wait_for(port: int) -> None:
    for _ in range(120):
        with socket.socket() as trial:
            if trial.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.5)
    raise TimeoutError(f"nothing listens on {port}")


QUIET = {"PYTHONWARNINGS": "default", "RAY_AUTH_MODE": "disabled"}
"""Warnings inside of Ray are not ours to mend."""


@needs_ray
def test_a_plan_of_a_cluster_has_the_same_bytes(serveplan: Callable[..., Ended], cluster: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_YAML)
    here = serveplan("plan", "tiny.yaml", "--json", "--quiet", "--jobs", "1")
    there = serveplan("plan", "tiny.yaml", "--json", "--quiet", "--engine", cluster, env=QUIET)
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout == here.stdout


def test_an_engine_that_cannot_be_had_leaves_no_plan(serveplan: Callable[..., Ended], tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(TINY_YAML)
    for engine in ("rai", "ray://nowhere", f"ray://127.0.0.1:{free_port()}"):
        ended = serveplan("plan", "tiny.yaml", "--engine", engine, "-o", "plan.json", env=QUIET)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert len(ended.stderr.splitlines()) == 1
        assert sorted(file.name for file in tmp_path.glob("*plan*")) == []
