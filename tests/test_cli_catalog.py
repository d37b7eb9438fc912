"""Commands on catalogs: names, origins, overlays, schemas, and a model imported from its config.json."""

import json
from pathlib import Path

import jsonschema
import yaml


def test_list_shows_every_kind_and_one_kind(serveplan) -> None:
    everything = json.loads(serveplan("catalog", "list", "--json").stdout)
    assert {"accelerators", "nodes", "fabrics", "models", "engines", "prices", "presets"} <= set(everything)
    assert serveplan("catalog", "list", "models").stdout.split() == everything["models"]
    assert "llama-3.1-8b" in everything["models"]


def test_a_name_that_is_not_known_is_bad_input_with_the_nearest(serveplan) -> None:
    ended = serveplan("catalog", "show", "lama-3.1-8b")
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "did you mean 'llama-3.1-8b'" in ended.stderr
    assert serveplan("catalog", "list", "modells").returncode == 2
    assert serveplan("catalog", "show", "llama-3.1-8b", "--kind", "nodes").returncode == 2


def test_an_overlay_wins_and_show_says_where_an_entry_comes_from(serveplan, tmp_path: Path, root: Path) -> None:
    shipped = serveplan("catalog", "show", "llama-3.1-8b").stdout
    assert shipped.startswith("# models: model_db/")
    mine = yaml.safe_load(shipped) | {"notes": "mine"}
    (tmp_path / "cat" / "model_db").mkdir(parents=True)
    (tmp_path / "cat" / "model_db" / "llama-3.1-8b.yaml").write_text(yaml.safe_dump(mine))
    for found in (
        serveplan("catalog", "show", "llama-3.1-8b", "--json", "--catalog", tmp_path / "cat"),
        serveplan("catalog", "show", "llama-3.1-8b", "--json", env={"SERVEPLAN_CATALOG": str(tmp_path / "cat")}),
    ):
        (entry,) = json.loads(found.stdout)
        assert entry["entry"]["notes"] == "mine"
        assert Path(entry["origin"]).is_relative_to(tmp_path)
    assert serveplan("catalog", "list", "--catalog", tmp_path / "absent").returncode == 2


def test_the_schema_accepts_the_starter_and_refuses_a_misspelling(serveplan, tmp_path: Path) -> None:
    schema = json.loads(serveplan("schema", "scenario").stdout)
    serveplan("init", "mine.yaml")
    scenario = yaml.safe_load((tmp_path / "mine.yaml").read_text())
    jsonschema.Draft7Validator(schema).validate(scenario)
    wrong = scenario | {"limit": {}}
    assert [e.validator for e in jsonschema.Draft7Validator(schema).iter_errors(wrong)] == ["additionalProperties"]
    assert serveplan("schema", "senario").returncode == 2


def test_the_lint_of_a_wrong_entry_is_1(serveplan, tmp_path: Path) -> None:
    entry = yaml.safe_load(serveplan("catalog", "show", "llama-3.1-8b").stdout) | {"hidden": 8192}
    (tmp_path / "cat" / "model_db").mkdir(parents=True)
    (tmp_path / "cat" / "model_db" / "llama-3.1-8b.yaml").write_text(yaml.safe_dump(entry))
    ended = serveplan("catalog", "lint", "--json", "--catalog", tmp_path / "cat")
    assert ended.returncode == 1
    assert any(f["severity"] == "error" and "llama-3.1-8b" in f["entry"] for f in json.loads(ended.stdout))


CONFIG = {
    "model_type": "llama", "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
    "num_attention_heads": 32, "num_key_value_heads": 8, "head_dim": 64, "vocab_size": 128256,
    "tie_word_embeddings": True, "max_position_embeddings": 131072, "torch_dtype": "bfloat16",
}  # fmt: skip


def test_an_imported_model_is_an_entry_of_a_catalog(serveplan, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    ended = serveplan("catalog", "import-hf", "config.json", "--name", "mine-1b")
    assert (ended.returncode, ended.stderr) == (0, "")
    (tmp_path / "cat" / "model_db").mkdir(parents=True)
    (tmp_path / "cat" / "model_db" / "mine-1b.yaml").write_text(ended.stdout)
    assert "mine-1b" in serveplan("catalog", "list", "models", "--catalog", tmp_path / "cat").stdout.split()


def test_an_imported_model_is_called_after_its_hub_name_its_file_or_its_folder(serveplan, tmp_path: Path) -> None:
    (tmp_path / "my-model").mkdir()
    stated = json.dumps(CONFIG | {"_name_or_path": "somebody/Their-1B"})
    for file, text, name in [
        ("my-model/config.json", json.dumps(CONFIG), "my-model"),
        ("tiny.json", json.dumps(CONFIG), "tiny"),
        ("any.json", stated, "their-1b"),
    ]:
        (tmp_path / file).write_text(text)
        assert serveplan("catalog", "import-hf", file).stdout.startswith(f"name: {name}\n")


def test_a_config_that_cannot_be_understood_is_bad_input(serveplan, tmp_path: Path) -> None:
    for name, text in {"unknown": json.dumps(CONFIG | {"model_type": "lama"}), "list": "[]", "text": "{"}.items():
        (tmp_path / f"{name}.json").write_text(text)
        ended = serveplan("catalog", "import-hf", f"{name}.json", "--name", "x")
        assert (ended.returncode, ended.stdout) == (2, ""), name
        assert "Traceback" not in ended.stderr
