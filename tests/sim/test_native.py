"""Machine code in a file: found again whole or not at all, and without numba."""

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from planner.sim import kernel
from planner.sim.native import Code, descriptors, layout_of, read, write
from planner.sim.state import TIER, State

CODE = Code("loop", b"\x7fELF\n\n machine \n code")


def test_what_was_written_is_read(tmp_path: Path) -> None:
    write(tmp_path / "loop.o", CODE)
    assert read(tmp_path / "loop.o") == CODE
    assert [file.name for file in tmp_path.iterdir()] == ["loop.o"]


@pytest.mark.parametrize("damage", [lambda b: b[:-1], lambda b: b.replace(b"machine", b"Machine"), lambda b: b""])
def test_damaged_code_is_not_read(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    file = tmp_path / "loop.o"
    write(file, CODE)
    file.write_bytes(damage(file.read_bytes()))
    assert read(file) is None


def test_a_full_disk_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[: len(data) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", half)
    write(tmp_path / "loop.o", CODE)
    assert list(tmp_path.iterdir()) == []


def test_missing_code_is_not_read(tmp_path: Path) -> None:
    assert read(tmp_path / "loop.o") is None


def test_descriptors_say_where_the_arrays_are() -> None:
    arrays = [np.zeros((2, k + 1)) for k in range(len(State._fields))]
    words = descriptors(State(*arrays)).reshape(len(arrays), -1)
    for word, array in zip(words, arrays, strict=True):
        assert word.tolist() == [array.ctypes.data, *array.shape, *array.strides]


def test_arrays_with_gaps_are_refused() -> None:
    arrays = [np.zeros((2, 2)) for _ in State._fields]
    assert layout_of(State(*arrays)) == ((np.dtype(float), 2),) * len(arrays)
    with pytest.raises(ValueError, match="contiguous"):
        layout_of(State(*arrays[1:], arrays[0][:, :1]))


def test_plain_runs_of_these_tests_refuse_negative_indices() -> None:
    """Compiled code reads whatever stands before an array; conftest sees to it that the same source never does."""
    kinds = {1: TIER, 2: np.dtype(float)}
    arrays = [np.zeros((3,) * ndim, dtype) for ndim, dtype in kinds.items()]
    s = kernel.thaw(State(*(arrays[k % 2] for k in range(len(State._fields)))))
    for array, index in ((s[0], -1), (s[1], (0, -1))):
        with pytest.raises(IndexError, match="from the start only"):
            array[index]


def test_code_that_is_kept_needs_no_numba() -> None:
    """The first process may compile; the second only loads, which is what makes short commands quick."""
    words = "import sys; from planner.sim.simulate import prepare; prepare(); sys.exit('numba' in sys.modules)"
    subprocess.run([sys.executable, "-c", words], check=False)
    assert subprocess.run([sys.executable, "-c", words], check=False).returncode == 0
