"""The wheel works where the sources are not: built, installed into an empty environment, used from another folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest


def run(*words: object, cwd: Path) -> str:
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "SERVEPLAN_CATALOG")}
    ended = subprocess.run([str(w) for w in words], capture_output=True, text=True, cwd=cwd, env=env, timeout=600)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def wheel(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    run(*pip, "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, root, cwd=folder)
    (built,) = folder.glob("serveplan-*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; its dependencies are those of the test environment, without its serveplan."""
    home = tmp_path_factory.mktemp("env")
    run(sys.executable, "-m", "venv", "--without-pip", home, cwd=home)
    python = home / "bin" / "python"
    run(
        sys.executable,
        "-m",
        "pip",
        "--python",
        python,
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        wheel,
        cwd=home,
    )
    (site,) = home.glob("lib/python*/site-packages")
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return home / "bin"


def test_the_wheel_holds_the_catalogs_and_no_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    assert any(name.startswith("planner/_db/hardware_db/accelerators/") for name in names)
    assert any(name.startswith("planner/_db/model_db/") for name in names)
    assert "planner/cli/starter.yaml" in names
    assert any(name.endswith("licenses/NOTICE") for name in names)
    assert not any(name.startswith(("tests/", "scenarios/")) for name in names)


def test_the_installed_command_plans_from_another_folder(environment: Path, root: Path, tmp_path: Path) -> None:
    where = run(environment / "python", "-c", "import planner; print(planner.__file__)", cwd=tmp_path)
    assert Path(where.strip()).is_relative_to(environment.parent)
    run(environment / "serveplan", "init", "mine.yaml", cwd=tmp_path)
    report = run(environment / "serveplan", "plan", "mine.yaml", "-o", "plan.json", "--jobs", 1, cwd=tmp_path)
    assert "What runs" in report
    run(environment / "serveplan", "diff", "plan.json", "plan.json", "--exit-code", cwd=tmp_path)
