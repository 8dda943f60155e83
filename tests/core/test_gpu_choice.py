"""One GPU of several: what a process and those it starts see of them."""

from __future__ import annotations

import os

import pytest

from sdseg.cli.commands import HANDLERS
from sdseg.cli.parser import build_parser
from sdseg.core.errors import UserError
from sdseg.core.gpu_choice import choose_gpu

NAMES = ("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "SDSEG_GPU")


@pytest.fixture(autouse=True)
def _no_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


@pytest.mark.parametrize("device", ["cpu", "cuda", "auto", "openvino-bf16", "cuda:", "cuda:x"])
def test_what_names_no_gpu_changes_nothing(device: str) -> None:
    assert choose_gpu(device) == device
    assert not set(NAMES) & set(os.environ)


@pytest.mark.parametrize(
    ("shown", "device", "seen", "order"),
    [(None, "cuda:2", "2", "PCI_BUS_ID"), ("3,5", "cuda:1", "5", None), ("GPU-ab", "cuda:0", "GPU-ab", None)],
)
def test_one_gpu_is_seen(
    monkeypatch: pytest.MonkeyPatch, shown: str | None, device: str, seen: str, order: str | None
) -> None:
    if shown is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    for _ in range(2):  # a job that was started by the run is told the same, and chooses no further
        assert choose_gpu(device) == "cuda"
        assert os.environ["CUDA_VISIBLE_DEVICES"] == seen
        assert os.environ.get("CUDA_DEVICE_ORDER") == order


def test_a_place_that_is_not_shown_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,5")
    with pytest.raises(UserError, match=r"shows 2 GPU\(s\) \(3,5\).*cuda:2 is none of them"):
        choose_gpu("cuda:2")


@pytest.mark.parametrize("shown", ["", " "])
def test_gpus_that_are_hidden_stay_so(monkeypatch: pytest.MonkeyPatch, shown: str) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", shown)
    with pytest.raises(UserError, match="is set and empty, which hides every GPU"):
        choose_gpu("cuda:1")
    assert os.environ["CUDA_VISIBLE_DEVICES"] == shown
    assert choose_gpu("cpu") == "cpu"


def test_every_verb_with_a_device_takes_a_number(capsys: pytest.CaptureFixture[str]) -> None:
    parser = build_parser(HANDLERS)
    (verbs,) = [action.choices for action in parser._actions if action.dest == "verb"]
    assert isinstance(verbs, dict)
    asked = {
        name: action
        for name, verb in verbs.items()
        for action in verb._actions
        if action.dest == "device" and action.type is not None
    }
    assert set(asked) == {"codec", "train", "distill", "evaluate", "predict", "estimate"}
    for action in asked.values():
        assert callable(action.type)
        assert action.type("cuda:3") == "cuda:3"
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["estimate", "c.yaml", "--device", "gpu1"])
    assert "'gpu1' is none of cpu, cuda, cuda:N" in capsys.readouterr().err
