"""How alike pictures of several runs are: PSNR, SSIM, MS-SSIM and LPIPS, as torchmetrics computes them."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torchmetrics.functional.image import (
    multiscale_structural_similarity_index_measure,
    peak_signal_noise_ratio,
    structural_similarity_index_measure,
)

from sdseg.core.errors import UserError

__all__ = ["FETCH", "Lpips", "Similarities", "alexnet_file", "open_lpips"]

Lpips = Callable[[Tensor, Tensor], Tensor]  # pictures [n,3,H,W] in [0,1], twice -> distances [n]
SMALLEST_MS_SSIM = 176  # pixels: five scales, each half the one before, and the last larger than the 11-pixel window
ALEXNET, ALEXNET_SHA256 = "alexnet-owt-7be5be79.pth", "7be5be79"  # PyTorch's names end in the checksum's beginning
FETCH = "fetch"


class Similarities:
    """Sums over images, filled batch by batch. An image's figure is the first run against the other M−1."""

    def __init__(self, lpips: Lpips | None = None, no_lpips: str | None = None) -> None:
        self.images, self.pairs, self.identical_pairs = 0, 0, 0
        self._psnr: list[float] = []  # of images whose runs differ at all
        self._ssim, self._ms_ssim, self._lpips = 0.0, 0.0, 0.0
        self._compare, self._no_lpips, self._side = lpips, no_lpips, 0

    def add(self, runs: Tensor) -> None:
        """Take in pictures of M runs of n images, float32 [M,n,H,W] in [0,1]."""
        others = runs[1:].transpose(0, 1)  # [n,M−1,H,W]
        first = runs[0].unsqueeze(1).expand_as(others)
        self.images += len(others)
        self.pairs += others.shape[0] * others.shape[1]
        differ = (others != first).flatten(2).any(dim=2)  # [n,M−1]
        identical = int((~differ).sum())
        self.identical_pairs += identical
        psnr = peak_signal_noise_ratio(others, first, data_range=1.0, reduction="none", dim=(1, 2, 3))  # [n]
        self._psnr += [float(value) for value in psnr.reshape(-1) if torch.isfinite(value)]
        self._side = min(runs.shape[-2:])
        self._ssim += identical  # 1 by definition, whatever rounding makes of it; and LPIPS 0
        self._ms_ssim += identical
        if not differ.any():
            return
        pairs = (others[differ].unsqueeze(1), first[differ].unsqueeze(1))  # [p,1,H,W] each
        options: dict[str, Any] = {"data_range": 1.0, "reduction": "none"}
        self._ssim += float(torch.as_tensor(structural_similarity_index_measure(*pairs, **options)).sum())
        if self._side >= SMALLEST_MS_SSIM:
            self._ms_ssim += float(multiscale_structural_similarity_index_measure(*pairs, **options).sum())
        if self._compare is not None:
            self._lpips += float(self._compare(*(picture.expand(-1, 3, -1, -1) for picture in pairs)).sum())

    def instance_level(self) -> dict[str, Any]:
        """PSNR (dB), SSIM and MS-SSIM, each a mean over images; PSNR is "inf" where all of them are identical."""
        identical = self.images - len(self._psnr)
        psnr = sum(self._psnr) / len(self._psnr) if self._psnr else "inf"
        small = (
            f"the standard five scales need images of at least {SMALLEST_MS_SSIM} pixels, these have {self._side}"
            if self._side < SMALLEST_MS_SSIM
            else None
        )
        return {
            "psnr": {"value": psnr, "reason": None, "images_identical": identical},
            "ssim": {"value": self._ssim / self.pairs, "reason": None},
            "ms_ssim": {"value": None if small else self._ms_ssim / self.pairs, "reason": small},
        }

    def dataset_level(self) -> dict[str, Any]:
        """LPIPS, the mean over all pairs of all images."""
        missing = self._compare is None
        return {"lpips": {"value": None if missing else self._lpips / self.pairs, "reason": self._no_lpips}}


def open_lpips(weights: str | None, device: str = "cpu") -> tuple[Lpips | None, str | None]:
    """LPIPS on AlexNet, or None and why there is none.

    `weights` is PyTorch's file of AlexNet, or "fetch", which gets it from PyTorch's own site, checked against its
    hash. Raises UserError for a file that is missing or another.
    """
    if weights is None:
        return None, f"no AlexNet weights were named (--lpips FILE, with {ALEXNET}; or --lpips {FETCH})"
    path = None if weights == FETCH else alexnet_file(Path(weights))
    if find_spec("torchvision") is None:
        return None, "torchvision is not installed (pip install 'sdseg[lpips]')"
    from torchmetrics.image.lpip import LearnedPerceptualImagePatchSimilarity

    if path is None:
        metric = _load(LearnedPerceptualImagePatchSimilarity)
    else:
        # torchvision looks for the file in PyTorch's folder of downloads: for a moment that is one with this file.
        hub_folder = torch.hub.get_dir()
        with tempfile.TemporaryDirectory() as folder:
            (Path(folder) / "checkpoints").mkdir()
            (Path(folder) / "checkpoints" / ALEXNET).symlink_to(path.resolve())
            torch.hub.set_dir(folder)
            try:
                metric = _load(LearnedPerceptualImagePatchSimilarity)
            finally:
                torch.hub.set_dir(hub_folder)
    network = metric.net.to(device)

    def compare(one: Tensor, other: Tensor) -> Tensor:
        with torch.no_grad():
            distance: Tensor = network(one.to(device), other.to(device), normalize=True)  # [n,1,1,1]
        return distance.reshape(-1).cpu()

    return compare, None


def alexnet_file(path: Path, checksum: str = ALEXNET_SHA256) -> Path:
    """The same path. Raises UserError unless the file is there and its SHA-256 begins with `checksum`."""
    remedy = f"get https://download.pytorch.org/models/{ALEXNET}, or leave LPIPS out"
    if not path.is_file():
        raise UserError("there is no such file of AlexNet's weights", where=path, remedy=remedy)
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if not digest.startswith(checksum):
        raise UserError(f"these are not AlexNet's weights: the SHA-256 is {digest[:12]}…", where=path, remedy=remedy)
    return path


def _load(kind: Callable[..., Any]) -> Any:
    try:
        return kind(net_type="alex", normalize=True)
    except OSError as error:  # no network, or no room
        raise UserError(
            f"AlexNet's weights cannot be fetched: {error}",
            where="--lpips fetch",
            remedy=f"name a file you fetched yourself: {ALEXNET}",
        ) from None
