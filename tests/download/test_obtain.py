"""`sdseg download` with nothing on disk: from the manual folder, the cache and the network, in this order."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from sdseg.core.errors import ListedError, UserError
from sdseg.download import accounts
from sdseg.download.download import DownloadOptions, download
from tests.download.test_archives import content, cut, make_tar, make_zip
from tests.helpers.download_site import Site, redirect, serve, status, tell
from tests.helpers.raw_files import write_btcv, write_cvc, write_kseg

VARIABLES = ("KAGGLE_API_TOKEN", "KAGGLE_USERNAME", "KAGGLE_KEY", "KAGGLE_CONFIG_DIR", "SYNAPSE_AUTH_TOKEN")
TOKEN = "s3cr3t-tok3n"


def packed(raw: Path) -> bytes:
    """A zip archive of everything in a folder."""
    path = make_zip(raw.with_suffix(".packed"), sorted(content(raw).items()))
    return path.read_bytes()


def checksum(data: bytes, kind: str = "sha256") -> str:
    return f"{kind}:{hashlib.new(kind, data).hexdigest()}"


class Place:
    """A registry of one dataset, and the folders around it."""

    def __init__(self, root: Path, source: str, access: str, **file: Any) -> None:
        self.root, self.source = root / "Ort é", source
        self.raw, self.output = self.root / "raw" / source, self.root / "out" / "raw.json"
        self.manual, self.cache = self.root / "manual" / source, self.root / "downloads" / source
        self.registry = self.root / "datasets.yaml"
        self.file = {key: value for key, value in file.items() if value is not None}
        self.root.mkdir()
        self.write([self.file], access)

    def write(self, files: list[dict[str, Any]], access: str) -> None:
        words = {key: f"the {key}" for key in ("title", "version", "page", "terms", "licence", "citation")}
        for file in files:
            if "checksum" in file:
                file.setdefault("checksum_from", "owner")
        entry = {**words, "access": access, "files": files}
        self.registry.write_text(yaml.safe_dump({self.source: entry}), encoding="utf-8")

    def get(self, *, fetch: bool = True, accept_terms: bool = True, raw: Path | None = None) -> dict[str, Any]:
        """The record of what was got."""
        options = DownloadOptions(self.root / "manual", self.root / "downloads", fetch, accept_terms)
        download(source=self.source, raw=raw or self.raw, output=self.output, registry=self.registry, options=options)
        record: dict[str, Any] = json.loads(self.output.read_text(encoding="utf-8"))
        return record

    def refused(self, **allowed: bool) -> str:
        with pytest.raises(UserError, match=r"remedy: ") as caught:
            self.get(**allowed)
        assert not self.raw.exists()
        assert not self.output.exists()
        return str(caught.value)


@pytest.fixture(autouse=True)
def nobody(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A home without credentials."""
    (tmp_path / "home").mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def kvasir(tmp_path: Path) -> bytes:
    return packed(write_kseg(tmp_path / "made", ["a", "b"]))


@pytest.fixture
def kseg(tmp_path: Path, site: Site, kvasir: bytes) -> Place:
    """An open dataset, served here."""
    site.answers["/kvasir-seg.zip"] = [serve(kvasir)]
    url = f"{site.url}/kvasir-seg.zip"
    return Place(tmp_path, "kseg", "open", name="kvasir-seg.zip", url=url, size=len(kvasir), checksum=checksum(kvasir))


# What is got


def test_an_open_dataset_is_fetched_checked_unpacked_and_recorded(kseg: Place, site: Site, kvasir: bytes) -> None:
    record = kseg.get()
    assert record["n_cases"] == 2
    assert record["archives"] == [
        {
            "file": "kvasir-seg.zip",
            "size": len(kvasir),
            "checksum": checksum(kvasir),
            "came_from": f"{site.url}/kvasir-seg.zip",
        }
    ]
    assert (kseg.cache / "kvasir-seg.zip").read_bytes() == kvasir
    assert sorted(path.name for path in kseg.raw.iterdir()) == [".sdseg-origin.json", "Kvasir-SEG"]
    assert len(site.asked) == 1
    before = kseg.output.read_bytes()
    kseg.get()
    assert len(site.asked) == 1  # what is there is not fetched again
    assert kseg.output.read_bytes() == before


def test_the_cache_serves_when_nothing_may_be_fetched(kseg: Place, site: Site) -> None:
    first = kseg.get()
    other = kseg.root / "raw" / "again"
    assert kseg.get(fetch=False, raw=other) == first
    assert len(site.asked) == 1


def test_the_manual_folder_comes_first_and_is_only_read(kseg: Place, site: Site, kvasir: bytes) -> None:
    for folder in (kseg.manual, kseg.cache):
        folder.mkdir(parents=True)
        (folder / "kvasir-seg.zip").write_bytes(kvasir if folder == kseg.manual else b"not looked at")
    record = kseg.get()
    assert record["archives"][0]["came_from"] == "by hand"
    assert site.asked == []
    assert [path.name for path in kseg.manual.iterdir()] == ["kvasir-seg.zip"]


def test_a_wrong_archive_laid_there_by_hand_is_an_error_not_a_reason_to_fetch(kseg: Place, site: Site) -> None:
    kseg.manual.mkdir(parents=True)
    for data, message in ((b"?" * kseg.file["size"], "instead of sha256:"), (b"?", "1 bytes instead of")):
        (kseg.manual / "kvasir-seg.zip").write_bytes(data)
        shown = kseg.refused()
        assert f"'kvasir-seg.zip' is not the archive expected: {'' if data == b'?' else 'sha256:'}" in shown
        assert message in shown
        assert str(kseg.manual) in shown
    assert site.asked == []


def test_a_folder_that_holds_anything_is_never_filled(kseg: Place, site: Site) -> None:
    kseg.raw.mkdir(parents=True)
    (kseg.raw / "holiday.jpg").touch()
    with pytest.raises(UserError, match=r"the raw folder holds holiday\.jpg"):
        kseg.get()
    assert site.asked == []
    assert [path.name for path in kseg.raw.iterdir()] == ["holiday.jpg"]


def test_a_raw_folder_that_is_a_link_stays_one(kseg: Place) -> None:
    real = kseg.root / "another disk"
    real.mkdir()
    kseg.raw.parent.mkdir()
    kseg.raw.symlink_to(real)
    kseg.get()
    assert kseg.raw.is_symlink()
    assert (real / "Kvasir-SEG").is_dir()


def test_an_archive_in_pieces_from_several_places(kseg: Place, site: Site, tmp_path: Path) -> None:
    whole = make_tar(tmp_path / "set.tar.gz", sorted(content(write_kseg(tmp_path / "other", ["a"])).items()))
    pieces = cut(whole, [500, 700])
    kseg.write([{"name": piece.name, "url": f"{site.url}/{piece.name}"} for piece in pieces], "open")
    site.answers |= {f"/{piece.name}": [serve(piece.read_bytes())] for piece in pieces}
    kseg.manual.mkdir(parents=True)
    pieces[2].rename(kseg.manual / pieces[2].name)
    assert kseg.get()["n_cases"] == 1
    assert [each.path for each in site.asked] == [f"/{piece.name}" for piece in pieces[:2]]


def test_two_jobs_fetch_once(kseg: Place, site: Site, kvasir: bytes) -> None:
    hold = threading.Event()

    def slowly(handler: Any) -> None:
        hold.wait(5)
        serve(kvasir)(handler)

    site.answers["/kvasir-seg.zip"] = [slowly]
    options = DownloadOptions(kseg.root / "manual", kseg.root / "downloads", fetch=True)
    raws = [kseg.root / "one", kseg.root / "two"]

    def work(raw: Path) -> None:
        download(source="kseg", raw=raw, output=raw.with_suffix(".json"), registry=kseg.registry, options=options)

    jobs = [threading.Thread(target=work, args=(raw,)) for raw in raws]
    for job in jobs:
        job.start()
    threading.Timer(0.3, hold.set).start()
    for job in jobs:
        job.join()
    assert len(site.asked) == 1
    assert content(raws[0]) == content(raws[1])


# What is not


def test_nothing_is_fetched_unless_it_is_allowed(kseg: Place, site: Site) -> None:
    shown = kseg.refused(fetch=False)
    for words in (
        "the raw folder of Kvasir-SEG is missing, and so are its archives; fetching is not allowed",
        f"kvasir-seg.zip: {kseg.file['checksum']}, {kseg.file['size']:,} bytes",
        f"lay your unpacked copy into {kseg.raw}, as Kvasir-SEG/images/*.jpg",
        f"fetch the above from the page (terms: the terms) and lay it into {kseg.manual}",
        "fetch: true in the configuration (--fetch)",
    ):
        assert words in shown
    assert site.asked == []
    assert sorted(path.name for path in kseg.root.iterdir()) == ["datasets.yaml"]


def test_a_dataset_that_only_hands_can_get(tmp_path: Path) -> None:
    sts = Place(tmp_path, "sts", "manual", name="labelled.zip")
    shown = sts.refused()
    assert "it is fetched by hand only" in shown
    assert "labelled.zip: no checksum is published" in shown
    assert "--fetch" not in shown


def test_an_archive_with_something_else_in_it_leaves_no_folder(kseg: Place, tmp_path: Path) -> None:
    kseg.write([{"name": "other.zip", "url": "http://127.0.0.1:9/other.zip"}], "open")
    kseg.manual.mkdir(parents=True)
    make_zip(kseg.manual / "other.zip", [("readme.txt", b"")])
    shown = kseg.refused(fetch=False)
    assert "the archives do not hold Kvasir-SEG as expected: no files of Kvasir-SEG" in shown
    assert "expected are Kvasir-SEG/images/*.jpg" in shown
    make_zip(kseg.manual / "other.zip", [("Kvasir-SEG/images/a.jpg", b"x"), ("Kvasir-SEG/masks/b.jpg", b"x")])
    with pytest.raises(ListedError, match=r"(?s)image without mask.*mask without image"):
        kseg.get()
    assert not kseg.raw.parent.exists()


def test_a_harmful_archive_writes_nothing(kseg: Place) -> None:
    kseg.write([{"name": "bad.zip", "url": "http://127.0.0.1:9/bad.zip"}], "open")
    kseg.manual.mkdir(parents=True)
    make_zip(kseg.manual / "bad.zip", [("Kvasir-SEG/images/a.jpg", b""), ("../../owned", b"")])
    before = set(kseg.root.parent.rglob("*"))
    assert "leads out of the folder" in kseg.refused()
    new = {path.name for path in set(kseg.root.parent.rglob("*")) - before}
    assert new <= {"downloads", "kseg", "checksums.json", "raw"}


def test_no_room_to_unpack(kseg: Place) -> None:
    kseg.raw.parent.touch()  # a file where a folder would be
    with pytest.raises(UserError, match=r"cannot write: (Not a directory|File exists)"):
        kseg.get()
    assert not kseg.output.exists()


# Checksums


def test_an_unpublished_checksum_is_written_down_and_a_change_is_warned_about(
    kseg: Place, site: Site, kvasir: bytes, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    kseg.write([{"name": "kvasir-seg.zip", "url": f"{site.url}/kvasir-seg.zip"}], "open")
    with caplog.at_level("INFO"):
        kseg.get()
    assert "no checksum of kvasir-seg.zip is published; the first one seen is in" in caplog.text
    notes = json.loads((kseg.cache / "checksums.json").read_text())
    assert notes["files"]["kvasir-seg.zip"]["checksum"] == checksum(kvasir)
    caplog.clear()
    kseg.get(raw=kseg.root / "second")
    assert "kvasir-seg.zip" not in caplog.text  # the same again is nothing to speak of

    new = packed(write_kseg(tmp_path / "new", ["a", "c"]))
    (kseg.cache / "kvasir-seg.zip").unlink()
    site.answers["/kvasir-seg.zip"] = [serve(new, etag='"new"')]
    record = kseg.get(raw=kseg.root / "third")
    assert record["archives"][0]["checksum"] == checksum(new)
    changed = [record.getMessage() for record in caplog.records if "has changed" in record.getMessage()]
    assert len(changed) == 1
    assert f"has changed: {checksum(new)} instead of {checksum(kvasir)}, the first one seen" in changed[0]


def test_a_damaged_cache_is_named(kseg: Place) -> None:
    kseg.get()
    path = kseg.cache / "kvasir-seg.zip"
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    with pytest.raises(UserError, match=r"(?s)not the archive expected.*delete it and run again"):
        kseg.get(raw=kseg.root / "second")


# Accounts


@pytest.fixture
def btcv(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A dataset on Synapse; the registry's MD5, of a third party, is wrong."""
    data = packed(write_btcv(tmp_path / "made", {"0001": 3}))
    monkeypatch.setattr(accounts, "SYNAPSE_REPOSITORY", f"{site.url}/repo/v1")
    monkeypatch.setattr(accounts, "SYNAPSE_FILES", f"{site.url}/file/v1")
    signed = {
        "fileHandleId": "77",
        "fileHandle": {"contentSize": len(data), "contentMd5": hashlib.md5(data).hexdigest()},
        "preSignedURL": f"{site.url}/stored.zip?X-Amz-Signature=abc",
    }
    site.answers |= {
        "/repo/v1/entity/syn3379050": [tell({"dataFileHandleId": "77"})],
        "/file/v1/fileHandle/batch": [tell({"requestedFiles": [signed]})],
        "/stored.zip": [serve(data, cut=1000), serve(data)],
    }
    wrong = {"checksum": "md5:" + "0" * 32, "checksum_from": "third party"}
    return Place(tmp_path, "btcv", "account", name="RawData.zip", synapse="syn3379050", **wrong)


def test_terms_must_be_accepted_before_anything_is_asked(
    btcv: Place, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)
    shown = btcv.refused(accept_terms=False)
    for words in ("its owner's terms are not accepted", "accept_terms: true for this dataset", "the page", "the terms"):
        assert words in shown
    assert "RawData.zip: md5:" in shown
    assert "(from a third party)" in shown
    assert site.asked == []


def test_a_missing_token_is_told_with_its_variable_and_file(btcv: Place, site: Site) -> None:
    shown = btcv.refused()
    assert "no Synapse token is here, neither in SYNAPSE_AUTH_TOKEN nor in ~/.synapseConfig" in shown
    assert str(btcv.manual) in shown
    assert site.asked == []


def test_synapse_gives_the_archive_and_its_own_checksum(
    btcv: Place, site: Site, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)
    with caplog.at_level("DEBUG"):
        record = btcv.get()
    assert record["n_cases"] == 1
    assert record["archives"][0]["came_from"] == "synapse:syn3379050"
    assert "Synapse's own is used" in caplog.text
    assert site.ranges[-1] == "bytes=1000-"
    btcv.get(raw=btcv.root / "from the cache", fetch=False)  # the registry's wrong one no longer matters
    everything = caplog.text + json.dumps(record) + (btcv.cache / "checksums.json").read_text()
    assert TOKEN not in everything
    assert "Signature" not in everything
    assert all("Authorization" not in each.headers for each in site.asked if each.path.startswith("/stored"))


def test_terms_not_accepted_there_are_told(btcv: Place, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SYNAPSE_AUTH_TOKEN", TOKEN)
    site.answers["/repo/v1/entity/syn3379050"] = [tell({"reason": "unmet access requirements"}, 403)]
    shown = btcv.refused()
    assert "the terms are not accepted there (it says: unmet access requirements)" in shown
    assert "the page" in shown
    assert TOKEN not in shown


def test_kaggle_gives_the_archive(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = pytest.importorskip("kagglesdk.kaggle_env", reason="needs the extra 'download' (kagglesdk)")
    monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.PROD, site.url)
    data = packed(write_cvc(tmp_path / "made", 2))
    site.answers |= {
        "/v1/datasets.DatasetApiService/DownloadDataset": [redirect("/stored.zip?signature=abc")],
        "/stored.zip": [serve(data)],
    }
    cvc = Place(tmp_path, "cvc", "account", name="cvcclinicdb.zip", kaggle="balraj98/cvcclinicdb")
    assert "neither in KAGGLE_API_TOKEN" in cvc.refused()
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    record = cvc.get()
    assert record["n_cases"] == 2
    assert record["archives"] == [
        {
            "file": "cvcclinicdb.zip",
            "size": len(data),
            "checksum": checksum(data),
            "came_from": "kaggle:balraj98/cvcclinicdb",
        }
    ]


# The command


def command(root: Path, place: Place, *words: str) -> subprocess.CompletedProcess[str]:
    options = ["--source", place.source, "--raw", place.raw, "--output", place.output, "--registry", place.registry]
    options += ["--manual", place.root / "manual", "--downloads", place.root / "downloads", *words]
    line = [sys.executable, "-m", "sdseg", "download", "--verbose", *map(str, options)]
    return subprocess.run(line, cwd=root, capture_output=True, encoding="utf-8", timeout=60, check=False)


def test_the_command_fetches_only_when_told(root: Path, kseg: Place, site: Site) -> None:
    done = command(root, kseg)
    assert done.returncode == 2
    assert done.stderr.startswith("sdseg download: error: the raw folder of Kvasir-SEG is missing")
    assert site.asked == []
    done = command(root, kseg, "--fetch")
    assert done.returncode == 0, done.stderr
    assert json.loads(kseg.output.read_text())["n_cases"] == 2


def test_the_command_never_prints_a_token(root: Path, kseg: Place, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KAGGLE_API_TOKEN", TOKEN)
    site.answers["/kvasir-seg.zip"] = [status(404)]
    kseg.write([{"name": "kvasir-seg.zip", "url": f"{site.url}/kvasir-seg.zip?token={TOKEN}"}], "open")
    done = command(root, kseg, "--fetch")
    assert done.returncode == 2
    assert "the server answered 404" in done.stderr
    assert TOKEN not in done.stdout + done.stderr
