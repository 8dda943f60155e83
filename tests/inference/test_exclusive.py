"""Structures that exclude each other, from the dataset's setting to the files of `predict`; and those that overlap."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import cv2
import nibabel as nib
import numpy as np
import onnx
import pytest

from sdseg.artifacts.manifests import GraphManifest, ModelManifest, PreparedManifest
from sdseg.backends.open_model import open_model
from sdseg.config.dataset import Dataset
from sdseg.core.errors import UserError
from sdseg.core.files import read_json
from sdseg.data.mask_rule import MaskRule
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.datasets.source_lookup import known_source
from sdseg.evaluation.evaluate import EvaluationOptions, evaluate, evaluate_masks
from sdseg.evaluation.studies.stability import stability
from sdseg.evaluation.studies.studied_model import Scope, bar, mean_scores, open_subject
from sdseg.export.tracing import export_graph
from sdseg.export.triton_config import Variant, config_text
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.own_files import report
from tests.helpers.prepared_sets import SPACING
from tests.helpers.raw_files import save, write_split
from tests.helpers.tiny import DISC_CUP, RGB, Bands, describe, picture

LEVELS = (0.0, 60.0, 120.0)  # HU of three organs that lie in each other, in a body of −100
NAMES = {"liver": 1, "spleen": 2, "kidney": 3}
SPLIT = {"a": "train", "b": "val", "c": "test", "d": "test"}


def write_raw(raw: Path) -> Path:
    """nnU-Net's layout: noisy scans 50 × 40 × 9 whose labels are 1, 2 and 3."""
    x, y, z = np.mgrid[:50, :40, :9]
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    for number, case in enumerate(SPLIT):
        distance = np.sqrt(((x - 24) / (14 + number)) ** 2 + ((y - 18 - number) / 12) ** 2 + ((z - 4) / 5.0) ** 2)
        labels = np.select([distance < 0.5, distance < 0.75, distance < 1.0], [3, 2, 1], 0).astype(np.uint8)
        noise = np.random.default_rng(number).normal(0, 25, labels.shape)
        voxels = np.array((-100.0, *LEVELS))[labels] + noise
        save(raw / "imagesTr" / f"{case}_0000.nii.gz", voxels.astype(np.int16), affine)
        save(raw / "labelsTr" / f"{case}.nii.gz", labels, affine)
    described = {"channel_names": {"0": "CT"}, "labels": {"background": 0, **NAMES}, "file_ending": ".nii.gz"}
    (raw / "dataset.json").write_text(json.dumps(described), encoding="utf-8")
    return raw


def settings(**more: Any) -> Dataset:
    own = {"layout": "nnunet", "modality": "ct", "windows": {"w": [-175, 250]}, **more.pop("own", {})}
    return Dataset.model_validate({"source": "own", "own": own, "size": 32, **more})


def prepared(folder: Path, raw: Path, **more: Any) -> PreparedManifest:
    split = write_split(folder / "split.csv", SPLIT)
    return prepare(name="three", settings=settings(**more), raw=raw, split=split, output=folder / "prepared")


def write_bands(path: Path, held: PreparedManifest, *, exclusive: bool) -> Path:
    """A graph whose structures all claim pixels between their levels."""
    described = describe(held.image, held.structures, exclusive=exclusive)
    export_graph(Bands(LEVELS, 90.0), described, path)
    return path


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_raw(tmp_path_factory.mktemp("raw é"))


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Path:
    folder = tmp_path_factory.mktemp("three")
    assert prepared(folder, raw).exclusive is True
    return folder / "prepared"


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory, store: Path) -> dict[bool, Path]:
    folder, held = tmp_path_factory.mktemp("bands"), SliceStore.open(store).manifest
    return {each: write_bands(folder / f"{each}.onnx", held, exclusive=each) for each in (True, False)}


def counted(path: Path) -> dict[str, int]:
    values = np.asarray(nib.load(path).dataobj)
    return {name: int((values == number).sum()) for name, number in NAMES.items()}


def table(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "evaluation" / "cases.csv").open(encoding="utf-8", newline="") as stream:
        return {row["case"]: row for row in csv.DictReader(stream)}


def test_file_counts_and_scores_are_the_same_numbers(
    raw: Path, store: Path, graphs: dict[bool, Path], tmp_path: Path
) -> None:
    """At the native size, where probabilities were resized: what predict wrote is what evaluate scored."""
    images = [raw / "imagesTr" / f"{case}_0000.nii.gz" for case in ("c", "d")]
    assert predict(graphs[True], images, tmp_path / "masks") == 0
    evaluate(store, graphs[True], tmp_path / "model" / "evaluation", EvaluationOptions(raw=raw, settings=settings()))
    evaluate_masks(
        store,
        tmp_path / "masks",
        "files",
        tmp_path / "files" / "evaluation",
        EvaluationOptions(raw=raw, settings=settings()),
    )
    told, of_model, of_files = report(tmp_path / "masks"), table(tmp_path / "model"), table(tmp_path / "files")
    assert (told["exclusive"], told["overlap"]) == (True, None)
    for case, one in zip(("c", "d"), told["inputs"], strict=True):
        written = counted(tmp_path / "masks" / one["outputs"]["mask"])
        assert one["pixels"] == written
        assert all(written.values())
        assert "label_map" not in one
        assert int(of_model[case]["pixels_predicted"]) == sum(written.values())
        native = [column for column in of_model[case] if "_working" not in column and column != "dice_official"]
        assert {column: of_files[case][column] for column in native} == {
            column: of_model[case][column] for column in native
        }
        # And by hand, from the two files alone.
        labels = np.asarray(nib.load(raw / "labelsTr" / f"{case}.nii.gz").dataobj)
        values = np.asarray(nib.load(tmp_path / "masks" / one["outputs"]["mask"]).dataobj)
        for name, number in NAMES.items():
            both = ((labels == number) & (values == number)).sum()
            dice = 2 * both / ((labels == number).sum() + (values == number).sum())
            assert float(of_model[case][f"dice_{name}"]) == pytest.approx(dice, abs=1e-6)
    summary = json.loads((tmp_path / "model" / "evaluation" / "summary.json").read_text("utf-8"))
    assert (summary["exclusive"], summary["threshold"]) == (True, 0.5)


def test_where_they_overlap_the_report_says_what_the_file_does_not_hold(
    raw: Path, graphs: dict[bool, Path], tmp_path: Path
) -> None:
    """The same network without the setting: a graph of an earlier version, or `exclusive: false`."""
    assert predict(graphs[False], [raw / "imagesTr" / "c_0000.nii.gz"], tmp_path / "masks") == 0
    told = report(tmp_path / "masks")
    (one,) = told["inputs"]
    written = counted(tmp_path / "masks" / one["outputs"]["mask"])
    assert told["exclusive"] is False
    assert "'label_map' what the file of labels shows" in told["overlap"]
    assert one["label_map"] == written
    assert one["pixels"]["liver"] > written["liver"]


def test_the_user_may_have_it_otherwise(raw: Path, graphs: dict[bool, Path], tmp_path: Path) -> None:
    """`--exclusive` of a model whose structures overlap is the rule of one whose structures exclude each other."""
    image = raw / "imagesTr" / "c_0000.nii.gz"
    assert predict(graphs[False], [image], tmp_path / "asked", options=PredictOptions(exclusive=True)) == 0
    assert predict(graphs[True], [image], tmp_path / "own") == 0
    asked, own = report(tmp_path / "asked"), report(tmp_path / "own")
    assert (asked["exclusive"], asked["rule_by_user"], own["rule_by_user"]) == (True, {"exclusive": True}, {})
    assert asked["inputs"][0]["checksums"] == own["inputs"][0]["checksums"]


def test_results_made_by_another_rule_are_made_again(raw: Path, store: Path, tmp_path: Path) -> None:
    """Weights say nothing of the rule: a model folder's checksum is the same."""
    from tests.helpers.tiny import write_model

    held = SliceStore.open(store).manifest
    folder = write_model(tmp_path / "model", held.image, held.structures)
    image = raw / "imagesTr" / "c_0000.nii.gz"
    for exclusive, kept in ((False, 0), (False, 1), (True, 0), (True, 1)):
        manifest = read_json(folder / "config.json", ModelManifest).model_copy(update={"exclusive": exclusive})
        (folder / "config.json").write_text(manifest.model_dump_json(), encoding="utf-8")
        assert predict(folder, [image], tmp_path / "out") == 0
        assert report(tmp_path / "out")["n_kept"] == kept


def test_an_inner_structure_is_shown_whatever_the_order(tmp_path: Path) -> None:
    """Cup and disc, the cup first: the disc must not hide it."""
    image, _ = picture(RGB, 1, labels=2)
    cv2.imwrite(str(tmp_path / "a.png"), image[..., ::-1])
    counts = {}
    for name, structures, centres in (("usual", DISC_CUP, (160.0, 240.0)), ("turned", DISC_CUP[::-1], (240.0, 160.0))):
        described = describe(RGB, structures)
        export_graph(Bands(centres, 110.0), described, tmp_path / f"{name}.onnx")
        assert predict(tmp_path / f"{name}.onnx", [tmp_path / "a.png"], tmp_path / name) == 0
        counts[name] = report(tmp_path / name)["inputs"][0]["label_map"]
    assert counts["usual"] == counts["turned"]
    assert all(counts["usual"].values())


def test_studies_follow_the_rule(store: Path, graphs: dict[bool, Path]) -> None:
    """The mean Dice of a study is that of masks made by the model's rule, and not the one of overlapping masks."""
    scores = {}
    for exclusive, path in graphs.items():
        subject = open_subject(store, path, Scope(batch=4))
        with bar(subject.slices, "test") as progress:
            scores[exclusive] = mean_scores(subject, subject.served.backend, progress, timed=False).dice
        assert stability(subject, 2).dice[0] == pytest.approx(scores[exclusive])
    assert scores[True] > scores[False] + 0.05


def test_the_threshold_is_chosen_for_exclusive_masks(
    raw: Path, store: Path, graphs: dict[bool, Path], tmp_path: Path
) -> None:
    evaluate(store, graphs[True], tmp_path / "e", EvaluationOptions(choose_threshold=True))
    chosen = json.loads((tmp_path / "e" / "summary.json").read_text("utf-8"))["threshold_chosen"]
    evaluate(store, graphs[True], tmp_path / "val", EvaluationOptions(split="val"))
    at_half = json.loads((tmp_path / "val" / "summary.json").read_text("utf-8"))
    assert dict(map(tuple, chosen["curve"]))[0.5] == pytest.approx(at_half["dice"]["mean"])


# Where the setting comes from


@pytest.mark.parametrize(
    ("source", "target", "exclusive"),
    [("btcv", "classes13", True), ("btcv", "organs13", False), ("refuge2", "disc-cup", False), ("kseg", None, False)],
)
def test_known_datasets(source: str, target: str | None, exclusive: bool) -> None:
    known = known_source(Dataset.model_validate({"source": source, "target": target}))
    assert known is not None
    assert known.excludes(known.target(target)[1], None) is exclusive


def test_the_setting_and_dataset_json_decide(raw: Path, tmp_path: Path) -> None:
    assert prepared(tmp_path / "default", raw).exclusive is True
    assert prepared(tmp_path / "off", raw, exclusive=False).exclusive is False
    described = json.loads((raw / "dataset.json").read_text("utf-8"))
    other = tmp_path / "raw"
    other.mkdir()
    for folder in ("imagesTr", "labelsTr"):
        (other / folder).symlink_to(raw / folder)
    (other / "dataset.json").write_text(json.dumps({**described, "exclusive": False}), encoding="utf-8")
    assert prepared(tmp_path / "told", other).exclusive is False
    assert prepared(tmp_path / "over", other, exclusive=True).exclusive is True
    (other / "dataset.json").write_text(json.dumps({**described, "exclusive": "no"}), encoding="utf-8")
    with pytest.raises(UserError, match="'exclusive' is 'no'; true or false is expected"):
        prepared(tmp_path / "wrong", other)


def test_structures_that_share_labels_cannot_exclude_each_other(raw: Path, tmp_path: Path) -> None:
    own = {"targets": {"nested": {"belly": [1, 2, 3], "liver": [1]}}}
    assert prepared(tmp_path / "default", raw, own=own).exclusive is False
    with pytest.raises(UserError, match=r"(?s)structures 'belly' and 'liver' share label 1, so they cannot exclude"):
        prepared(tmp_path / "forced", raw, own=own, exclusive=True)
    assert not (tmp_path / "forced" / "prepared").exists()


def test_manifests_of_earlier_versions_overlap(store: Path, graphs: dict[bool, Path], tmp_path: Path) -> None:
    held = json.loads((store / "manifest.json").read_text("utf-8"))
    del held["exclusive"]
    (tmp_path / "manifest.json").write_text(json.dumps(held), encoding="utf-8")
    assert read_json(tmp_path / "manifest.json", PreparedManifest).exclusive is False
    model = onnx.load(str(graphs[True]))
    (told,) = model.metadata_props
    manifest = json.loads(told.value)
    assert manifest.pop("exclusive") is True
    del manifest["content_sha256"]  # earlier versions had no checksum either
    told.value = json.dumps(manifest)
    onnx.save(model, str(tmp_path / "old.onnx"))
    assert open_model(tmp_path / "old.onnx").rule == MaskRule(0.5, exclusive=False)
    assert open_model(graphs[True]).rule == MaskRule(0.5, exclusive=True)


def test_triton_tells_its_clients(store: Path) -> None:
    held = SliceStore.open(store).manifest
    for exclusive, word in ((True, "true"), (False, "false")):
        graph = describe(held.image, held.structures, exclusive=exclusive)
        text = config_text(Variant("x", "onnxruntime_onnx", graph, 4, gpu=False))
        assert f'parameters {{ key: "exclusive" value {{ string_value: "{word}" }} }}' in text


def test_training_and_export_hand_it_on(tmp_path: Path, store: Path) -> None:
    """Through the real verbs: what the prepared data say is what model, graph and validation follow."""
    from sdseg.config.export import Export
    from sdseg.config.recipe import Recipe
    from sdseg.export.onnx import export
    from sdseg.training.train import train

    recipe = Recipe.model_validate(
        {
            "description": "tiny",
            "network": {"kind": "direct", "channels": [4, 8], "residual_units": 0},
            "training": {"steps": 1, "batch": 2, "validate_every": 1, "checkpoint_every": 1, "workers": 0},
        }
    )
    train(
        prepared=store,
        recipe_name="tiny",
        recipe=recipe,
        codec=None,
        output=tmp_path / "model",
        last=tmp_path / "last",
        state=tmp_path / "state",
        quiet=True,
    )
    trained = read_json(tmp_path / "model" / "config.json", ModelManifest)
    assert trained.exclusive is True
    export(tmp_path / "model", store, tmp_path / "export", Export())
    assert read_json(tmp_path / "export" / "io.json", GraphManifest).exclusive is True
    assert open_model(tmp_path / "export" / "model.onnx").rule.exclusive is True
    # The Dice that chose the weights is that of exclusive masks, as evaluation has it.
    evaluate(store, tmp_path / "model", tmp_path / "val", EvaluationOptions(split="val"))
    scored = json.loads((tmp_path / "val" / "summary.json").read_text("utf-8"))
    assert trained.training["best_dice"] == pytest.approx(scored["dice"]["mean"], abs=1e-6)
