"""Services with a login: the real clients against a server on this machine."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from sdseg.core.credentials import Credential
from sdseg.core.errors import UserError
from sdseg.download import accounts
from sdseg.download.accounts import RefusedError, UnreachableError, kaggle_address, synapse_address
from tests.helpers.download_site import Answer, Site, page, redirect, serve, status, tell

TOKEN = "s3cr3t-tok3n"
KAGGLE_PATH = "/v1/datasets.DatasetApiService/DownloadDataset"


@pytest.fixture
def kaggle(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Site:
    """A server in Kaggle's place, and a home without credentials."""
    environment = pytest.importorskip("kagglesdk.kaggle_env", reason="needs the extra 'download' (kagglesdk)")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("KAGGLE_API_TOKEN", raising=False)
    monkeypatch.setitem(environment._env_to_endpoint, environment.KaggleEnv.PROD, site.url)
    return site


@pytest.fixture
def synapse(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    monkeypatch.setattr(accounts, "SYNAPSE_REPOSITORY", f"{site.url}/repo/v1")
    monkeypatch.setattr(accounts, "SYNAPSE_FILES", f"{site.url}/file/v1")
    return site


def test_kaggle_is_asked_with_the_token_and_answers_with_an_address(kaggle: Site) -> None:
    kaggle.answers |= {KAGGLE_PATH: [redirect("/stored.zip?signature=abc")], "/stored.zip": [serve()]}
    found = kaggle_address("balraj98/cvcclinicdb", Credential(TOKEN))
    assert found.url == f"{kaggle.url}/stored.zip?signature=abc"
    asked = kaggle.asked[0]
    assert asked.headers["Authorization"] == f"Bearer {TOKEN}"
    assert json.loads(asked.body) == {"ownerSlug": "balraj98", "datasetSlug": "cvcclinicdb"}


def test_kaggle_takes_a_user_name_and_a_key(kaggle: Site) -> None:
    kaggle.answers |= {KAGGLE_PATH: [redirect("/stored.zip")], "/stored.zip": [serve()]}
    kaggle_address("a/b", Credential("key", "me"))
    assert kaggle.asked[0].headers["Authorization"] == "Basic " + base64.b64encode(b"me:key").decode()


@pytest.mark.parametrize(
    ("code", "message"),
    [(401, "the token is not valid"), (403, "the terms are not accepted there"), (404, "no such file")],
)
def test_kaggle_refuses(kaggle: Site, code: int, message: str) -> None:
    kaggle.answers[KAGGLE_PATH] = [tell({"code": code, "message": f"no, {TOKEN}"}, code)]
    with pytest.raises(RefusedError, match=message) as caught:
        kaggle_address("a/b", Credential(TOKEN))
    assert TOKEN not in str(caught.value)


def test_kaggle_in_trouble_is_worth_another_try(kaggle: Site) -> None:
    kaggle.answers[KAGGLE_PATH] = [status(503)]
    with pytest.raises(UnreachableError, match="failed with status 503"):
        kaggle_address("a/b", Credential(TOKEN))
    kaggle.shutdown()
    kaggle.server_close()
    with pytest.raises(UnreachableError, match="Kaggle cannot be reached"):
        kaggle_address("a/b", Credential(TOKEN))


def test_kaggle_without_an_address(kaggle: Site) -> None:
    kaggle.answers[KAGGLE_PATH] = [page()]
    with pytest.raises(UserError, match="no address to fetch from"):
        kaggle_address("a/b", Credential(TOKEN))


def entity(**changes: object) -> dict[str, object]:
    file = {"fileName": "RawData.zip", "contentSize": 5, "contentMd5": "0" * 32}
    return {"fileHandleId": "77", "fileHandle": file, "preSignedURL": "https://there/x?signature=abc", **changes}


def test_synapse_is_asked_twice_and_answers_with_address_size_and_md5(synapse: Site, tmp_path: Path) -> None:
    synapse.answers |= {
        "/repo/v1/entity/syn3379050": [tell({"name": "RawData.zip", "dataFileHandleId": "77"})],
        "/file/v1/fileHandle/batch": [tell({"requestedFiles": [entity()]})],
    }
    found = synapse_address("syn3379050", Credential(TOKEN))
    assert (found.url, found.size, found.checksum) == ("https://there/x?signature=abc", 5, "md5:" + "0" * 32)
    assert [each.headers["Authorization"] for each in synapse.asked] == [f"Bearer {TOKEN}"] * 2
    assert json.loads(synapse.asked[1].body)["requestedFiles"] == [
        {"fileHandleId": "77", "associateObjectId": "syn3379050", "associateObjectType": "FileEntity"}
    ]


def test_the_token_wins_over_a_netrc_file(synapse: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login me password other")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    synapse.answers["/repo/v1/entity/syn1"] = [status(404)]
    with pytest.raises(RefusedError, match="no such file"):
        synapse_address("syn1", Credential(TOKEN))
    assert synapse.asked[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("code", [401, 403, 404])
def test_synapse_refuses(synapse: Site, code: int) -> None:
    synapse.answers["/repo/v1/entity/syn1"] = [tell({"reason": f"You lack READ access, {TOKEN}."}, code)]
    with pytest.raises(RefusedError, match="it says: You lack READ access") as caught:
        synapse_address("syn1", Credential(TOKEN))
    assert TOKEN not in str(caught.value)


@pytest.mark.parametrize(
    ("failure", "message"), [("UNAUTHORIZED", "the terms are not accepted"), ("NOT_FOUND", "no such")]
)
def test_synapse_refuses_the_file_alone(synapse: Site, failure: str, message: str) -> None:
    synapse.answers |= {
        "/repo/v1/entity/syn1": [tell({"dataFileHandleId": "77"})],
        "/file/v1/fileHandle/batch": [tell({"requestedFiles": [{"fileHandleId": "77", "failureCode": failure}]})],
    }
    with pytest.raises(RefusedError, match=message):
        synapse_address("syn1", Credential(TOKEN))


@pytest.mark.parametrize("answer", [tell([]), tell({}), tell({"dataFileHandleId": "1"}), page()])
def test_synapse_answers_otherwise(synapse: Site, answer: Answer) -> None:
    synapse.answers |= {"/repo/v1/entity/syn1": [answer], "/file/v1/fileHandle/batch": [tell({"requestedFiles": []})]}
    with pytest.raises(UserError, match="otherwise than its interface says"):
        synapse_address("syn1", Credential(TOKEN))


def test_synapse_in_trouble_is_worth_another_try(synapse: Site) -> None:
    synapse.answers["/repo/v1/entity/syn1"] = [status(503)]
    with pytest.raises(UnreachableError, match="failed with status 503"):
        synapse_address("syn1", Credential(TOKEN))
