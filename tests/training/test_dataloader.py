"""The training data: the latent scale of the first batch."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from sdseg.core.errors import UserError
from sdseg.data.store import SliceStore
from sdseg.models.codec import MaskCodec
from sdseg.models.frozen_codec import open_codec
from sdseg.training.codec import build_codec
from sdseg.training.dataloader import open_training_data
from sdseg.training.latent_cache import cache_latents
from tests.helpers.networks import CODEC, recipe
from tests.helpers.tiny import DISC_CUP, write_store


@pytest.mark.parametrize("sampled", [False, True])
def test_the_scale_of_the_first_batch_gives_its_latents_unit_deviation(tmp_path: Path, sampled: bool) -> None:
    prepared = write_store(tmp_path / "prepared", structures=DISC_CUP, cases={"train": (1,) * 6, "val": (1,)})
    build_codec(settings=CODEC, output=tmp_path / "codec")
    store, device = SliceStore.open(prepared), torch.device("cpu")
    chosen = recipe(
        network={"latent_scale": "first_batch"},
        diffusion={"sample_latents": sampled},
        training={"structures": "present", "augmentation": "dihedral"},
    )
    plain = open_codec(recipe(), tmp_path / "codec", device, store)
    used = open_codec(chosen, tmp_path / "codec", device, store)
    assert plain is not None
    assert used is not None
    assert used.manifest.latent_scale == used.codec.scale != plain.codec.scale
    first = next(iter(open_training_data(store, chosen, used, tmp_path / "latents.npy", device).loader(0)))
    assert float(first["latent"].std()) == pytest.approx(1.0, rel=1e-4)


def test_a_disk_without_room_for_the_latents_is_refused_before_they_are_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sparse file would take them, and the process be killed by SIGBUS where the disk fills up."""

    def full(descriptor: int, offset: int, size: int) -> None:
        assert size == os.fstat(descriptor).st_size - offset >= 4 * 10 * 64 * 64
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    codec = MaskCodec(CODEC, 1.0)
    views = iter([np.zeros((1, 1, 64, 64), dtype=bool)])
    monkeypatch.setattr(os, "posix_fallocate", full, raising=False)
    with pytest.raises(UserError, match=r"(?s)cannot write: No space left on device.*latents\.npy"):
        cache_latents(tmp_path / "latents.npy", codec, views, (10, 1, 1, 1, 1, 64, 64), torch.device("cpu"))
    assert list(views) != []
    assert list(tmp_path.iterdir()) == []
