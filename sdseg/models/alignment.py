"""Training aid: inner UNet features drawn towards those of a frozen vision encoder (LEAF, arXiv 2507.18214)."""

from __future__ import annotations

import io
import json
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from sdseg.config.network import Alignment
from sdseg.core.errors import UserError, first_line
from sdseg.core.files import sha256_file

__all__ = ["FeatureAlignment", "VisionEncoder", "features_of"]

EXPORT = (
    "write it with torch.export.save(torch.export.export(encoder.eval(), (torch.zeros(2, 3, S, S),), "
    "dynamic_shapes=({0: torch.export.Dim('batch')},)), path)"
)


class VisionEncoder:
    """A program of `torch.export`, frozen: images [N,3,H,W] in [-1,1] -> feature map [N,C,h,w].

    No `nn.Module`, so that its weights are neither trained, averaged, saved nor copied. Raises UserError for a missing,
    damaged, foreign or unsafe file, and for a program with another input or output.
    """

    def __init__(self, settings: Alignment) -> None:
        self.settings, self.path = settings, Path(settings.encoder)
        self._program = _load(self.path, settings.sha256)
        self._device = torch.device("cpu")
        self._module = self._program.module()
        self.channels = self._probe()

    def __deepcopy__(self, memo: dict[int, object]) -> VisionEncoder:
        return self

    @torch.no_grad()
    def __call__(self, image: Tensor) -> Tensor:
        settings = self.settings
        if image.device != self._device:
            from torch.export.passes import move_to_device_pass

            self._module = move_to_device_pass(self._program, str(image.device)).module()
            self._device = image.device
        mean, deviation = (image.new_tensor(values).view(1, 3, 1, 1) for values in (settings.mean, settings.deviation))
        size = (settings.size, settings.size)
        resized = functional.interpolate(image, size, mode="bilinear", antialias=True, align_corners=False)
        return self._map(self._module(((resized + 1.0) / 2.0 - mean) / deviation))

    def _map(self, features: Tensor) -> Tensor:
        """Tokens [N,L,C] as a map [N,C,√L,√L]; a map stays one."""
        if not isinstance(features, Tensor) or features.ndim not in (3, 4):
            what = (
                f"a tensor of shape {tuple(features.shape)}"
                if isinstance(features, Tensor)
                else type(features).__name__
            )
            raise self._wrong(f"the encoder gives {what}, not tokens [N,L,C] or a map [N,C,h,w]")
        if features.ndim == 4:
            return features
        tokens = features[:, self.settings.skip_tokens :].transpose(1, 2)  # [N,C,L]
        side = int(tokens.shape[2] ** 0.5)
        if not side or side * side != tokens.shape[2]:
            raise self._wrong(
                f"{tokens.shape[2]} tokens make no square map; set 'skip_tokens' to the number of leading ones "
                "that are no patch"
            )
        return tokens.reshape(*tokens.shape[:2], side, side)

    def _probe(self) -> int:
        """Its number of channels, found by running it on two batches of different size."""
        size = self.settings.size
        for count in (2, 3):
            try:
                with torch.no_grad():
                    features = self._module(torch.zeros(count, 3, size, size))
            except (RuntimeError, AssertionError, TypeError, ValueError) as error:
                what = f"the encoder refuses images [{count}, 3, {size}, {size}]: {first_line(error)}"
                raise self._wrong(what) from None
            channels = self._map(features).shape[1]
        return channels

    def _wrong(self, what: str) -> UserError:
        return UserError(what, where=f"network.alignment.encoder {self.path}", remedy=EXPORT)


class FeatureAlignment(nn.Module):
    """1 − cosine between projected UNet features and the encoder's, weighted; only the projection is trained."""

    def __init__(self, encoder: VisionEncoder, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.projection = nn.Conv2d(channels, encoder.channels, 1)

    def forward(self, features: Tensor, image: Tensor) -> Tensor:
        """Loss, a scalar, of inner features [N,M,h,w] and the images [N,3,H,W] in [-1,1] they belong to."""
        target = self.encoder(image).float()  # [N,C,h',w']
        # The encoder's map comes to the UNet's grid, the coarser one as a rule: nothing is asked that it cannot hold.
        grid = features.shape[-2:]
        target = functional.interpolate(target, grid, mode="bilinear", antialias=True, align_corners=False)
        projected = self.projection(features).float()  # [N,C,h,w]
        loss: Tensor = (1.0 - functional.cosine_similarity(projected, target, dim=1)).mean()
        return self.encoder.settings.weight * loss


@contextmanager
def features_of(*modules: nn.Module) -> Iterator[list[Tensor]]:
    """Collect what each of `modules` gives while the block runs, in the order of the calls."""
    outputs: list[Tensor] = []
    hooks = [
        module.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)) for module in modules
    ]
    try:
        yield outputs
    finally:
        for hook in hooks:
            hook.remove()


def _load(path: Path, sha256: str | None) -> torch.export.ExportedProgram:
    where = f"network.alignment.encoder {path}"
    if not path.is_file():
        raise UserError("the vision encoder's file is missing", where=where, remedy=EXPORT)
    if sha256 is not None and sha256_file(path) != sha256.lower():
        raise UserError(
            "the vision encoder's file does not have the SHA-256 that the recipe names",
            where=where,
            remedy="get the file again, or correct network.alignment.sha256",
        )
    unsafe = _code_in(path, where)
    if unsafe is not None:
        raise UserError(
            f"refused: '{unsafe}' in the file is a pickle that asks for code to be run", where=where, remedy=EXPORT
        )
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # torch's own use of its older names
            return torch.export.load(path)
    except Exception as error:  # whatever a foreign program makes the loader stumble over
        what = f"the vision encoder cannot be loaded: {first_line(error)}"
        raise UserError(what, where=where, remedy=EXPORT) from None


def _code_in(path: Path, where: str) -> str | None:
    """The first member that `torch.export.load` would unpickle without restraint; None for a file of tensors alone."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            if not any(name.endswith("/archive_format") for name in names):
                raise UserError("not a program of torch.export", where=where, remedy=EXPORT)
            for name in names:
                folder, _, file = name.partition("/data/")[2].partition("/")
                if folder == "sample_inputs" and not _plain(archive.read(name)):
                    return name
                if folder in ("weights", "constants"):
                    if not file.startswith(("weight_", "tensor_", "model_")) or file.endswith(".pt"):
                        return name
                    if file.endswith(".json"):
                        entries = json.loads(archive.read(name))["config"].values()
                        if any(entry["use_pickle"] for entry in entries):
                            return name
    except (zipfile.BadZipFile, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"not a whole program of torch.export: {error}", where=where, remedy=EXPORT) from None
    return None


def _plain(pickled: bytes) -> bool:
    try:
        torch.load(io.BytesIO(pickled), weights_only=True)
    except Exception:  # refused, or damaged: PyTorch has no common class for what it stumbles over
        return False
    return True
