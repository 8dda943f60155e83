"""Small real things for tests: slice stores, segmenters and model folders that take milliseconds to make."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
from torch import Tensor, nn

from sdseg.artifacts.image_contract import ImageContract, Structure
from sdseg.artifacts.manifests import GraphManifest, ModelManifest, PreparedManifest
from sdseg.config.normalisation import Percentiles
from sdseg.config.recipe import Recipe
from sdseg.core.array_types import AnyArray
from sdseg.core.files import read_json, sha256_file, write_json
from sdseg.data.checksums import ARRAYS, FILES, combined_checksum, fast_checksum
from sdseg.data.packed_masks import pack, write_packed
from sdseg.data.store import Case, write_index
from sdseg.export.tracing import export_graph, graph_inputs, graph_outputs
from sdseg.models.build_segmenter import build_segmenter
from sdseg.models.model_folder import save_model

RGB = ImageContract(modality="rgb", size=32, channels=3, window=(0.0, 255.0))
CT = ImageContract(modality="ct", size=32, channels=1, window=(-175.0, 250.0))
MR = ImageContract(modality="mr", size=32, channels=1, window=(0.0, 1.0), normalisation=Percentiles(), dtype="float16")
POLYP = (Structure(name="polyp", values=(1,)),)
DISC_CUP = (Structure(name="disc", values=(1, 2)), Structure(name="cup", values=(2,)))


class Brightness(nn.Module):
    """Finds what is bright: a segmenter without weights worth learning, whose masks are known beforehand.

    The first channel (or HU) above `centre` is inside; structure k needs k steps more.
    """

    def __init__(
        self, image: ImageContract, structures: int = 1, noise_shape: tuple[int, int, int] | None = None
    ) -> None:
        super().__init__()
        low, high = image.window
        self.noise_shape = noise_shape
        self.scale = 8.0 / (high - low)
        self.centres = nn.Parameter(torch.tensor([low + (high - low) * (0.48 + 0.3 * k) for k in range(structures)]))
        self.smooth = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.smooth.weight, 1.0 / 9.0)
        self.eval()

    def forward(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        raw = self.smooth(image[..., 0].float().unsqueeze(1))  # [N,1,H,W]
        found = torch.sigmoid((raw - self.centres.view(1, -1, 1, 1)) * self.scale)  # [N,K,H,W]
        return found if noise is None else (found + 0.01 * noise.mean(dim=(1, 2, 3), keepdim=True)).clamp(0, 1)


class Bands(nn.Module):
    """Finds values about some centres, widely enough for neighbouring structures to claim the same pixels."""

    noise_shape = None

    def __init__(self, centres: tuple[float, ...], width: float) -> None:
        super().__init__()
        self.centres, self.width = nn.Parameter(torch.tensor(centres)), width
        self.smooth = nn.Conv2d(1, 1, 3, padding=1, bias=False)
        nn.init.constant_(self.smooth.weight, 1.0 / 9.0)
        self.eval()

    def forward(self, image: Tensor) -> Tensor:
        raw = self.smooth(image[..., 0].float().unsqueeze(1))  # [N,1,H,W]
        return torch.exp(-(((raw - self.centres.view(1, -1, 1, 1)) / self.width) ** 2))  # [N,K,H,W]


def picture(image: ImageContract, seed: int, labels: int = 1, size: int | None = None) -> tuple[AnyArray, AnyArray]:
    """A noisy image [H,W,C] with a bright disc (and a brighter one inside, for two labels), and its labels [H,W]."""
    generator = np.random.default_rng(seed)
    sides = (size, size) if size else image.sides
    y, x = np.mgrid[: sides[0], : sides[1]]
    centre, radius = generator.uniform(0.35, 0.65, 2) * sides, generator.uniform(0.18, 0.28) * min(sides)
    distance = np.hypot(y - centre[0], x - centre[1])
    label = (distance < radius).astype(np.uint8)
    if labels > 1:
        label[distance < 0.5 * radius] = 2
    low, high = image.window
    level = np.array([0.25, 0.62, 0.95])[label] if labels > 1 else np.where(label, 0.8, 0.25)
    values = low + (high - low) * (level[..., None] + generator.normal(0, 0.03, (*sides, image.channels)))
    limits = (0, 255) if image.modality == "rgb" else (-1024, 3071)
    return np.clip(values, *limits).astype(image.dtype), label


def write_store(
    folder: Path,
    image: ImageContract = RGB,
    structures: tuple[Structure, ...] = POLYP,
    cases: dict[str, tuple[int, ...]] | None = None,
    empty: tuple[int, ...] = (),
    called: str = "{split}/{number} é",
) -> Path:
    """A slice store. `cases` gives the slices of each case per split; rows in `empty` have no label and no disc."""
    cases = cases or {"train": (1, 1), "val": (1,), "test": (1, 1, 1)}
    folder.mkdir(parents=True)
    index: list[Case] = []
    images: list[AnyArray] = []
    masks: list[AnyArray] = []
    for split, counts in cases.items():
        for number, slices in enumerate(counts):
            name = called.format(split=split, number=number)
            index.append(
                Case(
                    name,
                    name,
                    split,
                    len(images),
                    slices,
                    f"{name}.png",
                    f"{name}.png",
                    48,
                    40,
                    slices,
                    (),
                    "",
                    (),
                    "0",
                )
            )
            for _ in range(slices):
                pixels, label = picture(image, len(images), labels=len(structures))
                if len(images) in empty:
                    pixels, label = np.full_like(pixels, image.window[0]), np.zeros_like(label)
                images.append(pixels)
                masks.append(label)
    np.save(folder / "images.npy", np.stack(images))
    write_packed(folder, pack(np.stack(masks)))
    write_index(folder, index)
    manifest = PreparedManifest(
        dataset="tiny",
        source="cvc" if image.modality == "rgb" else "btcv",
        origin="phantom",
        protocol="clean",
        target=structures[0].name,
        image=image,
        structures=structures,
        labels={1: "one", 2: "two"},
        n_cases={split: len(counts) for split, counts in cases.items()},
        n_slices={split: sum(counts) for split, counts in cases.items()},
        checksums={},
        data_checksum="",
        provenance={},
    )
    write_json(folder / "manifest.json", manifest)
    return seal(folder)


def seal(folder: Path) -> Path:
    """Let the manifest of a store say that its files are as they should be."""
    checksums = {name: sha256_file(folder / name) for name in FILES}
    updated = {
        "checksums": checksums,
        "data_checksum": combined_checksum(checksums),
        "fast_checksums": {name: fast_checksum(folder / name) for name in ARRAYS},
    }
    manifest = read_json(folder / "manifest.json", PreparedManifest)
    write_json(folder / "manifest.json", manifest.model_copy(update=updated))
    return folder


def describe(
    image: ImageContract = RGB,
    structures: tuple[Structure, ...] = POLYP,
    noise_shape: tuple[int, int, int] | None = None,
    opset: int = 21,
    exclusive: bool = False,
) -> GraphManifest:
    """What a graph made from `Brightness` says about itself."""
    return GraphManifest(
        dataset="tiny",
        origin="phantom",
        recipe="bright",
        inputs=graph_inputs(image, noise_shape),
        outputs=graph_outputs(image, len(structures)),
        image=image,
        structures=structures,
        threshold=0.5,
        exclusive=exclusive,
        opset=opset,
        provenance={},
    )


def write_graph(
    path: Path,
    image: ImageContract = RGB,
    structures: tuple[Structure, ...] = POLYP,
    noise_shape: tuple[int, int, int] | None = None,
) -> Path:
    """`Brightness` as an ONNX graph."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(_graph(Brightness, image, structures, noise_shape))  # a test may put another in its place
    return path


@cache
def _graph(
    network: type[Brightness],
    image: ImageContract,
    structures: tuple[Structure, ...],
    noise_shape: tuple[int, int, int] | None,
) -> bytes:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        export_graph(network(image, len(structures), noise_shape), describe(image, structures, noise_shape), path)
        return path.read_bytes()


def write_model(
    folder: Path, image: ImageContract = RGB, structures: tuple[Structure, ...] = POLYP, seed: int = 0
) -> Path:
    """A model folder with an untrained plain U-Net."""
    recipe = Recipe.model_validate(
        {"description": "tiny", "network": {"kind": "direct", "channels": [4, 8], "residual_units": 0}}
    )
    torch.manual_seed(seed)
    segmenter = build_segmenter(recipe, image, len(structures))
    manifest = ModelManifest(
        dataset="tiny",
        origin="phantom",
        protocol="clean",
        recipe_name="unet",
        recipe=recipe.model_dump(mode="json"),
        codec=None,
        latent_scale=None,
        image=image,
        structures=structures,
        training={"steps": 1, "codec_ceiling": None, "data_checksum": "0"},
        files={},
        provenance={},
    )
    folder.mkdir(parents=True)
    save_model(folder, segmenter, manifest)
    return folder
