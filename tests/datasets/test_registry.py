"""The registry: complete, and every mistake in it named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sdseg.core.errors import UserError
from sdseg.datasets.registry import read_registry

GOOD: dict[str, Any] = {
    "title": "T", "version": "1", "page": "p", "terms": "t", "access": "open", "licence": "l", "citation": "c",
    "files": [{"name": "a.zip", "url": "https://there/a.zip"}],
}  # fmt: skip


def test_the_committed_one(root: Path) -> None:
    entries = read_registry(root / "resources/datasets.yaml")
    assert {"cvc", "kseg", "refuge2", "btcv", "sts", "sts-zenodo", "isic2018"} <= set(entries)
    assert {name: entries[name].access for name in ("kseg", "cvc", "refuge2", "btcv", "sts", "sts-zenodo")} == {
        "kseg": "open",
        "cvc": "account",
        "refuge2": "account",
        "btcv": "account",
        "sts": "manual",
        "sts-zenodo": "open",
    }
    for entry in entries.values():
        assert all((file.url or "https://").startswith("https://") for file in entry.files)
    assert [file.name for file in entries["sts-zenodo"].files] == [f"SD-Tooth.zip.{n:03d}" for n in range(1, 16)]
    assert all(file.checksum for file in entries["isic2018"].files)
    (kvasir,) = entries["kseg"].files
    assert kvasir.checksum == "sha256:03b30e21d584e04facf49397a2576738fd626815771afbbf788f74a7153478f7"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"licenze": "l"}, "unknown key 'x.licenze': did you mean 'licence'?"),
        ({"access": "secret"}, "x.access: "),
        ({"files": []}, "x.files: "),
        ({"files": [{"name": "a.zip"}]}, "an open file needs a 'url'"),
        ({"access": "account"}, "needs 'kaggle' or 'synapse'"),
        ({"access": "manual"}, "what is fetched by hand has no address"),
        ({"files": [{"name": "../a.zip", "url": "https://there/a"}]}, "x.files.0.name: "),
        ({"files": [{"name": "a", "url": "file:///etc/passwd"}]}, "x.files.0.url: "),
        ({"files": [{"name": "a", "url": "https://there/a", "kaggle": "a/b"}]}, "give one of 'url', 'kaggle'"),
        ({"files": [{"name": "a", "url": "https://there/a", "checksum": "sha256:abc"}]}, "x.files.0.checksum: "),
        ({"files": [{"name": "a", "url": "https://a", "checksum": "md5:" + "0" * 32}]}, "go together"),
        ({"files": GOOD["files"] * 2}, "two files have the same name"),
    ],
)
def test_mistakes_are_named(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    path = tmp_path / "datasets.yaml"
    path.write_text(yaml.safe_dump({"x": {**GOOD, **changes}}), encoding="utf-8")
    with pytest.raises(UserError, match="problem") as caught:
        read_registry(path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)
