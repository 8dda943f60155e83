"""PyTorch as a backend: a segmenter on a device."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from sdseg.artifacts.image_contract import ImageContract
from sdseg.backends.base import Seeded
from sdseg.backends.inputs import NoiseShape, as_input, draw_noise
from sdseg.backends.sliding_window import over_patches
from sdseg.config.patches import SlidingWindow
from sdseg.core.array_types import AnyArray, FloatArray, RawImages
from sdseg.models.equal_shares import UNEQUAL

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["TorchBackend"]


class TorchBackend(Seeded):
    """A segmenter's forward: raw images [N,H,W,C] and noise [N,c,h,w] or None -> probability [N,K,H,W].

    With a `window` the forward takes patches, [N,D,H,W,C] and [N,c,d,h,w] -> [N,K,D,H,W], and `images` are a volume.
    """

    mean_alone = UNEQUAL  # whatever else has one hypothesis or more

    def __init__(
        self,
        forward: Callable[[Tensor, Tensor | None], Tensor],
        image: ImageContract,
        device: str = "cpu",
        noise_shape: NoiseShape | None = None,
        seed: int = 0,
        window: SlidingWindow | None = None,
    ) -> None:
        import torch

        from sdseg.backends.device import torch_device

        target = torch_device(device)
        self.name = f"torch-{device}"
        self._forward = forward.to(target) if isinstance(forward, torch.nn.Module) else forward
        self._image, self._device, self._noise_shape, self._seed = image, target, noise_shape, seed
        self.sliding_window = window

    @property
    def samples(self) -> int:
        """How many hypotheses the network draws; 1 where it draws none."""
        return int(getattr(self._forward, "samples", 1))

    def probability(self, images: RawImages) -> FloatArray:
        return self._run(lambda fed: self._computed(self._forward, fed), images)  # [N,K,H,W]

    def hypotheses(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> every hypothesis [N,S,K,H,W]; S = 1 for a network that draws none."""
        return self.of_hypotheses(lambda hypotheses: hypotheses, images)

    def of_hypotheses(self, measure: Callable[[FloatArray], FloatArray], images: RawImages) -> FloatArray:
        """What `measure` makes of the hypotheses of images, [N,S,K,H,W] -> [N,…,H,W].

        Of a volume it is given those of a patch, [1,S,K,D,H,W], and what it makes of each is blended.
        """
        own = getattr(self._forward, "hypotheses", None)

        def measured(fed: AnyArray) -> FloatArray:
            return measure(self._computed(self._forward, fed)[:, None] if own is None else self._computed(own, fed))

        return self._run(measured, images)

    def _run(self, compute: Callable[[AnyArray], FloatArray], images: RawImages) -> FloatArray:
        fed, window = as_input(images, self._image), self.sliding_window  # [N,H,W,C]
        return compute(fed) if window is None else over_patches(compute, fed, window, self._image.window[0])

    def _computed(self, forward: Callable[[Tensor, Tensor | None], Tensor], fed: AnyArray) -> FloatArray:
        import torch

        noise = None
        if self._noise_shape is not None:
            noise = torch.from_numpy(draw_noise(len(fed), self._noise_shape, self._seed)).to(self._device)
        with torch.inference_mode():
            answer: FloatArray = forward(torch.from_numpy(fed).to(self._device), noise).float().cpu().numpy()
        return answer
