"""Scenario and deployment files: every reference resolved, or every mistake at once and in words."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from planner.catalog import Catalog, load_deployment, load_scenario, parse_scenario
from planner.errors import BadInput
from planner.spec.deployment import Deployment
from planner.spec.scenario import Scenario
from planner.testing import tiny_plan

HERE = Path(__file__).parent / "scenarios"
SHIPPED = Path(__file__).parents[2] / "scenarios"
FULL = (HERE / "full.yaml").read_text()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.open()


def said(catalog: Catalog, *edits: tuple[str, str], text: str = FULL) -> list[str]:
    """What is said about a scenario after some edits, without the hint of where a trace was looked for."""
    for old, new in edits:
        assert old in text
        text = text.replace(old, new, 1)
    with pytest.raises(BadInput) as caught:
        parse_scenario(text, catalog, folder=HERE, file="chat.yaml")
    return [str(problem) for problem in caught.value.problems]


@pytest.mark.parametrize("name", ["minimal", "full", "recorded"])
def test_a_resolved_scenario_survives_json(catalog: Catalog, name: str) -> None:
    scenario = load_scenario(HERE / f"{name}.yaml", catalog).scenario
    assert Scenario.model_validate(scenario.model_dump(mode="json")) == scenario
    assert Scenario.model_validate_json(scenario.model_dump_json()) == scenario


@pytest.mark.parametrize("name", ["minimal", "full", "recorded"])
def test_resolving_twice_changes_nothing(catalog: Catalog, name: str) -> None:
    """A plan holds the resolved scenario; saved as a file it means the same, whatever prices do later."""
    scenario = load_scenario(HERE / f"{name}.yaml", catalog).scenario
    assert parse_scenario(scenario.model_dump_json(), catalog, folder=HERE).scenario == scenario


@pytest.mark.parametrize("path", sorted(SHIPPED.glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_scenarios_load(catalog: Catalog, path: Path) -> None:
    if path.stem == "azure-trace" and not (SHIPPED / "../../shared/traces").is_dir():
        pytest.skip("the recorded traces are not part of the project")
    scenario = load_scenario(path, catalog).scenario
    assert scenario.name == path.stem
    assert Scenario.model_validate(scenario.model_dump(mode="json")) == scenario


def test_names_become_canonical(catalog: Catalog) -> None:
    scenario = load_scenario(HERE / "full.yaml", catalog).scenario
    assert scenario.models["small"].model == "llama-3.1-8b"
    assert scenario.fleet.nodes[0].node == "dgx-a100-80gb"


def test_prices_are_filled_in_and_say_where_from(catalog: Catalog) -> None:
    owned, rented, quoted = load_scenario(HERE / "full.yaml", catalog).scenario.fleet.nodes
    listed = catalog.price("aws:p5.48xlarge:us-east-1")
    assert (owned.price_usd_per_hour, owned.price_source) == (None, "")
    assert (rented.price_usd_per_hour, rented.price_key) == (listed.usd_per_hour, None)
    assert rented.price_source == str(listed)
    assert (quoted.price_usd_per_hour, quoted.price_source) == (12.34, "")


def test_a_node_without_a_stated_price_has_that_of_the_catalog(catalog: Catalog) -> None:
    (node,) = load_scenario(HERE / "minimal.yaml", catalog).scenario.fleet.nodes
    assert node.price_usd_per_hour == catalog.price("aws:p5.48xlarge").usd_per_hour
    assert node.price_source.startswith("aws:p5.48xlarge:")


def test_traces_are_found_from_the_folder_of_the_scenario(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    resolved = load_scenario(HERE / "recorded.yaml", catalog)
    (only,) = resolved.scenario.classes
    assert only.trace is not None
    assert only.trace.file == "tiny_trace.csv"
    assert resolved.catalog is catalog
    assert resolved.trace_file(only.trace).read_text().startswith("arrival_s,")


def test_a_resolved_scenario_knows_its_lines(catalog: Catalog) -> None:
    resolved = load_scenario(HERE / "full.yaml", catalog)
    assert FULL.splitlines()[resolved.where("limits").line - 1].startswith("limits:")
    assert resolved.where("fleet", "nodes", 1, "price_source").line == resolved.where("fleet", "nodes", 1).line


def test_units_are_read_as_si(catalog: Catalog) -> None:
    scenario = load_scenario(HERE / "full.yaml", catalog).scenario
    chat, code, nightly, _ = scenario.classes
    assert [limit for _, _, limit in chat.slo.targets] == [0.5, 1.5, 0.06]
    assert chat.arrivals is not None
    assert (chat.arrivals.rate_per_s, chat.arrivals.profile_step_s) == (3.0, 1200.0)
    assert (code.slo.per_request, code.slo.attainment) == ({"ttft": 2.0, "e2e": 60.0}, 0.99)
    assert nightly.arrivals is not None
    assert nightly.arrivals.deadline_s == 14400.0
    assert scenario.fleet.networks[0].bandwidth_bytes_per_s == 12.5e9
    assert (scenario.limits.power_w, scenario.limits.headroom) == (60e3, 0.1)
    assert scenario.check.usd_per_hour == 0.02


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("version: 1", "version: ¶2", "version: this release reads version 1, not 2"),
        ("version: 1", "version: ¶true", "version: must be 1"),
        ("version: 1\nname", "¶name", "version: is missing"),
        ("name: full", "name: ¶''", "name: a name is needed, not empty text"),
        ("name: full", "name: ¶12", "name: expected text, not 12 - put it in quotes: '12'"),
        ("tpot: {p99", "¶tpto: {p99", "classes[chat].slo.tpto: unknown field - did you mean 'tpot'?"),
        ("p99: 60 ms", "p99: ¶60", "classes[chat].slo.tpot.p99: expected time with a unit, like '500 ms', not 60"),
        ("p99: 60 ms", "¶p98: 60 ms", "classes[chat].slo.tpot.p98: unknown field - did you mean 'p99' or 'p95'"),
        ("p99: 60 ms", "p99: ¶0 ms", "classes[chat].slo.tpot.p99: must be longer than 0 s"),
        ("tpot: {p99: 60 ms}", "tpot: ¶{}", "classes[chat].slo.tpot: give at least one of mean, p50, p90, p95, p99"),
        ("ttft: 2 s", "ttft: ¶0 s", "classes[code].slo.ttft: must be longer than 0 s"),
        ("ttft: 2 s", "ttft: ¶[2 s]", "classes[code].slo.ttft: expected time with a unit, like '500 ms', not ['2 s']"),
        ("99%", "¶110%", "classes[code].slo.attainment: must be at most 1, not '110%'"),
        ("99%", "¶most", "classes[code].slo.attainment: expected a share like 0.95 or 95%, not 'most'"),
        ("currency: 64", "currency: ¶64.5", "classes[code].arrivals.concurrency: expected a whole number, not 64.5"),
        ("currency: 64", "currency: ¶true", "classes[code].arrivals.concurrency: expected a whole number, not true"),
        (
            "currency: 64", "currency: ¶'64'",
            "classes[code].arrivals.concurrency: expected a whole number, not '64' - remove the quotes",
        ),
        ("currency: 64", "currency: 4, cv: ¶2", "classes[code].arrivals.cv: belongs to `rate`"),
        (
            "arrivals: {concurrency: 64", "arrivals: ¶{concurrency: 4, rate: 1/s",
            "classes[code].arrivals: give exactly one of rate, concurrency, all_at_once",
        ),
        ("[0.5, 1, 2.5]", "[0.5, ¶-1]", "classes[chat].arrivals.profile[#2]: must not be negative"),
        ("rate: 3/s", "rate: ¶0/s", "classes[chat].arrivals.rate: must be above 0"),
        ("rate: 3/s", "rate: ¶1e308/s", "classes[chat].arrivals.rate: must be at most 1e9/s"),
        (
            "all_at_once: true, deadline: 4 h}\n    requests: 5000", "all_at_once: ¶true, deadline: 4 h}",
            "classes[nightly].arrivals.all_at_once: how many requests? - give `requests` of the class",
        ),
        (
            "{low: 1, high: 64}", "¶{low: 65, high: 64}",
            "classes[code].lengths.output.uniform: low (65) exceeds high (64)",
        ),
        (
            "preset: azure-conv-2023", "preset: ¶azure-con-2023",
            "classes[chat].preset: unknown workload preset 'azure-con-2023' - did you mean 'azure-conv-2023' or",
        ),
        ("tiny_trace.csv", "¶../scenarios", "classes[recorded].trace.file: '../scenarios' is a directory, not a file"),
        ("tiny_trace.csv", "¶/nope/none.csv", "classes[recorded].trace.file: no such file: '/nope/none.csv'"),
        ("tiny_trace.csv", '¶"a\\0b.csv"', "classes[recorded].trace.file: no such file: 'a\\x00b.csv'"),
        (
            "model: large", "model: ¶lagre",
            "classes[chat].model: no model of this scenario is called 'lagre' - did you mean 'large'?",
        ),
        ("name: code", "name: ¶chat", "classes[chat].name: another class is called 'chat' too"),
        ("name: quoted", "name: ¶owned", "fleet.nodes[owned].name: another entry is called 'owned' too"),
        (
            "[owned, rented]", "[owned, ¶renetd]",
            "fleet.networks[#1].between[#2]: no node of the fleet is called 'renetd' - did you mean 'rented'?",
        ),
        ("[owned, rented]", "¶[owned]", "fleet.networks[#1].between[#2]: is missing"),
        ("count: 2\n", "count: ¶-2\n", "fleet.nodes[owned].count: must be greater than 0, not -2"),
        (
            "price: $12.34/h", "price: ¶12.34",
            "fleet.nodes[quoted].price: expected money per hour with a unit, like '$2.50/h', not 12.34",
        ),
        ("{name: quoted", "¶{name: quoted, price_key: 'a:b'", "fleet.nodes[quoted]: give one of price, price_key, own"),
        (
            '"aws:p5.48xlarge:us-east-1"', '¶"aws:p5.48xlarge:mars"',
            "fleet.nodes[rented].price_key: no price of aws:p5.48xlarge in mars - known regions: us-east-1",
        ),
        (
            '"aws:p5.48xlarge:us-east-1"', "¶aws",
            "fleet.nodes[rented].price_key: 'aws' is not a price key - write provider:instance or",
        ),
        (
            'price_key: "aws:p5.48xlarge:us-east-1"', "term: ¶spot",
            "fleet.nodes[rented].term: no spot price of aws:p5.48xlarge - known terms: on_demand",
        ),
        (
            "electricity: $0.10/kWh", "electricity: ¶10 ct/kWh",
            "fleet.nodes[owned].own.electricity: expected money per kWh with a unit, like '$0.08/kWh'; 'ct/kWh' is not",
        ),
        ("name: vllm", "name: ¶vlm", "engine.name: unknown engine 'vlm' - did you mean 'vllm'?"),
        ("version: 0.19.0", "version: ¶0.10", "engine.version: expected text, not 0.1 - put it in quotes: '0.10'"),
        (
            "version: 0.19.0", "version: ¶latest",
            "engine.version: no profile of vllm covers version 'latest' - known versions: ",
        ),
        (
            "[aggregated]", "[¶agregated]",
            "search.roles[#1]: must be one of 'aggregated' or 'disaggregated', not 'agregated' - did you mean ",
        ),
        ("tp: [1, 2, 4, 8]", "tp: ¶8", "search.tp: expected a list, not 8 - write [8]"),
        ("[usd_per_hour, joules_per_token, gpus]", "¶[]", "objective: needs at least 1 entry, has 0"),
        ("joules_per_token, gpus", "¶usd_per_hour", "objective[#2]: is listed twice"),
        (
            "usd_per_hour, joules_per_token, gpus", "¶joules_per_token, goodput",
            "objective[#1]: joules_per_token cannot come before goodput - put it after, or usd_per_hour first",
        ),
        ("weights: [bf16, fp8]", "weights: [bf16, ¶bf16]", "models.small.weights[#2]: is listed twice"),
        ("tp: [1, 2, 4, 8]", "tp: [1, 2, ¶1, 8]", "search.tp[#3]: is listed twice"),
        ("headroom: 10%", "headroom: ¶100%", "limits.headroom: must be less than 1, not '100%'"),
        ("limits: {", "¶limts: {", "limts: unknown field - did you mean 'limits'?"),
    ],
)  # fmt: skip
def test_one_mistake_gives_one_sentence_at_its_place(catalog: Catalog, old: str, new: str, message: str) -> None:
    """¶ marks where the sentence must point; the sentence may go on after `message`."""
    marked = FULL.replace(old, new, 1)
    before, mark, after = marked.partition("¶")
    assert mark
    place = f"chat.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}"
    (found,) = said(catalog, text=before + after)
    assert found.startswith(f"{place}: {message}")


def test_all_mistakes_come_at_once_in_the_order_of_the_file(catalog: Catalog) -> None:
    found = said(
        catalog,
        ("version: 1", "version: 3"),
        ("model: qwen3-32b", "model: qwen3-32"),
        ("tpot: {p99", "tpto: {p99"),
        ("cv: 0.8", "cv: .nan"),
        ("tiny_trace.csv", "none.csv"),
        ("count: 2\n", "count: two\n"),
        ("name: vllm", "name: vlm"),
        ("seed: 7", "seed: 7, seed: 8"),
        ("gpus: 40", "gpu: 40"),
    )
    assert [line.split(":")[3].strip() for line in found] == [
        "version", "models.large.model", "classes[chat].slo.tpto", "classes[code].lengths.input.lognormal.cv",
        "classes[recorded].trace.file", "fleet.nodes[owned].count", "engine.name", "search.seed", "limits.gpu",
    ]  # fmt: skip


def test_no_sentence_speaks_of_the_library_or_an_address(catalog: Catalog) -> None:
    text = "version: x\nmodels: 3\nclasses: {}\nfleet: []\nengine: vllm\nlimits: [1]\nobjective: usd\ncheck: 1\n"
    found = "\n".join(said(catalog, text=text))
    assert found.count("\n") >= 8
    for word in ("http", "pydantic", "validation", "input_type", "dictionary", "instance of", "Value error", "tuple"):
        assert word not in found


def test_a_node_without_any_price_says_what_to_give(catalog: Catalog) -> None:
    text = (HERE / "minimal.yaml").read_text().replace("aws-p5.48xlarge", "dgx-h100")
    assert said(catalog, text=text) == [
        "chat.yaml:12:11: fleet.nodes[dgx-h100]: no price is known for dgx-h100 - "
        "give `price: $2.50/h`, `price_key` or `own`"
    ]


def test_a_preset_without_arrivals_needs_those_of_the_class(catalog: Catalog, tmp_path: Path) -> None:
    (tmp_path / "presets.yaml").write_text("presets: {silent: {lengths: {}}}")
    text = (HERE / "minimal.yaml").read_text()
    text = text.replace("lengths: {input: {fixed: 512}, output: {fixed: 64}}", "preset: silent")
    quiet = Catalog.open([tmp_path])
    assert parse_scenario(text, quiet, folder=HERE).scenario.classes[0].preset == "silent"
    assert said(quiet, ("    arrivals: {rate: 2/s}\n", ""), text=text) == [
        "chat.yaml:9:13: classes[chat].preset: silent has no arrivals of its own - give `arrivals: {rate: 5/s}`"
    ]


def test_a_file_of_another_kind_gets_one_line(catalog: Catalog, tmp_path: Path) -> None:
    plan = tiny_plan().model_dump_json()
    assert said(catalog, text=plan) == ["chat.yaml:1:1: this is a plan, not a scenario"]
    assert said(catalog, text=DEPLOYMENT) == ["chat.yaml:1:1: this is a deployment, not a scenario"]
    with pytest.raises(BadInput, match="this is a scenario, not a deployment"):
        load_deployment(HERE / "full.yaml", catalog)


DEPLOYMENT = """\
pools:
  - name: prefill
    model: LLAMA-3.1-8B
    node: aws-p5.48xlarge
    accelerator: H100-SXM5-80GB
    phases: [prefill]
    parallelism: {tp: 2}
  - {name: decode, model: llama-3.1-8b, node: aws-p5.48xlarge, accelerator: h100-sxm5-80gb, phases: [decode]}
edges: [{source: prefill, target: decode, bandwidth: 400 Gb/s}]
routes: [{request_class: chat, pool: prefill}]
"""


class TestDeployment:
    def test_names_become_canonical(self, catalog: Catalog, tmp_path: Path) -> None:
        (tmp_path / "d.yaml").write_text(DEPLOYMENT)
        deployment = load_deployment(tmp_path / "d.yaml", catalog)
        assert [(p.model, p.accelerator) for p in deployment.pools] == [("llama-3.1-8b", "h100-sxm5-80gb")] * 2
        assert Deployment.model_validate(deployment.model_dump(mode="json")) == deployment

    def test_with_a_scenario_nodes_are_those_of_its_fleet(self, catalog: Catalog, tmp_path: Path) -> None:
        scenario = load_scenario(HERE / "full.yaml", catalog).scenario
        (tmp_path / "d.yaml").write_text(DEPLOYMENT.replace("node: aws-p5.48xlarge", "node: rented"))
        assert load_deployment(tmp_path / "d.yaml", catalog, scenario).pools[0].node == "rented"
        (tmp_path / "d.yaml").write_text(DEPLOYMENT.replace("chat", "chta"))
        with pytest.raises(BadInput) as caught:
            load_deployment(tmp_path / "d.yaml", catalog, scenario)
        assert [p.what for p in caught.value.problems] == [
            "pools[prefill].node: no node of the fleet is called 'aws-p5.48xlarge'",
            "pools[decode].node: no node of the fleet is called 'aws-p5.48xlarge'",
            "routes[#1].request_class: no request class is called 'chta'",
        ]

    @pytest.mark.parametrize(
        ("old", "new", "message"),
        [
            ("name: decode", "name: prefill", "8:12: pools[prefill].name: another pool is called 'prefill' too"),
            ("target: decode", "target: decod", "9:35: edges[#1].target: no pool is called 'decod' - did you mean"),
            ("target: decode", "target: prefill", "9:35: edges[#1].target: is the pool that the edge starts from"),
            (
                "H100-SXM5-80GB", "l40s",
                "5:18: pools[prefill].accelerator: node aws-p5.48xlarge has h100-sxm5-80gb, not l40s",
            ),
            ("pool: prefill", "pool: prefill, share: 0.4", "10:10: routes[#1]: the shares of chat sum to 0.4, not 1"),
            ("[prefill]", "[prefil]", None),
        ],
    )  # fmt: skip
    def test_mistakes(self, catalog: Catalog, tmp_path: Path, old: str, new: str, message: str | None) -> None:
        (tmp_path / "d.yaml").write_text(DEPLOYMENT.replace(old, new, 1))
        with pytest.raises(BadInput) as caught:
            load_deployment(tmp_path / "d.yaml", catalog)
        if message:
            assert str(caught.value.problems[0]).startswith(f"{tmp_path}/d.yaml:{message}")


@pytest.mark.bench
def test_the_quickstart_loads_in_150_ms() -> None:
    best = min(_seconds_to_load() for _ in range(5))
    assert best < 0.15


def _seconds_to_load() -> float:
    started = time.perf_counter()
    load_scenario(SHIPPED / "quickstart.yaml", Catalog.open())
    return time.perf_counter() - started
