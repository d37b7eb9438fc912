"""Engine profiles: they load, cover the versions and container tags in use, and refuse the rest by name."""

from __future__ import annotations

import pytest

from planner.calibrate.cases import profile_of
from planner.catalog import Catalog, versions
from planner.engines.families import family_of
from planner.errors import BadInput
from planner.sim.schedulers import SCHEDULERS
from planner.spec.engine import Patch

ENGINES = {"vllm", "sglang", "trtllm", "atom", "llamacpp", "deepspeed", "deepspeed-mii", "tgi", "lmdeploy", "neuronx",
           "optimum-habana", "sambaflow", "llmboost"}  # fmt: skip


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def test_every_engine_of_the_measured_set_has_one_default(catalog: Catalog) -> None:
    defaults = [profile.engine for profile in catalog.profiles() if profile.default]
    assert sorted(defaults) == sorted(ENGINES)


def test_profiles_name_schedulers_that_exist(catalog: Catalog) -> None:
    for profile in catalog.profiles():
        assert profile.scheduler in SCHEDULERS, profile.name


def test_profiles_are_plausible(catalog: Catalog) -> None:
    for profile in catalog.profiles():
        assert profile.max_tokens_per_step in profile.max_tokens_choices, profile.name
        assert list(profile.graph_sizes) == sorted(set(profile.graph_sizes)), profile.name
        assert 0 <= profile.overhead.per_seq_s < 1e-3, profile.name
        for family in profile.families:
            assert profile.on(family).families, profile.name


@pytest.mark.parametrize(
    ("engine", "version", "name"),
    [
        ("vllm", "", "vllm"),
        ("vllm", "vllm/vllm-openai:v0.19.0-cu130", "vllm"),
        ("vllm", "vllm/vllm-openai:v0.10.2", "vllm-0.8"),
        ("vllm", "0.6.3", "vllm-v0"),
        ("sglang", "lmsysorg/sglang:v0.5.9-rocm700-mi35x", "sglang"),
        ("sglang", "lmsysorg/sglang:v0.5.8.post1-cu130-amd64", "sglang"),
        ("sglang", "0.4.6", "sglang-0.4"),
        ("trtllm", "nvcr.io/nvidia/tensorrt-llm/release:1.2.0rc6.post2", "trtllm"),
        ("trtllm", "0.17", "trtllm-0"),
    ],
)
def test_versions_and_images_find_their_profile(catalog: Catalog, engine: str, version: str, name: str) -> None:
    assert catalog.engine(engine, version).name == name


def test_ranges_of_one_engine_do_not_overlap(catalog: Catalog) -> None:
    versions = [f"{major}.{minor}.0" for major in range(3) for minor in range(30)]
    for engine in ENGINES:
        profiles = [p for p in catalog.profiles() if p.engine == engine]
        for version in versions:
            assert sum(p.covers(version) for p in profiles) == 1, (engine, version)


def test_unknown_engines_and_versions_name_the_nearest(catalog: Catalog) -> None:
    with pytest.raises(BadInput, match="vllm"):
        catalog.engine("vlm")
    with pytest.raises(BadInput, match="no profile of vllm covers version 'nightly'"):
        catalog.engine("vllm", "nightly")


def test_families_fill_in_only_what_they_state(catalog: Catalog) -> None:
    profile = catalog.engine("sglang")
    there = profile.on("blackwell")
    assert there.overhead.admission_lag_steps != profile.overhead.admission_lag_steps
    assert there.overhead.per_seq_s == profile.overhead.per_seq_s
    assert there.multipliers.gemm == profile.multipliers.gemm
    assert profile.on("no such family") is profile


def test_accelerators_have_a_family_or_behave_like_one_that_has(catalog: Catalog) -> None:
    assert family_of(catalog.accelerator("h200-sxm-141gb")) == "hopper"
    assert family_of(catalog.accelerator("gb300-nvl72")) == "blackwell"
    own = catalog.accelerator("h100-sxm5-80gb").model_copy(update={"name": "mine", "behaves_like": "h100-sxm5-80gb"})
    assert family_of(own) == "hopper"
    assert family_of(own.model_copy(update={"behaves_like": ""})) == ""


def test_a_weight_format_refines_its_family(catalog: Catalog) -> None:
    slow = Patch.model_validate({"multipliers": {"moe": 1.5}, "rel_error": 0.4})
    finer = Patch.model_validate({"multipliers": {"gemm": 1.2}})
    profile = catalog.engine("vllm").model_copy(update={"families": {"ada": slow, "ada/fp8": finer}})
    found = profile.on("ada", "fp8")
    assert (found.multipliers.moe, found.multipliers.gemm, found.rel_error) == (1.5, 1.2, 0.4)
    assert profile.on("ada", "bf16").multipliers.gemm == profile.multipliers.gemm


@pytest.mark.parametrize("first", [0, 1])
def test_the_narrowest_covering_profile_answers_in_whatever_order_they_come(catalog: Catalog, first: int) -> None:
    """A measured version beside its range: both begin at 0.14.0, only one ends there."""
    wide = catalog.engine("vllm", "0.14.0")
    exact = wide.model_copy(update={"name": "vllm-0.14.0", "since": "0.14.0", "before": "0.14.1", "default": False})
    profiles = ((wide, exact), (exact, wide))[first]
    assert profile_of("vllm", (0, 14, 0), profiles)[0].name == "vllm-0.14.0"
    assert versions.profile(profiles, "vllm", "0.14.0").name == "vllm-0.14.0"
    assert profile_of("vllm", (0, 14, 1), profiles)[0].name == wide.name
