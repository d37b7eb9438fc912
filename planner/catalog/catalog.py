"""Catalog: entries by name, each read when it is first asked for. Not a place for facts: they are in the YAML files.

A name is a file's stem without regard to case, or an alias of one. Later layers replace entries of earlier ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar, cast

from pydantic import BaseModel, Field

from planner.catalog import versions
from planner.catalog.document import Document, quoted
from planner.catalog.layers import FOLDERS, Layer, content_hash, layers
from planner.catalog.prices import PriceList, Quote, TcoList, Term, quote
from planner.catalog.validate import as_noun
from planner.catalog.yaml_reader import read_yaml
from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.base import Frozen
from planner.spec.engine import EngineProfile
from planner.spec.hardware import Accelerator, Fabric, Node, Price, TcoParameter
from planner.spec.model import Model, StageModel

NOUNS: dict[str, type[BaseModel]] = {
    "accelerators": Accelerator,
    "nodes": Node,
    "fabrics": Fabric,
    "models": Model,
    "stage_models": StageModel,
    "engines": EngineProfile,
    "prices": PriceList,
    "tco": TcoList,
}
SINGULAR = {
    "accelerators": "accelerator",
    "nodes": "node",
    "fabrics": "fabric",
    "models": "model",
    "stage_models": "stage model",
    "engines": "engine profile",
    "prices": "price list",
    "tco": "list of economic figures",
    "presets": "workload preset",
}
_Entry = TypeVar("_Entry", bound=BaseModel)


class Aliases(Frozen):
    """A file of other spellings: spelling -> name, and spellings that name nothing here -> why."""

    aliases: dict[str, str] = {}
    unknown: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _File:
    name: str
    path: Path
    shown: str


@dataclass(frozen=True, slots=True)
class _Preset:
    file: str
    has_arrivals: bool


@dataclass
class Catalog:
    """Open with `Catalog.open()`. Its answers are frozen nouns; it keeps what it has read, and nothing else changes."""

    layers: tuple[Layer, ...]
    _files: dict[str, dict[str, _File]] = field(default_factory=dict, repr=False)
    _entries: dict[tuple[str, str], BaseModel] = field(default_factory=dict, repr=False)
    _aliases: Aliases | None = field(default=None, repr=False)
    _presets: dict[str, _Preset] | None = field(default=None, repr=False)

    @classmethod
    def open(cls, overlays: Sequence[str | Path] = ()) -> Catalog:
        """The shipped catalog, then folders of the variable SERVEPLAN_CATALOG, then `overlays`; later entries win."""
        return cls(layers([Path(folder) for folder in overlays]))

    def names(self, kind: str) -> tuple[str, ...]:
        """Names of all entries of a kind (accelerators, nodes, fabrics, models, stage_models, engines, prices, tco,
        presets); of prices and tco the names of their lists."""
        if kind == "presets":
            return tuple(sorted(self._preset_files()))
        return tuple(sorted(file.name for file in self._index(kind).values()))

    def accelerator(self, name: str) -> Accelerator:
        return self._entry("accelerators", name, Accelerator)

    def node(self, name: str) -> Node:
        return self._entry("nodes", name, Node)

    def fabric(self, name: str) -> Fabric:
        return self._entry("fabrics", name, Fabric)

    def model(self, name: str) -> Model:
        return self._entry("models", name, Model)

    def stage_model(self, name: str) -> StageModel:
        return self._entry("stage_models", name, StageModel)

    def profiles(self) -> tuple[EngineProfile, ...]:
        """All engine profiles, by name."""
        return tuple(self._entry("engines", name, EngineProfile) for name in self.names("engines"))

    def engine(self, name: str, version: str = "") -> EngineProfile:
        """The profile that covers a version of an engine (without one its default); BadInput names the known."""
        return versions.profile(self.profiles(), name, version)

    def prices(self, provider: str = "") -> tuple[Price, ...]:
        """Listed prices, the shipped ones first; with `provider` only its shipped list, and all of the overlays."""
        return tuple(price for part in self._lists("prices", PriceList, provider) for price in part.prices)

    def price(self, key: str, term: Term = "on_demand") -> Quote:
        """The price `provider:instance[:region]` under a term, and which entry it is; BadInput names what is known."""
        found = self.prices(key.partition(":")[0].strip())
        return quote(found or self.prices(), key, term)

    def tco_parameters(self) -> tuple[TcoParameter, ...]:
        """Economic and environmental figures; of two with the same kind and key the later layer's counts."""
        by_key = {(p.kind, p.key): p for part in self._lists("tco", TcoList) for p in part.parameters}
        return tuple(by_key.values())

    def canonical(self, kind: str, name: str) -> str:
        """The name of the entry that `name` means; BadInput with the nearest names when it means none."""
        known = self._preset_index() if kind == "presets" else {k: f.name for k, f in self._index(kind).items()}
        key = name.strip().casefold()
        if key in known:
            return known[key]
        aliases = self._alias_table()
        target = aliases.aliases.get(key, "").casefold()
        if target in known:
            return known[target]
        thing = SINGULAR[kind]
        if reason := aliases.unknown.get(key):
            raise BadInput(Problem(f"{thing} {name!r} is not in the catalog", hint=reason))
        others = [spelling for spelling, to in aliases.aliases.items() if to.casefold() in known]
        hint = _suggestion(key, known, others) or f"`serveplan catalog list {kind}` shows all {len(known)}"
        raise BadInput(Problem(f"unknown {thing} {quoted(name)}", hint=hint))

    def preset_has_arrivals(self, name: str) -> bool:
        """Whether a workload preset says when requests come, or only how long they are."""
        return self._preset_files()[self.canonical("presets", name)].has_arrivals

    def origin(self, kind: str, name: str) -> str:
        """The file an entry comes from, as messages call it."""
        canonical = self.canonical(kind, name)
        return (
            self._preset_files()[canonical].file if kind == "presets" else self._index(kind)[canonical.casefold()].shown
        )

    def document(self, kind: str, name: str) -> Document:
        """An entry as it stands in its file, with places, for lint and for `catalog show`."""
        return _read(self._index(kind)[self.canonical(kind, name).casefold()])

    def files(self, kind: str) -> tuple[Path, ...]:
        """Files of a kind, the shipped ones first, for rooms that read them themselves (presets)."""
        self._index(kind)
        return tuple(path for path, _ in self._paths(kind))

    def content_hash(self) -> str:
        """SHA-256 of all files of all layers."""
        return content_hash(self.layers)

    def _entry(self, kind: str, name: str, noun: type[_Entry]) -> _Entry:
        key = self.canonical(kind, name).casefold()
        if (kind, key) not in self._entries:
            file = self._index(kind)[key]
            document = _read(file)
            entry = as_noun(document, noun)
            stated = getattr(entry, "name", file.name)
            if stated.casefold() != key:
                what = f"is {stated!r} but the file is called {file.path.name!r}"
                raise BadInput(document.problem(("name",), what, "an entry is found by its file's name"))
            self._entries[kind, key] = _with_table(entry, document, file)
        return cast(_Entry, self._entries[kind, key])

    def _lists(self, kind: str, noun: type[_Entry], only: str = "") -> list[_Entry]:
        """Lists of a kind from every layer: a user's list adds to the shipped one of the same name."""
        found = []
        for position, layer in enumerate(self.layers):
            for path in layer.files(kind):
                if only and not position and path.stem.casefold() != only.casefold():
                    continue  # the shipped catalog has one list per provider
                key = (kind, str(path))
                if key not in self._entries:
                    self._entries[key] = as_noun(read_yaml(path, layer.name_of(path)), noun)
                found.append(cast(_Entry, self._entries[key]))
        return found

    def _index(self, kind: str) -> dict[str, _File]:
        if kind not in FOLDERS:
            raise BadInput(
                Problem(f"unknown kind of entry {kind!r}", hint=_suggestion(kind, FOLDERS, ()) or _listed(FOLDERS))
            )
        if kind not in self._files:
            files = (_File(path.stem, path, shown) for path, shown in self._paths(kind))
            self._files[kind] = {file.name.casefold(): file for file in files}
        return self._files[kind]

    def _paths(self, kind: str) -> Iterator[tuple[Path, str]]:
        """Files of a kind and how messages call them, the shipped ones first."""
        return ((path, layer.name_of(path)) for layer in self.layers for path in layer.files(kind))

    def _alias_table(self) -> Aliases:
        if self._aliases is None:
            known: dict[str, str] = {}
            unknown: dict[str, str] = {}
            for layer in self.layers:
                for path in layer.alias_files():
                    table = as_noun(read_yaml(path, layer.name_of(path)), Aliases)
                    known |= {spelling.casefold(): name for spelling, name in table.aliases.items()}
                    unknown |= {spelling.casefold(): reason for spelling, reason in table.unknown.items()}
            self._aliases = Aliases(aliases=known, unknown=unknown)
        return self._aliases

    def _preset_index(self) -> dict[str, str]:
        return {name.casefold(): name for name in self._preset_files()}

    def _preset_files(self) -> dict[str, _Preset]:
        """Presets by name. Not what they hold: `planner.traffic` reads what a preset means."""
        if self._presets is None:
            self._presets = {}
            for path, shown in self._paths("presets"):
                document = read_yaml(path, shown)
                presets = document.data.get("presets") if isinstance(document.data, dict) else None
                if not isinstance(presets, dict):
                    raise BadInput(*document.problems, document.problem((), "expected 'presets:' with named presets"))
                self._presets |= {
                    name: _Preset(shown, isinstance(preset, dict) and "arrivals" in preset)
                    for name, preset in presets.items()
                }
        return self._presets


def _with_table(entry: BaseModel, document: Document, file: _File) -> BaseModel:
    """An accelerator's table of measurements lies beside its file, so that the catalog's hash holds it."""
    if not isinstance(entry, Accelerator) or not entry.measurements:
        return entry
    table = Path(entry.measurements)
    if table.is_absolute() or ".." in table.parts:
        raise BadInput(
            document.problem(("measurements",), "must lie beside this file", "give its name, without a path")
        )
    found = file.path.parent / table
    if not found.is_file():
        raise BadInput(
            document.problem(("measurements",), f"no such file: {quoted(str(table))}", f"looked for {found}")
        )
    return entry.model_copy(update={"measurements": str(found)})


def _read(file: _File) -> Document:
    return read_yaml(file.path, file.shown)


def _suggestion(key: str, known: Iterable[str], others: Iterable[str]) -> str:
    """Nearest names; a name with an owner ("meta-llama/...") is also compared without it."""
    tail = key.rpartition("/")[2]
    return did_you_mean(tail, known) or did_you_mean(key, others)


def _listed(words: Iterable[str]) -> str:
    return f"known: {', '.join(sorted(words))}"
