"""The kernel family of an accelerator, by which engine profiles differ. Not what the hardware can do."""

from __future__ import annotations

from functools import cache
from importlib.resources import files

import yaml

from planner.spec.hardware import Accelerator


def family_of(accelerator: Accelerator) -> str:
    """Family of an accelerator, else of the one it behaves like, else "" (an engine profile then applies as it is)."""
    known = _families()
    return known.get(accelerator.name, known.get(accelerator.behaves_like, ""))


@cache
def _families() -> dict[str, str]:
    text = (files("planner.engines") / "families.yaml").read_text(encoding="utf-8")
    return {name: family for family, names in yaml.safe_load(text).items() for name in names}
