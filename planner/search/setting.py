"""Setting: a scenario with every catalog entry it names looked up, frozen, ready to travel to workers. No choice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from planner.catalog.catalog import Catalog
from planner.catalog.options import without_flag
from planner.errors import Problem, raise_all
from planner.perf.hardware import Hardware
from planner.search.demand import Load, Presets, loads
from planner.search.options import with_options
from planner.spec.deployment import Pool
from planner.spec.engine import EngineProfile, Way
from planner.spec.hardware import Accelerator, Node
from planner.spec.model import Model
from planner.spec.scenario import NodeType, Scenario
from planner.spec.step import Replica
from planner.traffic import read_presets


@dataclass(frozen=True, slots=True)
class Site:
    """One node type of the fleet with what the catalog says of it."""

    name: str
    entry: NodeType
    hardware: Hardware

    @property
    def node(self) -> Node:
        return self.hardware.node

    @property
    def accelerator(self) -> Accelerator:
        return self.hardware.accelerator

    @property
    def per_node(self) -> int:
        return self.node.accelerators

    @property
    def gpus(self) -> int:
        return self.entry.count * self.node.accelerators

    @property
    def reach(self) -> int:
        """Accelerators that one scale-up link joins; inside a node the host's links join the rest, only slower."""
        return min(self.gpus, max(self.node.scaleup_domain, self.node.accelerators))


@dataclass(frozen=True, slots=True)
class Setting:
    """models: by key of the scenario. sites: by name of the node type, in the scenario's order.

    longest: tokens of the longest request (input and output) that each model meets in the probes. unconstrained: what
    the engine cannot run counts as well.
    """

    scenario: Scenario
    folder: Path
    models: Mapping[str, Model]
    sites: Mapping[str, Site]
    profile: EngineProfile
    loads: tuple[Load, ...]
    longest: Mapping[str, int]
    catalog_hash: str
    presets: Presets = field(default_factory=dict)
    unconstrained: bool = False

    @property
    def seed(self) -> int:
        return self.scenario.search.seed

    def can(self, way: Way) -> bool:
        """Whether replicas may be cut (or roles split) this way."""
        return self.unconstrained or way in self.profile.can.ways

    @property
    def estimator(self) -> str | None:
        """The source of step times that the scenario asks for, over those of the catalog."""
        return self.scenario.engine.estimator

    def as_set(self, replica: Replica, pool: Pool) -> Replica:
        """The replica with what the scenario says of its engine."""
        return with_options(replica, self.scenario.engine, pool, self.sites[pool.node].accelerator)

    def slowdown(self, rel_error: float) -> float:
        """By how much longer steps of this error may last with every promise still kept."""
        return 1 + rel_error if self.scenario.limits.hold_at == "pessimistic" else 1.0


def resolve(scenario: Scenario, catalog: Catalog, folder: Path) -> Setting:
    """Look up everything that the scenario names; BadInput when the catalog does not know it."""
    sites = (_site(entry, catalog) for entry in scenario.fleet.nodes)
    presets = {name: preset for file in catalog.files("presets")[1:] for name, preset in read_presets(file).items()}
    groups = loads(scenario, folder, presets)
    return Setting(
        scenario=scenario,
        folder=folder,
        models={key: catalog.model(served.model) for key, served in scenario.models.items()},
        sites={site.name: site for site in sites},
        profile=_profile(scenario, catalog),
        loads=groups,
        longest={key: _longest(scenario, [load for load in groups if load.model == key]) for key in scenario.models},
        catalog_hash=catalog.content_hash(),
        presets=presets,
    )


def _profile(scenario: Scenario, catalog: Catalog) -> EngineProfile:
    """The engine's profile with what the scenario overrides."""
    profile, fraction = catalog.engine(scenario.engine.name, scenario.engine.version), scenario.engine.memory_fraction
    found = without_flag(scenario.engine.model_dump(), profile)
    raise_all([Problem(f"engine: {name}: {what}", hint=hint) for name, what, hint in found])
    if fraction is None:
        return profile
    return profile.model_copy(update={"memory": profile.memory.model_copy(update={"fraction": fraction})})


def _longest(scenario: Scenario, groups: list[Load]) -> int:
    drawn = [g.draw(seed=scenario.search.seed, requests=scenario.search.requests_per_probe) for g in groups]
    return max((int((d.input_tokens + d.output_tokens).max()) for d in drawn), default=0)


def longest_of(setting: Setting, model: str, name: str) -> int:
    """Tokens of the longest request of one class that the probes of a model meet."""
    scenario, longest = setting.scenario, 0
    for load in setting.loads:
        if load.model == model and name in load.slos:
            drawn = load.draw(seed=scenario.search.seed, requests=scenario.search.requests_per_probe)
            mine = drawn.class_index == drawn.class_names.index(name)
            longest = max(longest, int((drawn.input_tokens + drawn.output_tokens)[mine].max(initial=0)))
    return longest


def _site(entry: NodeType, catalog: Catalog) -> Site:
    node = catalog.node(entry.node)
    scaleup = catalog.fabric(node.scaleup_fabric) if node.scaleup_fabric else None
    scaleout = catalog.fabric(node.scaleout_fabric) if node.scaleout_fabric else None
    hardware = Hardware(catalog.accelerator(node.accelerator), node, scaleup, scaleout)
    return Site(entry.name or entry.node, entry, hardware)
