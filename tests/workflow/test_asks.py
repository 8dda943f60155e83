"""What each rule asks of a cluster: enough for what was measured, and not a tenfold."""

from __future__ import annotations

import copy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdseg.core.settings import read_yaml
from workflow.asks import Asks
from workflow.plan import Plan

ROOT = Path(__file__).resolve().parents[2]
STAGES = ("prepare", "train", "scores", "studies", "graph", "engine")
PUBLISHED = {"sdseg-onestep": {"file": "config/recipes/sdseg-onestep.yaml"}}  # LDM's UNet: what was measured
CHOSEN = SimpleNamespace(dataset="cvc", recipe="sdseg-onestep", codec="kl-f8")


@pytest.fixture(autouse=True)
def _in_the_checkout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)  # recipes are named from there


def asks_of(name: str, **changes: Any) -> Asks:
    return Asks(Plan({**read_yaml(ROOT / "config" / name), **changes}, where=name))


def published(**changes: Any) -> Asks:
    """What config/config.yaml asks for with the published networks."""
    return asks_of("config.yaml", **{"recipes": PUBLISHED, **changes})


def test_the_demo_asks_for_little() -> None:
    """Its largest job is the training, measured at 0.75 GB; the others of a small model take 0.6 each."""
    asks = asks_of("demo.yaml")
    for dataset, recipe in asks.plan.pairs:
        for stage in STAGES:
            asked = asks.ask(stage, SimpleNamespace(dataset=dataset, recipe=recipe))
            assert asked.memory == 2, (dataset, stage)
            assert 60 <= asked.minutes <= 300, (dataset, stage)


def test_full_scale_asks_for_what_was_measured() -> None:
    """GB, docs/benchmarks.md: training at batch 1 on a CPU 9.3 to 10; fp32 export 6.4, int8 8.9; inference 3.5."""
    on_cpu = published(device="cpu")
    assert 10 < on_cpu.ask("train", CHOSEN).memory < 20
    assert 9 < on_cpu.ask("graph", CHOSEN).memory < 20
    assert 4 < on_cpu.ask("scores", CHOSEN).memory < 20
    on_gpu = published()
    assert 8 < on_gpu.ask("train", CHOSEN).memory < 20
    assert on_gpu.ask("codec", CHOSEN).memory < 20


def test_time_follows_the_steps_and_the_device() -> None:
    shorter: dict[str, Any] = copy.deepcopy(PUBLISHED)
    shorter["sdseg-onestep"]["overrides"] = {"training": {"steps": 10_000}}
    hours = published().ask("train", CHOSEN).minutes / 60
    assert 10 <= hours <= 24  # 100,000 steps on the slowest GPU that is thought of
    assert published(recipes=shorter).ask("train", CHOSEN).minutes <= 180
    assert published(device="cpu").ask("train", CHOSEN).minutes == 3 * 24 * 60  # no queue allows more


def test_volumes_need_more_than_images() -> None:
    asks = published()
    for stage in ("prepare", "scores"):
        images, volumes = (
            asks.ask(stage, SimpleNamespace(dataset=name, recipe="sdseg-onestep")) for name in ("kseg", "btcv")
        )
        assert volumes.memory > images.memory, stage


def test_a_second_try_gets_twice_as_much() -> None:
    asks = asks_of("demo.yaml")
    chosen = SimpleNamespace(dataset="cvc", recipe="sdseg")
    memory, runtime = asks.memory("train"), asks.runtime("train")
    assert [memory(chosen, attempt=number) for number in (1, 2)] == ["2GB", "4GB"]
    assert [runtime(chosen, attempt=number) for number in (1, 2)] == [60, 120]
    longest = published(device="cpu").runtime("train")
    assert longest(CHOSEN, attempt=2) == 3 * 24 * 60


def test_several_processes_each_need_their_memory() -> None:
    chosen = published(processes=4)
    assert chosen.ask("train", CHOSEN).memory > 3 * published().ask("train", CHOSEN).memory
    assert chosen.ask("train", CHOSEN).minutes < published().ask("train", CHOSEN).minutes
