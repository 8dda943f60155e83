"""Costs: FLOPs against a count by hand, parameters against a sum, latency and memory that were measured."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sdseg.evaluation.studies import efficiency as module
from sdseg.evaluation.studies.efficiency import efficiency, flops_of
from sdseg.models.model_folder import load_model
from sdseg.models.segmenter import Segmenter
from tests.helpers.models import subject_of, write_latent_model
from tests.helpers.tiny import CT, write_graph, write_store


class TwoConvolutions(Segmenter):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 4, 3, padding=1)
        self.second = nn.Conv2d(4, 2, 1, bias=False)

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        found: Tensor = self.second(self.first(image.permute(0, 3, 1, 2)))
        return found


def test_flops_of_convolutions_as_counted_by_hand() -> None:
    total, parts = flops_of(TwoConvolutions(), torch.zeros(1, 8, 6, 1))
    by_hand = {"first": 2 * 8 * 6 * 4 * 1 * 3 * 3, "second": 2 * 8 * 6 * 2 * 4}  # two per product, biases not counted
    assert parts == by_hand
    assert total == sum(by_hand.values())


def test_a_model_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCHES", (1, 3))
    model = write_latent_model(tmp_path / "model", inference={"steps": 2, "flips": "horizontal"})
    found = efficiency(subject_of(tmp_path, model, batch=3)).content()
    segmenter, _ = load_model(model)
    parts = {part["part"]: part for part in found["parts"]}
    assert found["parameters"] == sum(value.numel() for value in segmenter.parameters())
    assert found["parameters"] == sum(part["parameters"] for part in parts.values())
    assert found["flops"] == sum(part["flops"] for part in parts.values())
    assert found["inference"] == {"steps": 2, "samples": 1, "flips": "horizontal", "passes": 2}
    once, _ = load_model(model, {"steps": 1, "flips": "none"})
    assert parts["denoiser"]["flops"] == 4 * flops_of(once, torch.zeros(1, 32, 32, 3, dtype=torch.uint8))[1]["denoiser"]
    assert [each["batch"] for each in found["latency"]] == [1, 3]
    for each in found["latency"]:
        assert each["images_per_second"] == pytest.approx(each["batch"] / each["seconds_median"])
    assert found["memory"]["bytes"] > 10_000_000
    assert found["training"]["seconds"] == 1.5


def test_a_graph_has_latency_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCHES", (1,))
    write_store(tmp_path / "prepared", CT)
    found = efficiency(subject_of(tmp_path, write_graph(tmp_path / "g/model.onnx", CT), batch=1)).content()
    assert found["parts"] is None
    assert "no parts" in found["reason"]
    assert found["latency"][0]["seconds_median"] > 0
