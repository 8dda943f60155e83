"""Fixtures shared by all tests: folders of real samples and golden values, which may be absent."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from sdseg.core.collector import put_aside
from sdseg.core.loaded_python import forks_loaded_python
from tests.helpers.loaded_python import SHARED, python

# One thread each, set before any is imported: tests run side by side, and libraries that take every core would wait.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # of commands that take two all the same: no waiting at full speed

# What is compiled is kept, whatever the shell says: these tests start this package some two hundred times.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

gc.disable()  # while tests are collected, and libraries loaded

# A busy machine draws slowly; that is no failure of a property. The same examples at every run: what passed once passes
# again. `pytest --hypothesis-profile explore` draws others.
settings.register_profile("explore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("sdseg", settings.get_profile("explore"), derandomize=True)
settings.load_profile("sdseg")

if TYPE_CHECKING:
    import numpy as np

    from sdseg.models.segmenter import Segmenter

# Fixture of a session that takes long -> the group whose tests run on one worker, so that it is made once.
GROUPS = {"stages": "page", "exported": "exported graphs", "graph_of": "exported graphs"}

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure(config: pytest.Config) -> None:
    """Take the loaded Python of the process that started this one, and none that the shell names."""
    os.environ.pop(SHARED, None)
    os.environ.update(getattr(config, "workerinput", {}).get("shared", {}))


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Load the Python of commands beside the workers of pytest-xdist, once for all of them."""
    node.workerinput["shared"] = {SHARED: str(python())} if forks_loaded_python() else {}


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Set the groups, and let them hold: pytest-xdist 3.8 writes `_nodeid`, which pytest 9.2 does not read."""
    for item in items:
        group = _group_of(item)
        if group is not None and item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(group))
    yield
    for item in items:
        grouped = getattr(item, "_nodeid", item.nodeid)
        if grouped != item.nodeid:
            item._id = type(item.id).parse(grouped)


def _group_of(item: pytest.Item) -> str | None:
    """Tests that share a fixture run on one worker: those of a module, and those of a session that take long."""
    names = getattr(item, "fixturenames", ())
    for fixture, group in GROUPS.items():
        if fixture in names:
            return group
    definitions = [found[-1] for name, found in item._fixtureinfo.name2fixturedefs.items() if name in names]
    return item.module.__name__ if any(each.scope == "module" for each in definitions) else None


def pytest_collection_finish() -> None:
    """Let the garbage collector look at what tests make: all that was imported stays, and looking at it takes long.

    Networks are exported in less time from here on.
    """
    put_aside()
    gc.set_threshold(50_000)
    gc.enable()
    if "torch" in sys.modules:
        from tests.helpers.quick_exports import quicken_exports

        quicken_exports()


def _folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable, ROOT.parent / "shared" / name))
    if not folder.is_dir():
        pytest.skip(f"no {name} here: set {variable} to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def root() -> Path:
    """Root of the checkout."""
    return ROOT


@pytest.fixture(scope="session")
def samples() -> Path:
    """Small real images in the datasets' own layouts."""
    return _folder("SDSEG_SAMPLES", "samples")


@pytest.fixture(scope="session")
def golden() -> Path:
    """What the official network computes, to compare with."""
    return _folder("SDSEG_GOLDEN", "golden")


@pytest.fixture(scope="session")
def bright_rgb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX graph for RGB images that finds what is bright."""
    from tests.helpers.tiny import write_graph  # torch takes seconds to load: only where it is needed

    return write_graph(tmp_path_factory.mktemp("graphs é") / "rgb model.onnx")


@pytest.fixture(scope="session")
def bright_ct(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An ONNX graph for CT slices that finds what is dense, and in it what is denser: two structures."""
    from tests.helpers.tiny import CT, DISC_CUP, write_graph

    return write_graph(tmp_path_factory.mktemp("graphs é") / "ct model.onnx", CT, DISC_CUP)


@pytest.fixture(scope="session")
def ct_slices() -> np.ndarray:
    """Four CT slices [4,32,32,1], float32."""
    from tests.helpers.exported_graphs import draw_ct_slices

    return draw_ct_slices()


@pytest.fixture(scope="session")
def latent_segmenter() -> Segmenter:
    """The latent method at its smallest, untrained."""
    from tests.helpers.exported_graphs import untrained_segmenter

    return untrained_segmenter()


@pytest.fixture(scope="session")
def exported(
    latent_segmenter: Segmenter, ct_slices: np.ndarray, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Its graph by precision: fp32, fp16, bf16, int8."""
    from tests.helpers.exported_graphs import export_graphs

    return export_graphs(latent_segmenter, ct_slices, tmp_path_factory.mktemp("exported é"))


@pytest.fixture(scope="session")
def graph_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The exported graph of a network that `tests.helpers.exported_graphs` knows by name."""
    from tests.helpers.exported_graphs import NETWORKS

    folder: Path = tmp_path_factory.mktemp("networks é")
    return cache(lambda name: NETWORKS[name].export(folder / f"{name}.onnx"))
