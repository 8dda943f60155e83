"""What `precision: auto` becomes, that a run keeps it, and that a slow format is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdseg.core.files import write_text
from sdseg.sizing.gpus import GPUS
from sdseg.training import number_format
from sdseg.training.number_format import with_precision
from sdseg.training.resume import describe_run, settle
from tests.helpers.networks import recipe

AUTO = recipe(training={"precision": "auto"})


@pytest.mark.parametrize(("fast", "expected"), [(True, "bf16"), (False, "no")])
def test_auto_is_what_the_processor_is_fast_in(
    fast: bool, expected: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: fast)
    with caplog.at_level("INFO", "sdseg.training.train"):
        settled = with_precision(AUTO, "cpu")
    assert settled == recipe(training={"precision": expected})
    assert f"'precision: auto' is '{expected}'" in caplog.text


def test_a_format_that_is_named_is_left_alone() -> None:
    for name in ("no", "bf16", "fp16"):
        named = recipe(training={"precision": name})
        assert with_precision(named, "cpu") is named


@pytest.mark.parametrize(("fast", "told"), [(True, False), (False, True)])
def test_bf16_that_is_slow_is_said(
    fast: bool, told: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: fast)
    for name in ("no", "bf16", "auto"):
        with_precision(recipe(training={"precision": name}), "cpu")
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.split(":")[0] for line in warned] == [
        "this processor is not known to compute in bf16 by itself"
    ] * told


def test_a_run_goes_on_in_the_format_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: True)
    begun = with_precision(AUTO, "cpu", tmp_path)
    settle(tmp_path, describe_run(begun, "data", None, None), "refuse")
    monkeypatch.setattr(number_format, "computes_in_bf16", lambda: False)
    assert with_precision(AUTO, "cpu", tmp_path).training.precision == "no"  # nothing is kept yet
    (tmp_path / "step-00000002").mkdir()
    again = with_precision(AUTO, "cpu", tmp_path)
    assert again == begun
    assert settle(tmp_path, describe_run(again, "data", None, None), "refuse") == ()
    write_text(tmp_path / "settings.json", '{"settings": null}')
    assert with_precision(AUTO, "cpu", tmp_path).training.precision == "no"


def test_an_estimate_takes_auto_for_bf16_where_the_gpu_has_it() -> None:
    for gpu in GPUS:
        assert gpu.rate("auto") == gpu.rate("bf16" if gpu.bf16 else "no")
