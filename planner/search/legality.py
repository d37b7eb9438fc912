"""Legality: whether a deployment written by hand can run at all, with every reason why not. It judges no speed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from planner.errors import Problem, raise_all
from planner.search.admit import Refused, admit
from planner.search.place import whole_nodes
from planner.search.setting import Setting, longest_of
from planner.search.space import Candidate
from planner.spec.deployment import Deployment, Pool

REJECT = "give it more room, or `engine: {too_long: reject}` to simulate what happens to the others"
ROLES = {("decode", "prefill"): "aggregated", ("prefill",): "prefill", ("decode",): "decode"}


def require_legal(setting: Setting, deployment: Deployment) -> None:
    """BadInput with everything that keeps the deployment from running in the setting."""
    raise_all([*_strangers(setting, deployment), *_unserved(setting, deployment)])
    raise_all([*_refused(setting, deployment), *_too_many(setting, deployment)])


def _strangers(setting: Setting, deployment: Deployment) -> Iterator[Problem]:
    models = {model.name for model in setting.models.values()}
    for pool in deployment.pools:
        if pool.node not in setting.sites:
            yield Problem(
                f"pool {pool.name}: the fleet has no node {pool.node!r}", hint=f"known: {', '.join(setting.sites)}"
            )
        if pool.model not in models:
            yield Problem(
                f"pool {pool.name}: the scenario has no model {pool.model!r}", hint=f"known: {', '.join(models)}"
            )
        if tuple(sorted(pool.phases)) not in ROLES and not pool.encodes:
            yield Problem(f"pool {pool.name}: phases {', '.join(pool.phases)} cannot be simulated")


def _unserved(setting: Setting, deployment: Deployment) -> Iterator[Problem]:
    routed = {route.request_class: route.pool for route in deployment.routes}
    known = {one.name for one in setting.scenario.classes}
    for one in setting.scenario.classes:
        if one.name not in routed:
            yield Problem(f"no route serves the class {one.name!r}")
    for name in sorted(set(routed) - known):
        yield Problem(f"a route serves {name!r}, which is no class of the scenario")


def _refused(setting: Setting, deployment: Deployment) -> Iterator[Problem]:
    if setting.scenario.engine.too_long == "reject":
        setting = replace(setting, longest=dict.fromkeys(setting.longest, 0))
    for pool in deployment.pools:
        if pool.encodes:
            continue
        (judged,) = admit([candidate_of(setting, pool)], setting)
        if isinstance(judged, Refused):
            whose = _whose(setting, judged)
            yield Problem(f"pool {pool.name}: {judged.verdict.reason}{whose}", hint=REJECT if whose else "")


def _whose(setting: Setting, refused: Refused) -> str:
    """The classes whose requests are longer than the limit, if length is why a configuration was refused."""
    numbers = refused.verdict.numbers
    limit = {"context": numbers.get("max_context"), "kv-fits": numbers.get("kv_tokens")}.get(refused.verdict.rule)
    if limit is None:
        return ""
    found = dict.fromkeys(
        one.name for one in setting.scenario.classes if longest_of(setting, refused.candidate.model, one.name) > limit
    )
    return f" (class {', '.join(found)})"


def _too_many(setting: Setting, deployment: Deployment) -> Iterator[Problem]:
    for site in setting.sites.values():
        fewest = whole_nodes(site, [pool for pool in deployment.pools if pool.node == site.name])
        needed = max(fewest, deployment.nodes.get(site.name, 0))
        if needed > site.entry.count:
            yield Problem(f"the pools need {needed} nodes of {site.name}, the fleet has {site.entry.count}")


def candidate_of(setting: Setting, pool: Pool) -> Candidate:
    """The pool's configuration as the search would have called it."""
    cut = pool.parallelism
    key = next(key for key, model in setting.models.items() if model.name == pool.model)
    return Candidate(
        key, pool.node, ROLES[tuple(sorted(pool.phases))], cut.tp, cut.pp, cut.dp, cut.ep, pool.weights,
        pool.kv, pool.max_seqs, pool.max_tokens_per_step, cut.cp, cut.dcp,
    )  # fmt: skip
