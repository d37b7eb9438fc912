"""What a scenario refers to: models, nodes, prices, engine, presets, traces. It finds all that is wrong, mends nothing.

It reads the plain data, not the noun, so that wrong names are reported together with wrong fields; parts of the wrong
type are skipped here because validation reports them.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar

from planner.catalog.catalog import Catalog
from planner.catalog.document import Document, Path_, printable, quoted
from planner.catalog.options import without_flag
from planner.catalog.prices import TERMS
from planner.errors import BadInput, Problem, did_you_mean
from planner.spec.checks import twice
from planner.spec.hardware import Accelerator, Node
from planner.spec.precision import BYTES_PER_WEIGHT
from planner.spec.scenario import Scenario

T = TypeVar("T")
# Matrix rates that can stand in for any format: weights are widened to 16 or 32 bits before the product.
_WIDE = ("bf16", "fp16", "tf32", "fp32")
_SHARES_OFF = 1e-6  # shares are written by hand, like 0.333334
_OWN_RATE = {"nvfp4": "fp4", "mxfp4": "fp4", "fp8": "fp8", "int8": "int8"}


class References:
    """Looks up every name of a document; `problems` and `replaced` (path -> canonical value, None = remove) fill up."""

    def __init__(self, document: Document, catalog: Catalog):
        self.document, self.catalog = document, catalog
        self.problems: list[Problem] = []
        self.replaced: dict[Path_, Any] = {}

    def of_scenario(self, folder: Path) -> None:
        """All references of a scenario; relative trace files start from `folder`."""
        nodes = self._fleet()
        self._networks()
        self._unique(("classes",), "class", [item.get("name") for item in self.document.items("classes")])
        self._unique(("fleet", "nodes"), "entry", self._fleet_names())
        self._models(nodes)
        self._classes(folder)
        self._engine()

    def of_deployment(self, scenario: Scenario | None) -> None:
        """All references of a deployment; nodes and request classes are those of the scenario, if there is one."""
        fleet = {n.name or n.node: n.node for n in scenario.fleet.nodes} if scenario else {}
        for index, pool in enumerate(self.document.items("pools")):
            path: Path_ = ("pools", index)
            self.entry("models", pool.get("model"), (*path, "model"))
            device = self.entry("accelerators", pool.get("accelerator"), (*path, "accelerator"))
            name = pool.get("node")
            if scenario:
                self.one_of("node of the fleet", name, fleet, (*path, "node"))
            else:
                name = self.entry("nodes", name, (*path, "node"))
            if device and (node := fleet.get(str(name), None if scenario else name)):
                self._same_device(node, device, (*path, "accelerator"))
        self._pool_names()
        walking = {c.name for c in scenario.classes if c.walks} if scenario else set()
        self._routes([c.name for c in scenario.classes] if scenario else [], walking)

    def _pool_names(self) -> None:
        """Edges and routes name pools; an edge joins two of them."""
        pools = [pool.get("name") for pool in self.document.items("pools")]
        self._unique(("pools",), "pool", pools)
        pools += [service.get("name") for service in self.document.items("services")]
        for index, edge in enumerate(self.document.items("edges")):
            for end in ("source", "target"):
                self.one_of("pool", edge.get(end), pools, ("edges", index, end))
            if isinstance(edge.get("source"), str) and edge["source"] == edge.get("target"):
                self.wrong(("edges", index, "target"), "is the pool that the edge starts from")
        for index, route in enumerate(self.document.items("routes")):
            self.one_of("pool", route.get("pool"), pools, ("routes", index, "pool"))

    def _routes(self, classes: list[str], walking: set[str]) -> None:
        """Routes of a class share all of its requests; those of a graph share node by node, see `graphs`."""
        shares: dict[str, float] = {}
        first: dict[str, int] = {}
        for index, route in enumerate(self.document.items("routes")):
            name, share = route.get("request_class"), route.get("share", 1.0)
            self.one_of("request class", name, classes, ("routes", index, "request_class"))
            if isinstance(name, str) and isinstance(share, int | float):
                shares[name] = shares.get(name, 0.0) + share
                first.setdefault(name, index)
        for name, total in shares.items():
            if abs(total - 1) > _SHARES_OFF and name not in walking:
                self.wrong(("routes", first[name]), f"the shares of {name} sum to {total:g}, not 1")

    def _same_device(self, node: str, device: str, path: Path_) -> None:
        found = self._asked(path, lambda: self.catalog.node(node).accelerator)
        if found is not None and found.casefold() != device.casefold():
            self.wrong(path, f"node {node} has {found}, not {device}")

    def entry(self, kind: str, name: object, path: Path_) -> str | None:
        """Canonical name of a catalog entry; a problem at `path` when there is none."""
        if not isinstance(name, str):
            return None
        canonical = self._asked(path, lambda: self.catalog.canonical(kind, name))
        if canonical is not None and canonical != name:
            self.replaced[path] = canonical
        return canonical

    def one_of(self, what: str, name: object, known: Iterable[object], path: Path_) -> None:
        """A problem when `name` is none of `known`."""
        words = [word for word in known if isinstance(word, str)]
        if isinstance(name, str) and words and name not in words:
            hint = did_you_mean(name, words) or f"known: {printable(', '.join(words), 200)}"
            self.wrong(path, f"no {what} is called {quoted(name)}", hint)

    def wrong(self, path: Path_, what: str, hint: str = "") -> None:
        self.problems.append(self.document.problem(path, what, hint))

    def _asked(self, path: Path_, ask: Callable[[], T]) -> T | None:
        """An answer of the catalog; its problems are placed at `path` unless they lie in a file of the catalog."""
        try:
            return ask()
        except BadInput as error:
            for problem in error.problems:
                if problem.where.file:
                    self.problems.append(problem)
                else:
                    self.wrong(path, problem.what, problem.hint)
            return None

    def _fleet(self) -> list[Node]:
        """Nodes of the fleet that the catalog has; fills in their prices."""
        found = []
        for index, item in enumerate(self.document.items("fleet", "nodes")):
            path: Path_ = ("fleet", "nodes", index)
            name = self.entry("nodes", item.get("node"), (*path, "node"))
            node = self._asked((*path, "node"), lambda name=name: self.catalog.node(name)) if name else None  # type: ignore[misc]
            if node is not None:
                found.append(node)
                self._price(node, item, path)
        return found

    def _price(self, node: Node, item: Mapping[str, Any], path: Path_) -> None:
        """The catalog's price when the scenario states none."""
        if any(item.get(field) is not None for field in ("price", "price_usd_per_hour", "own")):
            return
        term, key = item.get("term", "on_demand"), item.get("price_key") or node.price_key
        if not isinstance(key, str) or term not in TERMS:
            return
        if not key:
            self.wrong(path, f"no price is known for {node.name}", "give `price: $2.50/h`, `price_key` or `own`")
            return
        at = (*path, "price_key") if item.get("price_key") else (*path, "term") if "term" in item else path
        quote = self._asked(at, lambda: self.catalog.price(key, term))
        if quote is not None:
            self.replaced |= {
                (*path, "price"): f"{quote.for_node(node.accelerators)!r} USD/h",
                (*path, "price_key"): None,
                (*path, "price_source"): str(quote),
            }

    def _networks(self) -> None:
        names = self._fleet_names()
        for index, network in enumerate(self.document.items("fleet", "networks")):
            for end, name in _entries(network.get("between")):
                self.one_of("node of the fleet", name, names, ("fleet", "networks", index, "between", end))

    def _fleet_names(self) -> list[object]:
        return [item.get("name") or item.get("node") for item in self.document.items("fleet", "nodes")]

    def _unique(self, path: Path_, thing: str, names: list[object]) -> None:
        words = [name if isinstance(name, str) else object() for name in names]
        for index in twice(words):
            key = "name" if "name" in self.document.items(*map(str, path))[index] else "node"
            hint = "" if key == "name" else "give each a `name`"
            self.wrong((*path, index, key), f"another {thing} is called {quoted(str(words[index]))} too", hint)

    def _models(self, nodes: list[Node]) -> None:
        for key, served in self.document.mapping("models").items():
            if not isinstance(served, dict):
                continue
            name = self.entry("models", served.get("model"), ("models", key, "model"))
            if name:
                self._asked(("models", key, "model"), lambda name=name: self.catalog.model(name))  # type: ignore[misc]
            for index, weights in _entries(served.get("weights")):
                self._computable(weights, nodes, ("models", key, "weights", index))

    def _computable(self, weights: object, nodes: list[Node], path: Path_) -> None:
        """A format is refused when no accelerator of the fleet has a rate for it or for a wider one."""
        if not isinstance(weights, str) or weights not in BYTES_PER_WEIGHT or not nodes:
            return
        rates = (*_WIDE, _OWN_RATE.get(weights, ""))
        devices = [d for node in nodes if (d := self._asked(path, lambda n=node: self._device(n)))]  # type: ignore[misc]
        if devices and not any(getattr(d.peak, f"{rate}_flop_per_s", None) for d in devices for rate in rates):
            names = ", ".join(sorted({d.name for d in devices}))
            self.wrong(path, f"no accelerator of the fleet computes {weights}", f"the fleet has {names}")

    def _device(self, node: Node) -> Accelerator:
        return self.catalog.accelerator(node.accelerator)

    def _classes(self, folder: Path) -> None:
        models = self.document.mapping("models")
        for index, item in enumerate(self.document.items("classes")):
            path: Path_ = ("classes", index)
            self.one_of("model of this scenario", item.get("model"), models, (*path, "model"))
            name = self.entry("presets", item.get("preset"), (*path, "preset"))
            if name and item.get("arrivals") is None and not self.catalog.preset_has_arrivals(name):
                self.wrong((*path, "preset"), f"{name} has no arrivals of its own", "give `arrivals: {rate: 5/s}`")
            trace = item.get("trace")
            if isinstance(trace, dict) and isinstance(file := trace.get("file"), str):
                self._trace(folder, file, (*path, "trace", "file"))

    def _trace(self, folder: Path, file: str, path: Path_) -> None:
        try:
            mode = os.stat(folder / file).st_mode
        except (OSError, ValueError):
            self.wrong(
                path, f"no such file: {quoted(file)}", "" if file.startswith("/") else f"looked for in {folder}/"
            )
            return
        if stat.S_ISDIR(mode):
            self.wrong(path, f"{quoted(file)} is a directory, not a file")
        elif not os.access(folder / file, os.R_OK):
            self.wrong(path, f"{file!r} may not be read: permission denied")

    def _engine(self) -> None:
        engine = self.document.mapping("engine")
        name, version = engine.get("name"), engine.get("version")
        if not isinstance(name, str) or not isinstance(version, str):
            return
        known = sorted({p.engine for p in self.catalog.profiles()})
        at = "version" if name.strip().casefold() in {k.casefold() for k in known} else "name"
        profile = self._asked(("engine", at), lambda: self.catalog.engine(name, version))
        if profile is not None and profile.engine != name:
            self.replaced["engine", "name"] = profile.engine
        for field, what, hint in without_flag(engine, profile) if profile is not None else ():
            self.wrong(("engine", field), what, hint)


def _entries(value: object) -> Iterator[tuple[int, object]]:
    return enumerate(value if isinstance(value, list) else [])
