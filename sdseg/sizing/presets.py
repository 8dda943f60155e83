"""How large and how long a training of one's own is, between the demo's scale and the paper's. Nothing is imported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

__all__ = ["PRESETS", "Preset"]


@dataclass(frozen=True)
class Preset:
    """Networks and budget of the default recipe. The networks halve an image `halvings` times to its coarsest level."""

    about: str
    device: str
    seconds: float  # of the training itself; codec, evaluation and export come on top
    most_steps: int
    size: int  # pixels along each side of the images that are trained on
    codec_channels: tuple[int, ...]
    latent_channels: int
    codec_training: Mapping[str, float | str]
    condition_channels: tuple[int, ...]
    denoiser_channels: tuple[int, ...]
    learning_rate: float
    batch: int
    ema_decay: float
    images: str  # augmentation of images
    volumes: str  # and of volumes, whose patients lie the same way
    layers_per_block: int = 1
    norm_num_groups: int = 8

    @property
    def multiple(self) -> int:
        """What a size must be a multiple of."""
        return 1 << (len(self.codec_channels) + len(self.denoiser_channels) - 2)


SHAPES: dict[str, float | str] = {
    "size": 64,
    "crop": 32,
    "learning_rate": 0.002,
    "kl_weight": 1e-6,
    "precision": "auto",
}
PRESETS = {
    "cpu-10min": Preset(
        about="about ten minutes on a CPU: a first look at whether it can learn the task",
        device="cpu",
        seconds=360,
        most_steps=4000,
        size=64,
        codec_channels=(16, 32, 32),
        latent_channels=4,
        codec_training=SHAPES | {"steps": 1000, "batch": 6, "whole": 0.1},
        condition_channels=(16, 32, 64),
        denoiser_channels=(64, 128, 256),
        learning_rate=0.008,
        batch=16,
        ema_decay=0.99,
        images="dihedral",
        volumes="flips",
    ),
    "cpu-1h": Preset(
        about="about an hour on a CPU: a model to try out",
        device="cpu",
        seconds=2700,
        most_steps=12_000,
        size=96,
        codec_channels=(16, 32, 32),
        latent_channels=4,
        codec_training=SHAPES | {"steps": 1500, "batch": 16},
        condition_channels=(24, 48, 96),
        denoiser_channels=(96, 192, 384),
        learning_rate=0.006,
        batch=16,
        ema_decay=0.995,
        images="affine",
        volumes="affine",
    ),
    "gpu": Preset(
        about="one GPU, an hour or a few: a model to work with",
        device="cuda",
        seconds=7200,
        most_steps=30_000,
        size=256,
        codec_channels=(32, 64, 128, 128),
        latent_channels=4,
        codec_training={"steps": 6000, "batch": 16, "size": 128, "learning_rate": 0.001, "kl_weight": 1e-6},
        condition_channels=(32, 64, 128, 256),
        denoiser_channels=(256, 384, 512, 512),
        learning_rate=0.004,
        batch=16,
        ema_decay=0.999,
        images="affine",
        volumes="affine",
    ),
}
