"""Alignment with a vision encoder: it is learnt, it leaves no trace in the model, and only a sound program is taken."""

from __future__ import annotations

import hashlib
import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sdseg.config.network import Alignment
from sdseg.core.errors import UserError
from sdseg.models.alignment import FeatureAlignment, VisionEncoder, features_of
from sdseg.models.build_segmenter import attach_training_parts, build_segmenter
from sdseg.models.latent_segmenter import LatentSegmenter
from tests.helpers.networks import CODEC, recipe
from tests.helpers.tiny import RGB
from tests.models.test_segmenter import batch, images


class Tokens(nn.Module):
    """Patches as tokens [N,17,6], the first of them no patch."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 6, 4, stride=4)

    def forward(self, image: Tensor) -> Tensor:
        tokens = self.patches(image).flatten(2).transpose(1, 2)  # [N,16,6]
        return torch.cat([tokens.mean(dim=1, keepdim=True), tokens], dim=1)


class Pair(Tokens):
    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[override]
        return self.patches(image), image


def write(path: Path, module: nn.Module, dynamic: bool = True) -> Path:
    torch.manual_seed(0)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    program = torch.export.export(module.eval(), (torch.zeros(2, 3, 16, 16),), dynamic_shapes=shapes)
    torch.export.save(program, path)
    return path


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("poids") / "encoder é.pt2", Tokens())


def settings(path: Path, **more: object) -> Alignment:
    return Alignment.model_validate({"encoder": str(path), "size": 16, "skip_tokens": 1, "weight": 0.5, **more})


def test_tokens_become_a_map_of_the_normalised_image(encoder: Path) -> None:
    found = VisionEncoder(settings(encoder))
    image = torch.rand(2, 3, 16, 16) * 2 - 1
    mean, deviation = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    fed = ((image + 1) / 2 - mean.view(3, 1, 1)) / deviation.view(3, 1, 1)
    tokens = torch.export.load(encoder).module()(fed)
    torch.testing.assert_close(found(image)[:, :, 1, 2], tokens[:, 1 + 1 * 4 + 2], rtol=1e-4, atol=1e-5)
    assert found.channels == 6


def test_the_loss_is_one_minus_cosine_and_falls(encoder: Path) -> None:
    aligned = FeatureAlignment(VisionEncoder(settings(encoder)), channels=5)
    features, image = torch.randn(2, 5, 4, 4), torch.rand(2, 3, 32, 32) * 2 - 1
    wanted = aligned.encoder(image)
    cosine = nn.functional.cosine_similarity(aligned.projection(features), wanted, dim=1)
    torch.testing.assert_close(aligned(features, image), 0.5 * (1 - cosine).mean())
    before = float(aligned(features, image).detach())
    optimiser = torch.optim.Adam(aligned.parameters(), lr=0.05)
    for _ in range(30):
        optimiser.zero_grad()
        aligned(features, image).backward()
        optimiser.step()
    assert float(aligned(features, image).detach()) < 0.7 * before


def test_a_segmenter_is_aligned_in_training_and_the_same_without_it(encoder: Path) -> None:
    chosen = recipe(network={"alignment": settings(encoder).model_dump(mode="json")})
    torch.manual_seed(0)
    segmenter = build_segmenter(chosen, RGB, 1, CODEC, 0.7)
    assert isinstance(segmenter, LatentSegmenter)
    keys, parts = set(segmenter.state_dict()), set(segmenter.parts())
    with torch.inference_mode():
        before = segmenter.eval()(images())
    attach_training_parts(segmenter, chosen.network, 1)
    assert set(segmenter.state_dict()) - keys == {"alignment.projection.weight", "alignment.projection.bias"}
    assert set(segmenter.weights()) == keys
    assert set(segmenter.parts()) == parts
    with torch.inference_mode():
        assert torch.equal(segmenter(images()), before)

    terms = segmenter.losses(batch(segmenter))
    assert set(terms) == {"latent", "alignment"}
    terms["alignment"].backward()
    reached = {name.split(".")[0] for name, parameter in segmenter.named_parameters() if parameter.grad is not None}
    assert reached == {"condition_encoder", "denoiser", "alignment"}


def test_features_are_collected_only_within_the_block() -> None:
    layer = nn.Linear(2, 2)
    with features_of(layer) as found:
        layer(torch.zeros(1, 2))
    layer(torch.zeros(1, 2))
    assert len(found) == 1


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)file is missing.*torch\.export\.save"):
        VisionEncoder(settings(tmp_path / "none.pt2"))


def test_another_hash(encoder: Path) -> None:
    VisionEncoder(settings(encoder, sha256=hashlib.sha256(encoder.read_bytes()).hexdigest()))
    with pytest.raises(UserError, match="does not have the SHA-256"):
        VisionEncoder(settings(encoder, sha256="0" * 64))


@pytest.mark.parametrize("content", [b"", b"no archive", None], ids=["empty", "foreign", "half"])
def test_a_damaged_file(encoder: Path, tmp_path: Path, content: bytes | None) -> None:
    whole = encoder.read_bytes()
    (tmp_path / "bad.pt2").write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(UserError, match="not a whole program"):
        VisionEncoder(settings(tmp_path / "bad.pt2"))


def test_another_archive(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(1)}, tmp_path / "weights.pt2")
    with pytest.raises(UserError, match="not a program of"):
        VisionEncoder(settings(tmp_path / "weights.pt2"))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("run",)


def test_a_pickle_with_code_is_not_run(encoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with zipfile.ZipFile(encoder) as source, zipfile.ZipFile("bomb.pt2", "w") as target:
        for name in source.namelist():
            code = "/sample_inputs/" in name
            target.writestr(name, pickle.dumps(Bomb(), protocol=2) if code else source.read(name))
    with pytest.raises(UserError, match="asks for code to be run"):
        VisionEncoder(settings(Path("bomb.pt2")))
    assert not Path("run").exists()


def test_another_output(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="the encoder gives tuple, not tokens"):
        VisionEncoder(settings(write(tmp_path / "pair.pt2", Pair())))


def test_tokens_that_make_no_square(encoder: Path) -> None:
    with pytest.raises(UserError, match="17 tokens make no square map; set 'skip_tokens'"):
        VisionEncoder(settings(encoder, skip_tokens=0))


def test_another_size_of_image(encoder: Path) -> None:
    with pytest.raises(UserError, match=r"refuses images \[2, 3, 20, 20\]"):
        VisionEncoder(settings(encoder, size=20))


def test_a_program_for_one_size_of_batch(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)refuses images \[3, 3, 16, 16\].*dynamic_shapes"):
        VisionEncoder(settings(write(tmp_path / "fixed.pt2", Tokens(), dynamic=False)))
