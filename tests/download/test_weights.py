"""Weights by name: found, or fetched from a server on this machine; what is not the file expected is refused."""

from __future__ import annotations

import hashlib
import io
import logging
import zipfile
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdseg.cli.commands import main
from sdseg.core.errors import UserError
from sdseg.datasets.registry import read_registry
from sdseg.download.download import DownloadOptions, download_weights
from tests.helpers.download_site import Site, serve

UNET, CONFIG = b"\x00\x01" * 500, b'{"_class_name": "UNet2DConditionModel"}'


def zipped(name: str, data: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(name, data)
    return buffer.getvalue()


def sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Shelf:
    """A registry of an archive and a folder of plain files, both served here."""

    def __init__(self, root: Path, site: Site, **changes: Any) -> None:
        self.root, self.site = root, site
        site.answers["/kl.zip"] = [serve(zipped("model.ckpt", b"weights"))]
        site.answers["/unet"] = [serve(UNET)]
        site.answers["/config"] = [serve(CONFIG)]
        common = dict.fromkeys(("title", "version", "page", "terms", "licence", "citation", "purpose"), "x")
        unet = {"name": "unet.bin", "url": f"{site.url}/unet", "to": "unet/weights.bin"}
        unet |= {"size": len(UNET), "checksum": sha256(UNET), "checksum_from": "third party", **changes}
        config = {"name": "config.json", "url": f"{site.url}/config", "to": "unet/config.json"}
        entries = {
            "kl": {"files": [{"name": "kl.zip", "url": f"{site.url}/kl.zip"}], "holds": ["model.ckpt"]},
            "sd": {"files": [unet, config], "holds": ["unet/weights.bin", "unet/config.json"]},
            "hand": {"files": [{"name": "m.ckpt", "to": "m.ckpt"}], "holds": ["m.ckpt"], "access": "manual"},
        }
        self.registry = root / "weights.yaml"
        self.registry.write_text(yaml.safe_dump({k: {"access": "open", **common, **v} for k, v in entries.items()}))

    def get(self, name: str, *, fetch: bool = True) -> dict[str, str]:
        options = DownloadOptions(manual=self.root / "manual", downloads=self.root / "downloads", fetch=fetch)
        return download_weights(name, folder=self.root / "gewichte 1" / name, registry=self.registry, options=options)


@pytest.fixture
def shelf(tmp_path: Path, site: Site) -> Shelf:
    return Shelf(tmp_path, site)


def test_the_committed_registry(root: Path) -> None:
    entries = read_registry(root / "resources/weights.yaml")
    assert set(entries) == {"kl-f8", "lsun-churches256", "stable-diffusion-1-5", "sdseg-official"}
    for entry in entries.values():
        assert entry.purpose
        assert entry.holds
        assert {file.to for file in entry.files if file.to} <= set(entry.holds)
        assert all((file.url or "https://").startswith("https://") for file in entry.files)


def test_archives_are_unpacked_and_plain_files_laid_where_they_belong(shelf: Shelf, site: Site) -> None:
    assert shelf.get("kl") == {"model.ckpt": sha256(b"weights")}
    assert shelf.get("sd") == {"unet/weights.bin": sha256(UNET), "unet/config.json": sha256(CONFIG)}
    assert (shelf.root / "gewichte 1" / "sd" / "unet" / "weights.bin").read_bytes() == UNET
    asked = len(site.asked)
    shelf.get("sd")
    assert len(site.asked) == asked  # what is there is not fetched again


def test_the_checksum_is_printed_so_that_it_can_be_pinned(shelf: Shelf, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        shelf.get("kl")
    assert sha256(b"weights") in caplog.text
    assert "no checksum of kl.zip is published" in caplog.text


def test_the_network_is_not_used_unless_allowed(shelf: Shelf, site: Site) -> None:
    with pytest.raises(UserError, match=r"(?s)fetching is not allowed.*kl\.zip: no checksum.*--fetch"):
        shelf.get("kl", fetch=False)
    assert not site.asked
    manual = shelf.root / "manual" / "kl"
    manual.mkdir(parents=True)
    (manual / "kl.zip").write_bytes(zipped("model.ckpt", b"by hand"))
    assert shelf.get("kl", fetch=False) == {"model.ckpt": sha256(b"by hand")}


def test_by_hand_only(shelf: Shelf) -> None:
    with pytest.raises(UserError, match="it is fetched by hand only"):
        shelf.get("hand")
    (shelf.root / "manual" / "hand").mkdir(parents=True)
    (shelf.root / "manual" / "hand" / "m.ckpt").write_bytes(b"mine")
    assert shelf.get("hand") == {"m.ckpt": sha256(b"mine")}


def test_a_wrong_checksum_is_refused(tmp_path: Path, site: Site) -> None:
    shelf = Shelf(tmp_path, site, checksum=sha256(b"another"))
    with pytest.raises(UserError, match="is not the file expected: sha256:"):
        shelf.get("sd")
    assert not (tmp_path / "gewichte 1" / "sd").exists()


def test_an_archive_without_what_it_should_hold(shelf: Shelf, site: Site) -> None:
    site.answers["/kl.zip"] = [serve(zipped("readme.txt", b"moved"))]
    with pytest.raises(UserError, match=r"(?s)archives do not hold x as expected.*model\.ckpt is missing"):
        shelf.get("kl")
    assert not (shelf.root / "gewichte 1" / "kl").exists()


def test_a_half_copied_folder_is_refused_and_left_as_it_is(shelf: Shelf) -> None:
    shelf.get("sd")
    unet = shelf.root / "gewichte 1" / "sd" / "unet"
    (unet / "weights.bin").write_bytes(UNET[:100])
    (unet / "config.json").unlink()
    with pytest.raises(
        UserError, match=r"(?s)not whole.*config\.json is missing.*weights\.bin has sha256:.*instead of"
    ):
        shelf.get("sd")
    assert (unet / "weights.bin").read_bytes() == UNET[:100]


def test_from_the_command_line(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    where = ["--registry", str(shelf.registry), "--downloads", str(shelf.root / "d"), "--raw", str(shelf.root / "w")]
    assert main(["download", "--weights", "kl", "--fetch", *where]) == 0
    assert (shelf.root / "w" / "model.ckpt").read_bytes() == b"weights"
    assert main(["download", "--weights", "lk", *where]) == 2
    assert "unknown weights 'lk', did you mean 'kl'" in capsys.readouterr().err
    assert main(["download", "--source", "kseg"]) == 2
    assert "--raw" in capsys.readouterr().err
