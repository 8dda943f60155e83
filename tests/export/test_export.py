"""The verb: model folder to graph, io.json, parity.json; nothing is left where the gate closes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest

from sdseg import __version__
from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.graph_precision import read_graph
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.backends.open_model import open_model
from sdseg.backends.openvino_support import computes_in_bf16
from sdseg.config.export import Export, Tolerance, Tolerances
from sdseg.core.errors import ListedError, UserError
from sdseg.core.files import read_json
from sdseg.export.onnx import export
from tests.helpers.installed import needs_openvino
from tests.helpers.tiny import CT, DISC_CUP, picture, write_model, write_store

# The networks here are untrained: their probability lies about the threshold, and masks mean little.
WIDE = Tolerances(
    **{
        name: Tolerance(max_abs_difference=1.0, max_mean_difference=1.0, max_dice_difference=1.0, min_mask_dice=0.0)
        for name in ("fp16", "bf16", "int8", "int8_mixed", "int8_weights")
    }
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_model(tmp_path_factory.mktemp("models") / "a model é", CT, DISC_CUP)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    cases = {"train": (1,), "val": (1,), "test": (3, 1, 2, 4, 1)}
    return write_store(tmp_path_factory.mktemp("stores") / "a store é", CT, DISC_CUP, cases)


def test_writes_graph_ports_and_parity(model: Path, store: Path, tmp_path: Path) -> None:
    output = tmp_path / "an export é"
    export(model, store, output, Export())
    assert sorted(path.name for path in output.iterdir()) == ["io.json", "model.onnx", "parity.json"]

    manifest = read_json(output / "io.json", GraphManifest)
    assert OnnxBackend(output / "model.onnx").manifest == manifest
    assert (manifest.dataset, manifest.recipe, manifest.opset) == ("tiny", "unet", 21)
    assert manifest.provenance["protocol"] == "clean"
    assert manifest.provenance["model_checksum"] == open_model(model).checksum

    parity = json.loads((output / "parity.json").read_text("utf-8"))
    assert parity["passed"] is True
    assert (parity["backend"], parity["reference"], parity["precision"]) == ("onnxruntime-cpu", "torch-cpu", "fp32")
    assert (parity["n_cases"], parity["n_slices"]) == (5, 11)
    assert parity["max_abs_difference"] < 1e-4
    assert parity["dice_difference"] < 1e-4

    # The same probability outside the gate, on an image that it never saw.
    image = picture(CT, 99)[0][None]
    ours, theirs = (open_model(path).backend.probability(image) for path in (output / "model.onnx", model))
    np.testing.assert_allclose(ours, theirs, atol=1e-4)


def test_the_file_alone_tells_what_predict_needs(model: Path, store: Path, tmp_path: Path) -> None:
    export(model, store, tmp_path / "e", Export())
    (text,) = (each.value for each in onnx.load(str(tmp_path / "e" / "model.onnx")).metadata_props)
    told, trained = json.loads(text), open_model(model)
    assert (told["recipe"], told["dataset"], told["origin"]) == ("unet", "tiny", "phantom")
    assert (told["version"], told["protocol"], told["precision"]) == (__version__, "clean", "fp32")
    assert told["structures"] == [{"name": "disc", "values": [1, 2]}, {"name": "cup", "values": [2]}]
    assert told["labels"] == {"1": "one", "2": "two"}
    assert told["threshold"] == 0.5
    image = {"modality": "ct", "size": 32, "channels": 1, "window": [-175.0, 250.0]}
    assert told["image"] == told["image"] | image
    assert told["interpolation"].startswith("bilinear")
    assert told["model_checksum"] == trained.checksum
    assert told["data_checksum"] == trained.training["data_checksum"]
    assert [port["name"] for port in told["inputs"] + told["outputs"]] == ["image", "probability"]


@needs_openvino
def test_openvino_is_checked_by_the_tolerances_of_what_it_computes_in(model: Path, store: Path, tmp_path: Path) -> None:
    providers = ["cpu", "openvino"]
    if computes_in_bf16():
        providers.append("openvino-bf16")
    settings = Export.model_validate({"precisions": ["bf16"], "providers": providers, "tolerances": WIDE})
    export(model, store, tmp_path / "e", settings)
    checks = json.loads((tmp_path / "e" / "parity.json").read_text("utf-8"))["checks"]
    found = {(each["file"], each["backend"]): each for each in checks}
    for backend, limit in (("openvino", 1e-3), ("openvino-bf16", 1.0))[: len(providers) - 1]:
        assert found["model.onnx", backend]["passed"]
        assert found["model.onnx", backend]["tolerances"]["max_abs_difference"] == limit
        assert found["model.bf16.onnx", backend]["passed"]
    assert found["model.bf16.onnx", "onnxruntime-cpu"]["not_run"]


def test_parity_cases_are_spread(model: Path, store: Path, tmp_path: Path) -> None:
    export(model, store, tmp_path / "e", Export(parity_cases=2, opset=18))
    parity = json.loads((tmp_path / "e" / "parity.json").read_text("utf-8"))
    assert (parity["n_cases"], parity["n_slices"]) == (2, 4)  # the first and the last of five


def test_a_closed_gate_leaves_nothing(model: Path, store: Path, tmp_path: Path) -> None:
    output = tmp_path / "e"
    output.mkdir()
    (output / "model.onnx").write_text("of an earlier model")
    with pytest.raises(ListedError, match="does not compute what the model computes") as caught:
        export(model, store, output, Export(max_abs_difference=1e-15))
    message = str(caught.value)
    assert "times the tolerance of 1e-15" in message
    assert "measured on 5 test cases (11 slices): probability max" in message
    assert "Dice between the masks 1.0000" in message
    assert list(output.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_a_store_that_does_not_fit(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ListedError, match="does not fit the prepared data") as caught:
        export(model, write_store(tmp_path / "s"), tmp_path / "e", Export())
    assert "modality: the data have rgb, the model wants ct" in str(caught.value)
    assert "structures: the data have polyp (1), the model finds disc (1+2), cup (2)" in str(caught.value)
    assert not (tmp_path / "e").exists()


def test_a_store_without_test_cases(model: Path, tmp_path: Path) -> None:
    store = write_store(tmp_path / "s", CT, DISC_CUP, {"train": (1,), "test": ()})
    with pytest.raises(UserError, match="no case in the split 'test'"):
        export(model, store, tmp_path / "e", Export())


@pytest.mark.parametrize("name", ["thesis.tex", "model_mine.onnx", "model.old.onnx", "model.txt", "segment.notes.txt"])
def test_a_users_folder_is_not_replaced(name: str, model: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / name).write_text("years of work")
    with pytest.raises(UserError, match=f"holds '{re.escape(name)}', which this command did not write"):
        export(model, store, tmp_path / "home", Export())
    assert (tmp_path / "home" / name).read_text() == "years of work"


def test_an_export_with_all_that_was_made_of_it_is_replaced(model: Path, store: Path, tmp_path: Path) -> None:
    export(model, store, tmp_path / "e", Export())
    made = ["model.fp16.engine", "model.fp16.engine.json", "model.int8.onnx", "segment.html", "segment.json"]
    for name in made:
        (tmp_path / "e" / name).write_text("of the model before")
    export(model, store, tmp_path / "e", Export())
    assert sorted(path.name for path in (tmp_path / "e").iterdir()) == ["io.json", "model.onnx", "parity.json"]


def test_output_that_cannot_be_written(model: Path, store: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        export(model, store, tmp_path / "file" / "e", Export())


def test_several_precisions_are_each_checked(model: Path, store: Path, tmp_path: Path) -> None:
    output = tmp_path / "e"
    export(model, store, output, Export(precisions=("int8", "fp16", "int8_weights"), tolerances=WIDE))
    names = ["io.json", "model.fp16.onnx", "model.int8.onnx", "model.int8_weights.onnx", "model.onnx", "parity.json"]
    assert sorted(path.name for path in output.iterdir()) == names
    parity = json.loads((output / "parity.json").read_text("utf-8"))
    assert (parity["precision"], parity["few_cases"]) == ("fp32", True)
    checks = [(each["file"], each["backend"], each["precision"], each["passed"]) for each in parity["checks"]]
    assert checks == [
        ("model.onnx", "onnxruntime-cpu", "fp32", True),
        ("model.int8.onnx", "onnxruntime-cpu", "int8", True),
        ("model.fp16.onnx", "onnxruntime-cpu", "fp16", True),
        ("model.fp16.onnx", "torch-cpu", "fp16", True),
        ("model.int8_weights.onnx", "onnxruntime-cpu", "int8_weights", True),
    ]
    for precision in ("fp16", "int8", "int8_weights"):
        manifest = OnnxBackend(output / f"model.{precision}.onnx").manifest
        assert (manifest.precision, manifest.labels) == (precision, {1: "one", 2: "two"})
        assert manifest.model_checksum == open_model(model).checksum
    assert read_graph(output / "model.int8_weights.onnx")[1] == "int8_weights"


def test_what_has_only_ends_has_no_blocks_to_choose_from(model: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no layers between its first convolution and its last"):
        export(model, store, tmp_path / "e", Export(precisions=("int8_mixed",)))
    assert not (tmp_path / "e").exists()


def test_one_precision_outside_its_tolerance_closes_the_gate(model: Path, store: Path, tmp_path: Path) -> None:
    strict = WIDE.model_copy(update={"int8": WIDE.int8.model_copy(update={"max_abs_difference": 1e-9})})
    with pytest.raises(ListedError, match="the int8 ONNX graph does not compute what the model computes"):
        export(model, store, tmp_path / "e", Export(precisions=("fp32", "int8"), tolerances=strict))
    assert not (tmp_path / "e").exists()


def test_what_cannot_be_checked_is_an_error_unless_allowed(model: Path, store: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the bf16 graph could not be checked: ONNX Runtime has no bf16"):
        export(model, store, tmp_path / "e", Export(precisions=("bf16",)))
    export(model, store, tmp_path / "e", Export(precisions=("bf16",), unchecked="keep", tolerances=WIDE))
    graph, arithmetic = json.loads((tmp_path / "e" / "parity.json").read_text("utf-8"))["checks"][1:]
    assert graph["not_run"] == "ONNX Runtime has no bf16 convolution for CPUs"
    assert "passed" not in graph
    assert (arithmetic["backend"], arithmetic["precision"], arithmetic["passed"]) == ("torch-cpu", "bf16", True)
