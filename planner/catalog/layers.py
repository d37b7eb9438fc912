"""Where the catalogs are: the shipped one and the user's overlays, and which file holds which entry. Reads no entry."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from planner.errors import BadInput, Problem, Where

VARIABLE = "SERVEPLAN_CATALOG"
PARTS = ("hardware_db", "model_db", "engines", "presets")
"""What a catalog may hold: two folders of hardware and models, engine profiles, and a file or folder of presets."""

# kind -> (part, folder in it)
FOLDERS: Mapping[str, tuple[str, str]] = {
    "accelerators": ("hardware_db", "accelerators"),
    "nodes": ("hardware_db", "nodes"),
    "fabrics": ("hardware_db", "fabrics"),
    "prices": ("hardware_db", "prices"),
    "tco": ("hardware_db", "tco"),
    "models": ("model_db", ""),
    "stage_models": ("model_db", "other"),
    "engines": ("engines", ""),
    "presets": ("presets", ""),
}
_NOT_A_MODEL = ("aliases.yaml", "other")


@dataclass(frozen=True, slots=True)
class Layer:
    """One catalog: the folder of each part it has. `shown` replaces `root` in messages; overlays show themselves."""

    root: Path
    shown: str
    parts: Mapping[str, Path]

    def files(self, kind: str) -> Iterator[Path]:
        """All YAML files of a kind, in the order of their paths."""
        part, folder = FOLDERS[kind]
        if part not in self.parts:
            return
        top = self.parts[part] / folder
        if os.path.isfile(top):  # unlike Path.is_file it says no where permission is missing
            yield top
            return
        for path in _yaml_files(top):
            if kind != "models" or path.relative_to(top).parts[0] not in _NOT_A_MODEL:
                yield path

    def alias_files(self) -> Iterator[Path]:
        for part in ("hardware_db", "model_db"):
            if part in self.parts and os.path.isfile(path := self.parts[part] / "aliases.yaml"):
                yield path

    def name_of(self, path: Path) -> str:
        """How a message calls a file of this layer."""
        return (
            str(Path(self.shown) / path.relative_to(self.root))
            if self.shown
            else path.relative_to(self.root).as_posix()
        )


def shipped() -> Layer:
    """The catalog of this installation: in the wheel beside the package, in a checkout beside its folder."""
    package = Path(__file__).resolve().parents[1]
    inside = package / "_db"
    base = inside if inside.is_dir() else package.parent
    parts = {
        "hardware_db": base / "hardware_db",
        "model_db": base / "model_db",
        "engines": package / "engines" / "profiles",
        "presets": package / "traffic" / "presets.yaml",
    }
    return Layer(package.parent, "", parts)


def overlay(folder: Path) -> Layer:
    """A user's catalog; BadInput when the folder holds nothing that a catalog can hold."""
    if not os.path.isdir(folder):
        what = "not a folder" if os.path.exists(folder) else "no such folder"
        raise BadInput(
            Problem(f"catalog: {what}", Where(str(folder)), "give a folder laid out like the shipped catalog")
        )
    parts = {part: folder / part for part in PARTS if os.path.isdir(folder / part)}
    if os.path.isfile(folder / "presets.yaml"):
        parts["presets"] = folder / "presets.yaml"
    if not parts:
        hint = f"expected one of {', '.join(PARTS)} in it"
        raise BadInput(Problem("catalog: nothing to read in this folder", Where(str(folder)), hint))
    return Layer(folder, str(folder), parts)


def layers(overlays: Sequence[Path], environment: Mapping[str, str] = os.environ) -> tuple[Layer, ...]:
    """Shipped, then those of SERVEPLAN_CATALOG, then `overlays`; of entries with one name the last one counts."""
    named = [Path(part) for part in environment.get(VARIABLE, "").split(os.pathsep) if part]
    return (shipped(), *(overlay(folder) for folder in (*named, *overlays)))


def content_hash(found: Sequence[Layer]) -> str:
    """SHA-256 over every file of every layer, also of those that other rooms read: its place and its bytes."""
    digest = hashlib.sha256()
    for layer in found:
        for part in sorted(layer.parts):
            top = layer.parts[part]
            for path in [top] if os.path.isfile(top) else _files(top):
                digest.update(f"{part}/{path.relative_to(top).as_posix()}\0".encode())
                digest.update(hashlib.sha256(_content(path, layer)).digest())
    return digest.hexdigest()


def _content(path: Path, layer: Layer) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise BadInput(Problem(f"cannot be read: {reason}", Where(layer.name_of(path)))) from None


def _yaml_files(top: Path) -> Iterator[Path]:
    return (path for path in _files(top) if path.suffix in (".yaml", ".yml"))


def _files(top: Path) -> Iterator[Path]:
    """All files below a folder in a stable order, without hidden ones."""
    for folder, folders, files in os.walk(top):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for file in sorted(files):
            if not file.startswith("."):
                yield Path(folder, file)
