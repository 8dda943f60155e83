"""Training on several annotators: one of those who drew the case at every step, from the sample's own seed."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from sdseg.data.prepare import prepare
from sdseg.data.store import SliceStore
from sdseg.data.training_samples import ORIENTATIONS, build_samples, orient
from sdseg.models.frozen_codec import open_codec
from sdseg.training.codec import build_codec
from sdseg.training.dataloader import open_training_data
from tests.helpers.annotated import READERS, annotated_settings, write_annotated
from tests.helpers.networks import CODEC, direct_recipe, quick_recipe
from tests.helpers.raw_files import SIX, write_split
from tests.helpers.training import events, rewind, run


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A codec, and a store in which ben did not look at the first case."""
    folder = tmp_path_factory.mktemp("readers")
    raw = write_annotated(folder / "raw")
    (raw / "masks" / "ben" / "a.png").unlink()
    split = write_split(folder / "split.csv", SIX)
    settings = annotated_settings(missing_annotators="allow")
    prepare(name="nodules", settings=settings, raw=raw, split=split, output=folder / "prepared")
    build_codec(settings=CODEC, output=folder / "codec")
    return folder


def test_everyone_who_drew_a_case_is_drawn_and_nobody_else(ready: Path) -> None:
    store = SliceStore.open(ready / "prepared")
    samples = build_samples(store, store.rows_of("train"), direct_recipe(), None, None)
    orientations = ORIENTATIONS[direct_recipe().training.augmentation]
    seen: dict[int, Counter[str]] = {row: Counter() for row in range(3)}
    for position in range(120):
        drawn, sample = samples.draw(position), samples[position]
        name = READERS[drawn.annotator]
        seen[drawn.row][name] += 1
        label = orient(store.drawn_by(name, [drawn.row])[0], orientations[drawn.orientation], (0, 1))
        assert np.array_equal(sample["mask"][0].numpy() > 0, label > 0)
    assert set(seen[0]) == {"anna", "cleo"}
    assert set(seen[1]) == set(seen[2]) == set(READERS)
    assert min(seen[1].values()) > 5


def test_the_latent_is_that_of_the_annotator_who_was_drawn(ready: Path, tmp_path: Path) -> None:
    store, device = SliceStore.open(ready / "prepared"), torch.device("cpu")
    codec = open_codec(quick_recipe(), ready / "codec", device, store)
    assert codec is not None
    samples = open_training_data(store, quick_recipe(), codec, tmp_path / "latents.npy", device).samples
    drawn = set()
    for position in range(24):
        sample = samples[position]
        expected, _ = codec.codec.moments(sample["mask"][None])
        torch.testing.assert_close(sample["latent"], expected[0].detach(), rtol=1e-4, atol=1e-5)
        drawn.add(samples.draw(position).annotator)
    assert drawn == {0, 1, 2}


def test_an_interrupted_run_resumes_to_the_very_same_weights(ready: Path, tmp_path: Path) -> None:
    chosen = quick_recipe(training={"steps": 4})
    model = run(ready, tmp_path, chosen)
    whole = (model / "weights.safetensors").read_bytes()
    rewind(tmp_path)
    run(ready, tmp_path, chosen)
    assert [event["step"] for event in events(model, "resumed")] == [2]
    assert (model / "weights.safetensors").read_bytes() == whole
