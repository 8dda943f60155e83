"""A model of two channels from files to masks: whichever way the channels are named, it is fed what the store has."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest

import sdseg
from sdseg.backends.onnxruntime import OnnxBackend
from sdseg.cli.commands import HANDLERS
from sdseg.cli.parser import build_parser
from sdseg.config.dataset import Dataset
from sdseg.config.export import Export
from sdseg.core.errors import UserError
from sdseg.core.settings import parse
from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.evaluation.evaluate import evaluate
from sdseg.export.onnx import export
from sdseg.inference.find_inputs import InputFile, find_inputs
from sdseg.inference.group_channels import Channels
from sdseg.inference.load_input import open_array, open_file
from sdseg.inference.predict import PredictOptions, predict
from tests.helpers.channels import NAMES, two_channels, write_two_channels
from tests.helpers.mr_volumes import SCANNERS, SIDE
from tests.helpers.raw_files import LPS, write_series
from tests.helpers.tiny import write_model


@pytest.fixture(scope="module")
def heads(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Raw files, store, an untrained model and its graph."""
    folder = tmp_path_factory.mktemp("heads ä")
    write_two_channels(folder)
    own = {"layout": "nnunet", "modality": "mr", "shown_channel": "T2"}
    settings = parse(Dataset, {"source": "own", "size": SIDE, "own": own}, where="my.yaml")
    given: dict[str, Any] = {"raw": folder / "raw", "split": folder / "split.csv", "output": folder / "prepared"}
    manifest = prepare(name="heads", settings=settings, **given)
    write_model(folder / "model", manifest.image, manifest.structures)
    export(folder / "model", folder / "prepared", folder / "export", Export())
    return folder


def copies(heads: Path, folder: Path, names: str) -> Path:
    """The test case's files under other names; `{place}` and `{name}` are those of a channel."""
    for place, name in enumerate(NAMES):
        target = folder / names.format(place=place, name=name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(heads / "raw" / "imagesTr" / f"d_{place:04d}.nii.gz", target)
    return folder


def test_graph_and_model_agree_and_the_graph_names_its_channels(heads: Path) -> None:
    described = json.loads((heads / "export" / "io.json").read_text("utf-8"))
    assert described["inputs"][0]["axes"] == ["batch", SIDE, SIDE, 2]
    assert (described["image"]["channel_names"], described["image"]["shown_channel"]) == (list(NAMES), 1)
    assert json.loads((heads / "export" / "parity.json").read_text("utf-8"))["passed"] is True
    graph, store = OnnxBackend(heads / "export" / "model.onnx"), SliceStore.open(heads / "prepared")
    images = np.array(store.images[:2])
    assert not np.allclose(graph.probability(images), graph.probability(images[..., ::-1]))  # the order counts


@pytest.mark.parametrize(
    ("names", "found"),
    [
        ("d_{place:04d}.nii.gz", "d"),
        ("sub/d_{place:04d}.nii.gz", "sub/d"),
        ("{name}/d.nii.gz", "d"),
        ("d-{name}.nii.gz", "d"),
        ("d/{name}.nii.gz", "d"),
    ],
)
def test_names_tell_the_channels(heads: Path, tmp_path: Path, names: str, found: str) -> None:
    folder = copies(heads, tmp_path / "in", names)
    listing = find_inputs([folder], tmp_path / "out", modality="mr", channels=Channels(NAMES))
    (file,) = listing.inputs
    assert (file.name, listing.problems) == (found, [])
    store = SliceStore.open(heads / "prepared")
    native = open_file(file, store.manifest.image, store.manifest.structures, with_pixels=True)
    np.testing.assert_array_equal(native.images, store.images[store.cases_of("test")[0].rows])
    assert native.pixels_shown is not None
    assert native.pixels_shown.shape[-1] == 1


def test_the_user_names_them_file_by_file_or_folder_by_folder(heads: Path, tmp_path: Path) -> None:
    voxels, scan = two_channels(3, SCANNERS["d"])[0][0], {"t0008_0060": "MR", "t0028_1052": "0"}
    write_series(tmp_path / "scans" / "first", voxels, origin=(-10.0, -20.0, -30.0), **scan)
    shutil.copy(heads / "raw" / "imagesTr" / "d_0001.nii.gz", tmp_path / "scans" / "second.nii.gz")
    given = (("t2", tmp_path / "scans" / "second.nii.gz"), ("T1", tmp_path / "scans" / "first"))
    folders = copies(heads, tmp_path / "folders", "{name}-weighted/d.nii.gz")
    also = tuple((name, folders / f"{name}-weighted") for name in NAMES)
    masks = []
    for number, (model, channels) in enumerate((("model", given), ("export/model.onnx", also))):
        output = tmp_path / f"out{number}"
        options = PredictOptions(channels=channels, naming="nnunet", overlay=True)
        assert predict(heads / model, [], output, options=options) == 0
        (record,) = json.loads((output / "predict.json").read_text("utf-8"))["inputs"]
        assert len(record["channels"]) == 2
        assert record["intensity_unit"] == "file's own, T2"
        (mask,) = output.glob("*.nii.gz")
        masks.append(np.asarray(nib.load(mask).dataobj))
        assert (output / f"{record['name']}_overlay.png").is_file()
    np.testing.assert_array_equal(*masks)
    command = ["predict", "--model", "m", "--output", "o", "--channel", "T1=a/b=c", "--channel", "T2=d"]
    parsed = build_parser(HANDLERS).parse_args(command)
    assert parsed.channel == [("T1", Path("a/b=c")), ("T2", Path("d"))]


def test_python_takes_a_mapping_a_name_or_an_array(heads: Path) -> None:
    model = sdseg.load(heads / "export" / "model.onnx")
    paths = {name: heads / "raw" / "imagesTr" / f"d_{place:04d}.nii.gz" for place, name in enumerate(NAMES)}
    (first, second), _ = two_channels(3, SCANNERS["d"])
    stacked = np.stack([first * 2.5, second * 0.5], axis=-1)  # each channel has a scale of its own
    answers = [model.predict(paths), model.predict(paths["T1"]), model.predict(stacked, affine=LPS)]
    for answer in answers[1:]:
        np.testing.assert_allclose(answer.probability, answers[0].probability, atol=1e-3)
    with pytest.raises(UserError, match=r"no file of T2; the model sees T1, T2"):
        model.predict({"T1": paths["T1"]})
    with pytest.raises(UserError, match=r"wants 2 channels \(T1, T2\) as its last axis"):
        model.predict(first, affine=LPS)


def test_what_is_amiss_is_named_and_the_others_go_on(heads: Path, tmp_path: Path) -> None:
    folder = copies(heads, tmp_path / "in", "d_{place:04d}.nii.gz")
    source = heads / "raw" / "imagesTr"
    shutil.copy(source / "a_0000.nii.gz", folder)
    shutil.copy(source / "a_0000.nii.gz", folder / "nothing.nii.gz")
    shutil.copy(source / "a_0000.nii.gz", folder / "d_0002.nii.gz")
    shutil.copy(source / "b_0000.nii.gz", folder)
    image = nib.load(source / "b_0001.nii.gz")
    nib.save(nib.Nifti1Image(np.asarray(image.dataobj)[:-1], image.affine), folder / "b_0001.nii.gz")
    assert predict(heads / "model", [folder], tmp_path / "out") == 1
    report = json.loads((tmp_path / "out" / "predict.json").read_text("utf-8"))
    assert [record["name"] for record in report["inputs"]] == ["d"]
    problems = {Path(each["input"]).name: each["problem"] for each in report["failures"]}
    assert problems["a_0000.nii.gz"] == "its file of T2 is missing; the model sees T1, T2"
    assert problems["nothing.nii.gz"].startswith("its name tells no channel")
    assert problems["d_0002.nii.gz"].startswith("channel 2, counted from 0, of a model that sees T1, T2")
    assert "shape of the channel T1" in problems["b_0000.nii.gz"]
    assert "b_0001.nii.gz" in problems["b_0000.nii.gz"]
    (again,) = find_inputs([folder / "d_0001.nii.gz"], tmp_path / "o", modality="mr", channels=Channels(NAMES)).inputs
    assert again.name == "d"  # the others lie beside it
    with pytest.raises(UserError, match="there is no channel 'FLAIR'; the model sees T1, T2"):
        find_inputs([], tmp_path / "o", channels=Channels(NAMES, {"FLAIR": (folder,)}))


def test_results_are_kept_while_no_channel_changes(heads: Path, tmp_path: Path) -> None:
    folder, output = copies(heads, tmp_path / "in", "d_{place:04d}.nii.gz"), tmp_path / "out"
    for kept in (0, 1):
        assert predict(heads / "model", [folder], output) == 0
        assert json.loads((output / "predict.json").read_text("utf-8"))["n_kept"] == kept
    shutil.copy(heads / "raw" / "imagesTr" / "d_0001.nii.gz", folder)  # another time of change
    assert predict(heads / "model", [folder], output) == 0
    assert json.loads((output / "predict.json").read_text("utf-8"))["n_kept"] == 0


def test_evaluation_shows_the_channel_that_was_chosen(heads: Path, tmp_path: Path) -> None:
    evaluate(heads / "prepared", heads / "model", tmp_path / "scores")
    shown = json.loads((tmp_path / "scores" / "volumes" / "best.json").read_text("utf-8"))
    assert shown["channel"] == "T2"


def test_one_slice_and_one_file_are_what_they_are(heads: Path) -> None:
    manifest = SliceStore.open(heads / "prepared").manifest
    (first, second), _ = two_channels(3, SCANNERS["d"])
    native = open_array(np.stack([first[:, :, 1], second[:, :, 1]], -1), None, manifest.image, manifest.structures)
    assert native.images.shape == (1, SIDE, SIDE, 2)
    assert sum("a single slice: normalised by its own values" in note for note in native.notes) == 1
    alone = InputFile(heads / "raw" / "imagesTr" / "d_0000.nii.gz", "d", "volume")
    with pytest.raises(UserError, match="one file, and the model sees the channels T1, T2"):
        open_file(alone, manifest.image, manifest.structures)


def grouped(files: list[str], root: Path, *named: str) -> tuple[dict[str, list[str]], list[str]]:
    """The cases among empty files below a folder, with the places of their channels, and what is amiss."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).touch()
    paths = [root / name for name in named or (".",)]
    listing = find_inputs(paths, root.parent / "out", modality="mr", channels=Channels(NAMES))
    cases = {one.name: [part.path.relative_to(root).as_posix() for part in one.channels] for one in listing.inputs}
    return cases, [problem.what for problem in listing.problems]


NUMBERED = [f"{name}/patient_{number:04d}.nii.gz" for name in NAMES for number in (0, 1)]
TWO = {f"patient_{number:04d}": [f"{name}/patient_{number:04d}.nii.gz" for name in NAMES] for number in (0, 1)}


@pytest.mark.parametrize("named", [(), NAMES, NUMBERED, NUMBERED[:1] + NUMBERED[2:3]])
def test_two_patients_whose_names_end_in_numbers_are_two_cases(tmp_path: Path, named: tuple[str, ...]) -> None:
    cases, problems = grouped(NUMBERED, tmp_path / "in", *named)
    assert (cases, problems) == (
        {name: TWO[name] for name in list(TWO)[: 1 if len(named) == 2 and named != NAMES else 2]},
        [],
    )


@pytest.mark.parametrize(
    ("files", "named", "case"),
    [
        (["T1/d_0000.nii.gz", "T2/d_0001.nii.gz"], (), "d"),  # number and folder agree
        (["T1/d.nii.gz", "T2/d.nii.gz"], NAMES, "d"),
        (["T1/d.nii.gz", "T2/d.nii.gz"], ("T1/d.nii.gz", "T2/d.nii.gz"), "d"),
        (["T1/d.nii.gz", "T2/d.nii.gz"], ("T*/*.gz",), "d"),
        (["T1/s/d_T1.nii.gz", "T2/s/d_t2.nii.gz"], (), "s/d"),
        (["PET/T1/d.nii.gz", "PET/T2/d.nii.gz"], ("PET",), "d"),
        (["T1/d_T1.nii.gz", "T1/d_T2.nii.gz"], ("T1",), "d"),  # a folder of all files tells nothing
        (["d_0000_T1.nii.gz", "d_0000_T2.nii.gz"], (), "d_0000"),
    ],
)
def test_folders_that_differ_and_names_tell_the_channel(
    tmp_path: Path, files: list[str], named: tuple[str, ...], case: str
) -> None:
    assert grouped(files, tmp_path / "in", *named) == ({case: files}, [])


@pytest.mark.parametrize(
    ("files", "named", "told"),
    [
        (["T1/d_T2.nii.gz", "T2/d_T1.nii.gz"], (), "its folder 'T1' says T1 and its name 'd_T2' says T2"),
        (["T1/T2/d.nii.gz", "T2/T2/d.nii.gz"], (), "its folder 'T1' says T1 and its folder 'T2' says T2"),
        (["T1/d_0001.nii.gz", "T2/d_0000.nii.gz"], (), "its folder says T1 and its number _0001 T2; its file of T2 is"),
        (["T1/d_0000.nii.gz", "T1/d_0001.nii.gz"], ("T1",), "its file of T2 is missing"),
        (["T1/d_0000.nii.gz", "T1/d_0001.nii.gz"], ("T1/d_0000.nii.gz",), "its file of T2 is missing"),
        (["T1/d_0000.nii.gz", "T2/d_0001.nii.gz", "T2/d_0002.nii.gz"], (), "its file of T2 is missing"),
        (["d_T1.nii.gz", "d_T1.nii", "d_T2.nii.gz"], (), "a second file of the channel T1 of 'd'"),
    ],
)
def test_what_tells_two_channels_is_refused(
    tmp_path: Path, files: list[str], named: tuple[str, ...], told: str
) -> None:
    cases, problems = grouped(files, tmp_path / "in", *named)
    assert cases == {}
    assert any(problem.startswith(told) for problem in problems), problems


@pytest.mark.parametrize(("names", "case"), [("P1_{name}", "P1"), ("P1_{place:04d}", "P1"), ("P1/{name}", "P1")])
def test_series_are_told_by_the_names_of_their_folders(tmp_path: Path, names: str, case: str) -> None:
    scan, folders = {"t0008_0060": "MR", "t0028_1052": "0"}, []
    for place, (name, voxels) in enumerate(zip(NAMES, two_channels(3, SCANNERS["d"])[0], strict=True)):
        folders.append(tmp_path / "in" / names.format(place=place, name=name))
        write_series(folders[-1], voxels[..., :2], t0020_000e=f"1.2.{place}", **scan)
    for named in ([tmp_path / "in"], folders):
        (one,) = find_inputs(named, tmp_path / "out", modality="mr", channels=Channels(NAMES)).inputs
        assert [part.path for part in one.channels] == folders
        assert one.name == case
    with pytest.raises(UserError, match="for two channels, T1 and T2"):
        given = {"T1": (folders[0],), "T2": (tmp_path / "in" / ".." / folders[0].relative_to(tmp_path),)}
        find_inputs([], tmp_path / "out", modality="mr", channels=Channels(NAMES, given))
    pet = find_inputs(folders, tmp_path / "out", modality="pet", channels=Channels(NAMES)).problems[0]
    assert "channels are of several modalities (PET and CT), the dataset is one of 'modality: other'" in str(pet.remedy)
    assert not find_inputs(folders, tmp_path / "out", modality="other", channels=Channels(NAMES)).problems


def by_user(root: Path, t1: str, t2: str) -> tuple[dict[str, list[str]], list[str]]:
    given = {"T1": (root / t1,), "T2": (root / t2,)}
    listing = find_inputs([], root.parent / "out", modality="mr", channels=Channels(NAMES, given))
    cases = {one.name: [part.path.relative_to(root).as_posix() for part in one.channels] for one in listing.inputs}
    return cases, [problem.what for problem in listing.problems]


def test_numbers_of_patients_stay_where_the_user_names_folders(tmp_path: Path) -> None:
    root = tmp_path / "in"
    grouped(NUMBERED, root)
    assert by_user(root, "T1", "T2") == (TWO, [])
    assert by_user(root, "T1/*.gz", "T2/*.gz") == (TWO, [])
    grouped(["a/d_0000.nii.gz", "b/d_0001.nii.gz", "c/e.nii.gz"], root)
    assert by_user(root, "a", "b") == ({"d": ["a/d_0000.nii.gz", "b/d_0001.nii.gz"]}, [])  # nnU-Net's
    assert by_user(root, "b/d_0001.nii.gz", "c/e.nii.gz") == ({"d_0001": ["b/d_0001.nii.gz", "c/e.nii.gz"]}, [])
    cases, problems = by_user(root, "a", "c")  # folders of one file each, of two patients
    assert (cases, len(problems)) == ({}, 2)
    grouped(["f/d.nii.gz", "f/d_0000.nii.gz", "g/d.nii.gz", "g/d_0001.nii.gz"], root)
    cases, problems = by_user(root, "f", "g")  # without its number d_0000 would be d a second time
    assert (cases, len(problems)) == ({"d": ["f/d.nii.gz", "g/d.nii.gz"]}, 2)


def test_what_was_refused_is_not_called_missing_too(tmp_path: Path) -> None:
    root = tmp_path / "in"
    grouped(["t2/d.nii.gz", "t2/e.nii.gz", "t1/e.nii.gz", "mixed/notes.txt", "mixed/d_T2.nii.gz"], root)
    (root / "empty").mkdir()
    voxels = two_channels(3, SCANNERS["d"])[0][0]
    write_series(root / "t1" / "d", voxels[..., :2], t0008_0060="CT", t0028_1052="0")
    write_series(root / "mixed" / "d_T1", voxels[..., :2], t0008_0060="CT", t0028_1052="0")
    e = {"e": ["t1/e.nii.gz", "t2/e.nii.gz"]}
    for t1, cases, told in (
        ("t1/d", {}, "modality 'CT'"),
        ("nothing.nii.gz", {}, "the file is missing"),
        ("mixed/notes.txt", {}, "no image or volume by its name"),
        ("empty", {}, "a folder without images or volumes"),
        ("none/*", {}, "the pattern matches nothing"),
        ("t1", e, "modality 'CT'"),
    ):
        found, problems = by_user(root, t1, "t2" if t1 in ("t1", "empty", "none/*") else "t2/d.nii.gz")
        assert found == cases
        assert len(problems) == 1
        assert told in problems[0]
    listing = find_inputs([root / "mixed"], tmp_path / "out", modality="mr", channels=Channels(NAMES))
    assert not listing.inputs
    assert ["modality 'CT'" in problem.what for problem in listing.problems] == [True]


def test_one_file_for_two_channels_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "in"
    grouped(["a/d.nii.gz"], root)
    (root / "link").symlink_to(root / "a")
    for t1, t2 in (("a", "a"), ("a", "link"), ("a/d.nii.gz", "a"), ("a/*", "a/d.*")):
        with pytest.raises(UserError, match="is named for two channels, T1 and T2"):
            by_user(root, t1, t2)
