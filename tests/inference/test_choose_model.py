"""Which model of a results folder is taken, and what is said of the others."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
from pathlib import Path

import onnx
import pytest

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph_checksum import open_manifest, seal_graph, unsealed
from sdseg.backends.graph_file import METADATA_KEY
from sdseg.backends.open_model import open_model
from sdseg.core.errors import ListedError, UserError
from sdseg.inference.choose_model import choose_model
from sdseg.inference.choose_recipe import recipes_in_order
from tests.helpers.installed import skip_without_openvino
from tests.helpers.models import GAUSSIAN, write_latent_model
from tests.helpers.tiny import write_model


@pytest.fixture
def results(bright_rgb: Path, tmp_path: Path) -> Path:
    """results/<dataset>/<recipe> with a model folder and an exported graph."""
    folder = tmp_path / "results" / "kseg" / "sdseg é"
    write_model(folder / "model")
    (folder / "export").mkdir()
    shutil.copy(bright_rgb, folder / "export" / "model.onnx")
    return folder


def test_a_named_model_is_taken(results: Path) -> None:
    for path, backend in ((results / "model", "torch-cpu"), (results / "export" / "model.onnx", "onnxruntime-cpu")):
        chosen = choose_model(path, "cpu")
        assert (chosen.served.backend.name, chosen.served.path, chosen.reason) == (backend, path, "it was named")


def test_the_graph_before_the_folder(results: Path) -> None:
    for named in (results, results / "export", results.parent):
        chosen = choose_model(named, "cpu")
        assert chosen.served.path == results / "export" / "model.onnx"
        assert "model.onnx is the fastest that runs on 'cpu' here" in chosen.reason
    (results / "export" / "model.onnx").unlink()
    assert choose_model(results, "cpu").served.path == results / "model"


def test_openvino_takes_the_graph_when_it_is_named(results: Path) -> None:
    skip_without_openvino()
    (results / "export" / "model.fp16.engine").write_bytes(b"engine")
    chosen = choose_model(results, "openvino")
    assert (chosen.served.backend.name, chosen.device) == ("openvino", "openvino")
    assert (
        "model.onnx is the fastest that runs on 'openvino' here; not taken: export/model.fp16.engine" in chosen.reason
    )
    (results / "export" / "model.onnx").unlink()
    with pytest.raises(ListedError, match="model on openvino: OpenVINO runs exported graphs alone"):
        choose_model(results, "openvino")


def test_an_engine_is_not_taken_without_a_gpu(results: Path) -> None:
    (results / "export" / "model.fp16.engine").write_bytes(b"engine")
    chosen = choose_model(results, "cpu")
    assert chosen.served.path.name == "model.onnx"
    assert "not taken: export/model.fp16.engine: engines need a GPU (--device cuda)" in chosen.reason


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is installed")
def test_auto_says_that_tensorrt_is_missing(results: Path) -> None:
    (results / "export" / "model.fp16.engine").write_bytes(b"engine")
    chosen = choose_model(results)
    assert chosen.served.path.name == "model.onnx"
    assert "model.fp16.engine: " in chosen.reason


def test_a_damaged_graph_is_passed_over_and_named(results: Path) -> None:
    (results / "export" / "model.onnx").write_bytes(b"no graph")
    chosen = choose_model(results, "cpu")
    assert chosen.served.path == results / "model"
    assert "not taken: export/model.onnx on cpu: not an ONNX graph that can be run" in chosen.reason
    (results / "model" / "weights.safetensors").write_bytes(b"")
    with pytest.raises(
        ListedError, match=r"no model of this results folder can be opened:\n  - export/model.onnx on cpu"
    ):
        choose_model(results, "cpu")


def test_several_recipes_are_not_chosen_among(results: Path) -> None:
    write_model(results.parent / "unet" / "model")
    with pytest.raises(ListedError, match=rf"2 models in this results folder:\n  - {results.name}\n  - unet"):
        choose_model(results.parent)
    with pytest.raises(
        ListedError, match=rf"2 models in this results folder:\n  - {results.parent.name}/{results.name}"
    ):
        choose_model(results.parent.parent)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model in this folder"):
        choose_model(tmp_path)


def table_row(name: str, dice: float, **latency: float) -> dict[str, object]:
    costs = {"seeds": 1, "gflop": 1.0, "parameters": 1, "bytes": 1, "date": "today", "commits": []}
    times = {key.replace("_", " "): value for key, value in latency.items()}
    return {
        "scale": "kseg",
        "dataset": "kseg",
        "role": "unet",
        "name": name,
        "dice_mean": dice,
        "latency_ms": times,
    } | costs


def write_table(results: Path, rows: list[dict[str, object]]) -> None:
    table = {"command": "c", "commit": "a", "date": "d", "machine": "m", "rows": rows}
    (results / "pareto.json").write_text(json.dumps(table), encoding="utf-8")


def test_of_several_recipes_the_table_takes_the_fastest_that_is_as_good(results: Path, bright_rgb: Path) -> None:
    dataset = results.parent
    for name in ("sdseg-fast-seed0", "sdseg-fast-seed1", "tiny", "unmeasured"):
        (dataset / name / "export").mkdir(parents=True)
        shutil.copy(bright_rgb, dataset / name / "export" / "model.onnx")
    with pytest.raises(ListedError, match="5 models in this results folder"):
        choose_model(dataset, "cpu")
    rows = [
        table_row(results.name, 0.9, onnxruntime=40, openvino=3),
        table_row("sdseg-fast", 0.8951, onnxruntime=4, openvino=5),
        table_row("tiny", 0.8949, onnxruntime=1, openvino=1),
        table_row("gone", 0.95, onnxruntime=0.1),
    ]
    write_table(dataset.parent, rows)
    for named in (dataset, dataset.parent):
        chosen = choose_model(named, "cpu")
        assert chosen.served.path == dataset / "sdseg-fast-seed0" / "export" / "model.onnx"
        assert (
            "sdseg-fast (Dice 0.8951, 4 ms an image on a CPU) is the fastest within 0.005 of the best Dice"
            in chosen.reason
        )
        assert "tiny 0.8949 in 1 ms" in chosen.reason
    assert choose_model(dataset / "tiny", "cpu").served.path.parent.parent.name == "tiny"  # named: taken
    assert "; not measured in this runtime, so not considered: unmeasured; " in choose_model(dataset, "cpu").reason
    assert "so not considered: kseg/unmeasured" in choose_model(dataset.parent, "cpu").reason
    assert recipes_in_order(dataset, "openvino").recipes[0].folder == results
    assert [each.name for each in recipes_in_order(dataset, "cpu").recipes] == ["sdseg-fast", results.name, "tiny"]
    assert not recipes_in_order(dataset, "cuda").recipes  # the table is of CPUs
    write_model(dataset.parent / "refuge2" / "unet" / "model")  # of a dataset that the table does not tell of
    with pytest.raises(ListedError, match="6 models in this results folder"):
        choose_model(dataset.parent, "cpu")
    assert choose_model(dataset, "cpu").served.path.parts[-3] == "sdseg-fast-seed0"


@pytest.mark.parametrize("text", ["", "{}", '{"rows": [', "[]"])
def test_a_table_that_cannot_be_read_is_named(kinds: Path, text: str, caplog: pytest.LogCaptureFixture) -> None:
    table = kinds.parent / "pareto.json"
    table.write_text(text, encoding="utf-8")
    with pytest.raises(ListedError, match="3 models in this results folder"):
        choose_model(kinds, "cpu")
    assert f"{table} chooses no model: " in caplog.text
    table.unlink()
    caplog.clear()
    with pytest.raises(ListedError, match="3 models in this results folder"):
        choose_model(kinds, "cpu")
    assert not caplog.text


def test_a_graph_of_other_weights_than_the_folder_has_is_passed_over(bright_rgb: Path, tmp_path: Path) -> None:
    """A model was trained again, and not exported since."""
    write_model(tmp_path / "model")
    own = open_model(tmp_path / "model").checksum
    shutil.copytree(bright_rgb.parent, tmp_path / "export")
    graph = tmp_path / "export" / "model.onnx"
    for made_from, taken in ((own, graph), ("f" * 64, tmp_path / "model"), (None, graph)):
        shutil.copy(bright_rgb, graph)
        write_manifest(graph, open_manifest(graph).model_copy(update={"model_checksum": made_from}))
        chosen = choose_model(tmp_path, "cpu")
        assert chosen.served.path == taken
        assert ("export/model.onnx: made from other weights than those of model/" in chosen.reason) == (taken != graph)
    write_manifest(graph, open_manifest(graph).model_copy(update={"model_checksum": "f" * 64}))
    assert choose_model(graph, "cpu").served.path == graph  # named: taken
    (tmp_path / "model" / "config.json").unlink()
    assert choose_model(tmp_path, "cpu").served.path == graph  # there is nothing to compare it with


def write_manifest(graph: Path, manifest: GraphManifest) -> None:
    """Let a graph say this of itself."""
    model = onnx.load(str(graph))
    del model.metadata_props[:]
    onnx.helper.set_model_props(model, {METADATA_KEY: unsealed(manifest, external=False).model_dump_json()})
    onnx.save(model, str(graph))
    seal_graph(graph)


@pytest.fixture
def kinds(bright_rgb: Path, tmp_path: Path) -> Path:
    """results/<dataset> with a graph, a direct network and one that gives hypotheses, of the best Dice downwards."""
    dataset = tmp_path / "results" / "kseg"
    (dataset / "graph" / "export").mkdir(parents=True)
    shutil.copy(bright_rgb, dataset / "graph" / "export" / "model.onnx")
    write_model(dataset / "direct" / "model")
    write_latent_model(dataset / "latent" / "model", **GAUSSIAN, inference={"samples": 2})
    rows = [
        table_row("graph", 0.9, onnxruntime=1) | {"date": "2026-03-02"},
        table_row("direct", 0.897, torch=5) | {"date": "2026-03-02"},
        table_row("latent", 0.8, torch=2) | {"date": "2026-03-02"},
    ]
    write_table(dataset.parent, rows)
    return dataset


@pytest.mark.parametrize(("samples", "hypotheses"), [(4, False), (None, True)])
def test_recipes_that_cannot_do_what_is_wanted_are_passed_over(
    kinds: Path, samples: int | None, hypotheses: bool
) -> None:
    assert choose_model(kinds, "cpu").served.path.parts[-3] == "graph"
    chosen = choose_model(kinds, "cpu", samples, hypotheses=hypotheses)
    assert chosen.served.path == kinds / "latent" / "model"
    assert "latent (Dice 0.8000, 2 ms an image on a CPU) is the next best, not within 0.005" in chosen.reason
    assert "; passed over: graph (" in chosen.reason
    why = "model on cpu: " if samples else "'unet' has one answer to an image"
    assert f", direct ({why}" in chosen.reason
    assert "\n" not in chosen.reason
    shutil.rmtree(kinds / "latent")
    with pytest.raises(ListedError, match=r"no recipe that the table ranks can .*:\n  - graph .*\n  - direct "):
        choose_model(kinds, "cpu", samples, hypotheses=hypotheses)


def test_a_model_that_is_newer_than_its_row_is_warned_of(
    kinds: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    config = kinds / "direct" / "model" / "config.json"
    manifest = json.loads(config.read_text("utf-8"))
    for day, expected in (("2026-03-02", False), ("2026-03-03", True)):
        config.write_text(json.dumps(manifest | {"provenance": {"time": f"{day}T08:00:00+00:00"}}), encoding="utf-8")
        monkeypatch.chdir(kinds)
        assert choose_model(Path(), "cpu").served.path.parts[0] == "graph"  # the table lies beside this folder
        assert (f"direct was trained on {day}, after its row in" in caplog.text) is expected


def test_a_model_that_is_none_of_its_rows_is_warned_of(kinds: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Trained anew on the same day, which dates do not tell."""
    own = open_model(kinds / "direct" / "model").checksum
    row = table_row("direct", 0.9, torch=1) | {"date": "2026-03-02"}
    for models, expected in (([own, "f" * 64], False), (["f" * 64], True), (None, False)):
        write_table(kinds.parent, [row | {"model_checksums": models}])
        caplog.clear()
        assert choose_model(kinds, "cpu").served.path == kinds / "direct" / "model"
        assert ("direct has other weights than its row in" in caplog.text) is expected


def test_openvino_by_itself_is_taken(bright_rgb: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where ONNX Runtime is not installed: `pip install 'sdseg[openvino]'`."""
    skip_without_openvino()
    spec_of = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else spec_of(name))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert choose_model(bright_rgb).served.backend.name == "openvino"


def test_a_results_folder_without_torch(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The graph is taken; where there is none, the message names the extra."""
    monkeypatch.delitem(sys.modules, "sdseg.models.model_folder", raising=False)
    for name in ("torch", "safetensors", "safetensors.torch"):
        monkeypatch.setitem(sys.modules, name, None)
    graph = results / "export" / "model.onnx"
    assert choose_model(results).served.path == graph
    graph.unlink()
    with pytest.raises(UserError, match=r"a model folder .* needs the package"):
        choose_model(results / "model")
