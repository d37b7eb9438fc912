"""Coefficients: the fitted collectives of one measured device, read from `hardware_db/coefficients`. No formulas."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import yaml

from planner.spec.hardware import Accelerator

Form = dict[str, float]


@dataclass(frozen=True, slots=True)
class Coefficients:
    """Forms of one device. `own`: measured on it; otherwise borrowed from the device it behaves like."""

    device: str
    own: bool
    tables: Any

    def collective(self, kind: str, library: str, gpus: int) -> Form | None:
        form: Form | None = self.tables.get("collectives", {}).get(kind, {}).get(library, {}).get(gpus)
        return form


def coefficients_of(accelerator: Accelerator) -> Coefficients | None:
    """Fits of this accelerator, else of the one it behaves like, else None."""
    for name in (accelerator.name, accelerator.behaves_like):
        if name and (tables := _tables(name)) is not None:
            return Coefficients(name, name == accelerator.name, tables)
    return None


@cache
def _tables(name: str) -> dict[str, Any] | None:
    file = data_folder("coefficients") / f"{name}.yaml"
    if not file.is_file():
        return None
    loaded: dict[str, Any] = yaml.load(file.read_text(encoding="utf-8"), yaml.CSafeLoader)
    return loaded


def data_folder(name: str) -> Traversable | Path:
    """Folder `name` of hardware_db: under `planner/_db` in an installed package, beside `planner` in a checkout."""
    installed = files("planner") / "_db" / "hardware_db" / name
    if installed.is_dir():
        return installed
    return Path(__file__).parents[2] / "hardware_db" / name
