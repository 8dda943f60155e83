"""The frozen codec is run once, not at every step: the latents of every mask in every orientation, in one file."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch

from sdseg.core.array_types import FloatArray, MaskArray
from sdseg.core.files import atomic_file
from sdseg.core.reserved_arrays import reserve_array
from sdseg.models.codec import MaskCodec

__all__ = ["cache_latents", "reconstruct"]


@torch.inference_mode()
def cache_latents(
    path: Path, codec: MaskCodec, views: Iterable[MaskArray], shape: tuple[int, ...], device: torch.device
) -> None:
    """Write scaled latents [n,T,V,M,c,h,w] float32 of n label maps in V orientations; M = 2 adds the deviation.

    T is the number of structures, or 1 where the codec encodes them all at once. `views` yields for each label map in
    turn all its structures in all orientations: bool [K,V,H,W]. Raises UserError, before it yields the first, where the
    disk has no room for all.
    """
    with atomic_file(path) as temporary:
        offset = reserve_array(temporary, np.float32, shape)
        with temporary.open("r+b") as stream:  # not through a memory map, in which a full disk is no error but SIGBUS
            stream.seek(offset)
            for masks in views:
                together = masks.swapaxes(0, 1) if codec.at_once > 1 else masks  # [V,K,H,W]
                flat = torch.from_numpy(together.reshape(-1, codec.at_once, *masks.shape[-2:])).to(device)
                mean, deviation = codec.moments(flat)
                moments = torch.stack([mean, deviation][: shape[3]], dim=1)  # [T·V,M,c,h,w]
                stream.write(np.ascontiguousarray(moments.reshape(shape[1:]).float().cpu().numpy()).data)


@torch.inference_mode()
def reconstruct(codec: MaskCodec, masks: MaskArray, device: torch.device) -> FloatArray:
    """decode(encode(mask)), probabilities of masks [N,K,H,W]: what the codec lets through at best."""
    flat = torch.from_numpy(masks.reshape(-1, codec.at_once, *masks.shape[-2:])).to(device)
    mean, _ = codec.moments(flat)
    probability: FloatArray = codec.decode(mean).float().cpu().numpy()
    return probability.reshape(masks.shape)
