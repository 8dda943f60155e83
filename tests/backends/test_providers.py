"""Which provider is which runtime, what it cannot run, and by whose tolerances it is judged."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from sdseg.backends.providers import PROVIDERS, arithmetic_of, backend_name, cannot_run, open_graph
from sdseg.cli.parser import OPENVINO
from sdseg.config.export import Export, Precision, Provider
from sdseg.core.errors import UserError
from tests.helpers.installed import skip_without_openvino


def test_the_configuration_offers_what_there_is() -> None:
    assert get_args(Provider) == tuple(PROVIDERS) == ("cpu", "cuda", *OPENVINO)


def test_a_backend_has_the_name_that_was_told(bright_rgb: Path) -> None:
    assert open_graph(bright_rgb, "cpu").name == backend_name("cpu") == "onnxruntime-cpu"
    assert backend_name("cuda") == "onnxruntime-cuda"
    skip_without_openvino()
    assert open_graph(bright_rgb, "openvino").name == backend_name("openvino") == "openvino"
    assert backend_name("openvino-bf16") == "openvino-bf16"


def test_an_unknown_provider(bright_rgb: Path) -> None:
    with pytest.raises(UserError, match="unknown device 'openvin', did you mean 'openvino'"):
        open_graph(bright_rgb, "openvin")


def test_one_graph_cannot_be_run_by_one_provider() -> None:
    pairs = [(provider, precision) for provider in PROVIDERS for precision in get_args(Precision)]
    assert [pair for pair in pairs if cannot_run(*pair) is not None] == [("cpu", "bf16")]


def test_what_is_computed_in_bfloat16_is_judged_so() -> None:
    judged = {precision: arithmetic_of("openvino-bf16", precision) for precision in get_args(Precision)}
    assert judged == {
        "fp32": "bf16",
        "fp16": "bf16",
        "bf16": "bf16",
        "int8": "int8",
        "int8_mixed": "int8_mixed",
        "int8_weights": "int8_weights",
    }
    assert all(arithmetic_of(name, each) == each for name in ("cpu", "openvino") for each in get_args(Precision))


def test_no_tolerance_admits_everything() -> None:
    """A probability lies between 0 and 1: a difference of 1 is any difference."""
    for precision in get_args(Precision):
        tolerance = Export().tolerance(precision)
        assert tolerance.max_mean_difference <= tolerance.max_abs_difference <= 0.8
        assert tolerance.max_dice_difference <= 0.01
        assert tolerance.min_mask_dice >= 0.98
