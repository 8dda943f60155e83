"""The section of a dataset of the user's own: contradictions and gaps are named, all at once."""

from __future__ import annotations

import re
from typing import Any

import pytest
import yaml

from sdseg.config.dataset import Dataset, Draw, Own
from sdseg.core.errors import ListedError, UserError
from sdseg.core.settings import parse

FOLDERS: dict[str, Any] = {
    "layout": "folders",
    "modality": "rgb",
    "images": "images",
    "masks": "masks",
    "labels": {1: "polyp"},
    "mask_values": {255: 1},
}
NNUNET: dict[str, Any] = {"layout": "nnunet", "modality": "ct", "windows": {"soft": [-100, 200]}}
TABLE: dict[str, Any] = {"layout": "table", "modality": "rgb", "table": "cases.csv", "labels": {1: "a", 2: "b"}}


@pytest.mark.parametrize(
    ("values", "own", "problem"),
    [
        (
            {"spacing": "mean"},
            {},
            "spacing: none, median, or millimetres from 0.01 to 100 as [rows, columns] is expected",
        ),
        ({"spacing": [0, 1]}, {}, "spacing: none, median, or millimetres"),
        ({"tiles": True}, {}, "tiles: Input should be a valid mapping (got True)"),
        ({}, {"normalisation": {"method": "zscore"}}, "own.normalisation.method: 'zscore' is none of 'percentiles', "),
        ({}, {"normalisation": {"T1": {"method": "z"}}}, "own.normalisation.T1.method: 'z' is none of"),
        (
            {},
            {"normalisation": {"method": "z-score", "zeros": 1}},
            "unknown key 'own.normalisation.zeros': did you mean",
        ),
        ({}, {"normalisation": "z-score"}, "own.normalisation: Input should be a valid mapping (got 'z-score')"),
        ({}, {"mask_values": {"any": 1}}, "own.mask_values.any: Input should be a valid integer, "),
        ({}, {"targets": {"each": {"liver": [[1]]}}}, "own.targets.each.liver.0: Input should be a valid integer, or "),
    ],
)
def test_a_value_of_several_forms_has_one_message(values: dict[str, Any], own: dict[str, Any], problem: str) -> None:
    with pytest.raises(ListedError, match=re.escape(f"- {problem}")) as raised:
        parse(Dataset, {"source": "own", "own": NNUNET | own, **values}, where="here")
    assert str(raised.value).count("\n  - ") == 1


@pytest.mark.parametrize("values", [FOLDERS, NNUNET, TABLE], ids=["folders", "nnunet", "table"])
def test_what_is_needed_is_enough_and_survives_its_file(values: dict[str, Any]) -> None:
    settings = parse(Dataset, {"source": "own", "own": values}, where="here")
    written = yaml.safe_load(yaml.safe_dump(settings.model_dump(mode="json")))
    assert parse(Dataset, written, where="there") == settings


WRONG: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    (FOLDERS, {"layuot": "folders"}, "unknown key 'own.layuot': did you mean 'layout'?"),
    (FOLDERS, {"layout": "folder"}, "own.layout: Input should be 'folders', 'nnunet' or 'table' (got 'folder')"),
    (FOLDERS, {"modality": "mri"}, "own.modality: Input should be 'rgb', 'ct', 'mr', 'pet', 'ultrasound' or 'other'"),
    (FOLDERS, {"images": None}, "'layout: folders' needs 'images'"),
    (FOLDERS, {"masks": None}, "'layout: folders' needs 'masks'"),
    (FOLDERS, {"masks": "images"}, "'images' and 'masks' are the same folder"),
    (FOLDERS, {"table": "t.csv"}, "'table' does not belong to 'layout: folders'"),
    (FOLDERS, {"images": "/data/x"}, "'images' must lie below the raw folder, not at '/data/x'"),
    (FOLDERS, {"images": "../x"}, "'images' must lie below the raw folder, not at '../x'"),
    (FOLDERS, {"labels": {}, "mask_values": {}}, "'layout: folders' needs 'labels', for example {1: polyp}"),
    (FOLDERS, {"labels": {0: "background", 1: "polyp"}}, "own.labels"),
    (FOLDERS, {"labels": {1: "polyp", 2: "polyp"}, "mask_values": {}}, "two 'labels' have the same name"),
    (FOLDERS, {"mask_values": {255: 2}}, "'mask_values' lead to [2], which 'labels' do not name"),
    (FOLDERS, {"labels": {1: "a", 2: "b"}}, "no value of 'mask_values' leads to label [2]"),
    (FOLDERS, {"mask_values": {70_000: 1}}, "own.mask_values"),
    (FOLDERS, {"lossy_masks": True, "mask_values": {}}, "'lossy_masks' needs images with 'mask_values' at least 16"),
    (FOLDERS, {"lossy_masks": True, "mask_values": {9: 1}}, "'lossy_masks' needs images with 'mask_values' at least"),
    (FOLDERS, {"windows": {"w": [0, 1]}}, "'windows' are for 'modality: ct'"),
    (FOLDERS, {"image_name": "(.+)"}, "'image_name' needs a group named id"),
    (FOLDERS, {"mask_name": "(?P<id>.+"}, "'mask_name' is no regular expression"),
    (FOLDERS, {"group_pattern": "patient"}, "'group_pattern' needs exactly one group in brackets"),
    (FOLDERS, {"targets": {"all": {"polyp": ["polip"]}}}, "target 'all' names label 'polip', did you mean 'polyp'?"),
    (FOLDERS, {"targets": {"all": {"polyp": [7]}}}, "target 'all' names label '7'"),
    (FOLDERS, {"targets": {"all": {"polyp": []}}}, "structure 'polyp' of target 'all' has no label"),
    (FOLDERS, {"targets": {"all": {}}}, "target 'all' has no structure"),
    (NNUNET, {"labels": {1: "liver"}}, "with 'layout: nnunet' labels are named in dataset.json"),
    (NNUNET, {"mask_values": {1: 1}}, "with 'layout: nnunet' labels are named in dataset.json"),
    (NNUNET, {"images": "imagesTr"}, "'images' does not belong to 'layout: nnunet'"),
    (NNUNET, {"image_name": "(?P<id>.+)"}, "'image_name' does not belong to 'layout: nnunet'"),
    (NNUNET, {"windows": {}}, "'modality: ct' needs 'windows'"),
    (NNUNET, {"windows": {"w": [200, -100]}}, "window 'w' must be two numbers, the lower one first"),
    (TABLE, {"table": None}, "'layout: table' needs 'table'"),
]


@pytest.mark.parametrize(("base", "changes", "message"), WRONG, ids=[f"{list(c)} {m[:30]}" for _, c, m in WRONG])
def test_wrong_values_are_named(base: dict[str, Any], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        parse(Dataset, {"source": "own", "own": {**base, **changes}}, where="my.yaml")


def test_all_contradictions_come_at_once() -> None:
    values = {**FOLDERS, "images": None, "table": "t.csv", "group_pattern": "("}
    with pytest.raises(ListedError, match="needs 'images'") as caught:
        parse(Own, values, where="my.yaml")
    for part in ("needs 'images'", "'table' does not belong", "'group_pattern' is no regular expression"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"source": "own"}, "'source: own' and a section 'own' belong together"),
        ({"source": "kseg", "own": FOLDERS}, "'source: own' and a section 'own' belong together"),
        ({"source": "own", "own": FOLDERS, "origin": "phantom"}, "phantoms stand in for known sources"),
        ({"source": "own", "own": FOLDERS, "split": {}, "split_file": "s.csv"}, "give either 'split_file' or 'split'"),
        ({"source": "own", "own": FOLDERS, "split": {"sede": 1}}, "unknown key 'split.sede': did you mean 'seed'?"),
    ],
)
def test_the_dataset_around_it(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ListedError, match=re.escape(message)):
        parse(Dataset, values, where="my.yaml")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"seed": -1}, "seed: "),
        ({"fractions": [0.8, 0.2, 0.0]}, "fractions.2: Input should be greater than 0"),
        ({"fractions": [0.8, 0.1, 0.2]}, "'fractions' must sum to 1, not 1.1"),
        ({"fractions": [0.9, 0.1]}, "fractions"),
    ],
)
def test_shares_of_a_split(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ListedError, match=re.escape(message)):
        parse(Draw, values, where="my.yaml")
