"""Services with a login: from a token to the address at which one archive can be fetched for a while."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from typing import Any

from sdseg.core.credentials import Credential, redact
from sdseg.core.errors import UserError

__all__ = ["Address", "RefusedError", "UnreachableError", "kaggle_address", "synapse_address"]

SYNAPSE_REPOSITORY = "https://repo-prod.prod.sagebase.org/repo/v1"
SYNAPSE_FILES = "https://file-prod.prod.sagebase.org/file/v1"
TIMEOUT = (10, 60)  # seconds to connect, seconds without a byte


@dataclass(frozen=True)
class Address:
    """Where an archive can be fetched now. The URL may be signed: it is a secret, and not to be shown."""

    url: str = field(repr=False)
    size: int | None = None  # bytes
    checksum: str | None = None  # the owner's, with its kind: md5:…


class RefusedError(UserError):
    """The service knows the request and says no: token, terms or name are not right."""


class UnreachableError(UserError):
    """No answer, or none that counts: worth another try."""


def kaggle_address(dataset: str, credential: Credential) -> Address:
    """The signed address of a dataset's archive, asked for with Kaggle's own client (kagglesdk).

    Raises RefusedError for a wrong token, terms not accepted and an unknown dataset; UnreachableError where
    Kaggle gives no answer; UserError where the client is not installed.
    """
    try:
        import requests
        from kagglesdk import KaggleClient
        from kagglesdk.datasets.types.dataset_api_service import ApiDownloadDatasetRequest
    except ImportError as error:
        raise _no_library("kagglesdk", error) from None
    request = ApiDownloadDatasetRequest()
    request.owner_slug, request.dataset_slug = dataset.split("/")
    who: dict[str, Any] = {"username": credential.user, "password": credential.token}
    try:
        with KaggleClient(**(who if credential.user else {"api_token": credential.token})) as client:
            response = client.datasets.dataset_api_client.download_dataset(request)
            response.close()  # the client has begun the transfer itself; ours can be resumed
    except requests.HTTPError as error:
        raise _refused(f"Kaggle ({dataset})", error.response.status_code, str(error), credential) from None
    except requests.RequestException as error:
        raise _unreachable("Kaggle", error, credential) from None
    if not response.history:
        raise UserError(
            "Kaggle answered with no address to fetch from",
            where=f"https://www.kaggle.com/datasets/{dataset}",
            remedy="fetch the archive with your browser and lay it into the manual folder",
        )
    return Address(response.url)


def synapse_address(entity: str, credential: Credential) -> Address:
    """The signed address, size and MD5 of a Synapse file entity, through Synapse's REST interface.

    Raises RefusedError for a wrong token, terms not accepted and an unknown entity; UnreachableError where
    Synapse gives no answer; UserError where it answers otherwise than its interface says.
    """
    try:
        import requests
    except ImportError as error:
        raise _no_library("requests", error) from None
    with requests.Session() as session:
        session.auth = partial(_signed, credential.token)  # as a header, ~/.netrc would win over it
        try:
            response = session.get(f"{SYNAPSE_REPOSITORY}/entity/{entity}", timeout=TIMEOUT)
            handle = _answer(response, entity, credential)["dataFileHandleId"]
            request = {"fileHandleId": handle, "associateObjectId": entity, "associateObjectType": "FileEntity"}
            body = {"includeFileHandles": True, "includePreSignedURLs": True, "requestedFiles": [request]}
            signed = session.post(f"{SYNAPSE_FILES}/fileHandle/batch", json=body, timeout=TIMEOUT)
            (result,) = _answer(signed, entity, credential)["requestedFiles"]
            if result.get("failureCode"):
                status = 404 if result["failureCode"] == "NOT_FOUND" else 403
                raise _refused(f"Synapse ({entity})", status, result["failureCode"], credential)
            file = result.get("fileHandle") or {}
            md5 = file.get("contentMd5")
            return Address(result["preSignedURL"], file.get("contentSize"), f"md5:{md5}" if md5 else None)
        except (KeyError, TypeError, ValueError):  # no JSON is a ValueError too, and first of all
            raise UserError(
                "Synapse answered otherwise than its interface says",
                where=f"https://www.synapse.org/Synapse:{entity}",
                remedy="fetch the archive with your browser and lay it into the manual folder",
            ) from None
        except requests.RequestException as error:
            raise _unreachable("Synapse", error, credential) from None


def _signed(token: str, request: Any) -> Any:
    request.headers["Authorization"] = f"Bearer {token}"
    return request


def _answer(response: Any, entity: str, credential: Credential) -> dict[str, Any]:
    if response.status_code >= 400:
        try:
            reason = str(response.json().get("reason", ""))
        except (ValueError, AttributeError):
            reason = ""
        raise _refused(f"Synapse ({entity})", response.status_code, reason, credential)
    answer = response.json()
    if not isinstance(answer, dict):
        raise TypeError(f"expected an object, got {type(answer).__name__}")
    return answer


def _refused(service: str, status: int, reason: str, credential: Credential) -> UserError:
    meaning = {
        401: "the token is not valid (any more)",
        403: "the token is valid, but its account may not have this file: the terms are not accepted there",
        404: "no such file, or none that this account may see",
    }
    if status not in meaning:
        return UnreachableError(
            f"{service} failed with status {status}: {redact(reason, credential.secrets)[:200]}",
            remedy="try again later",
        )
    quoted = f" (it says: {redact(reason, credential.secrets)[:200]})" if reason else ""
    return RefusedError(
        f"{service} refused: {meaning[status]}{quoted}", remedy="check the token, and accept the terms on the page"
    )


def _unreachable(service: str, error: Exception, credential: Credential) -> UserError:
    return UnreachableError(
        f"{service} cannot be reached: {redact(str(error), credential.secrets)[:300]}",
        remedy="check the network, then run again",
    )


def _no_library(name: str, error: ImportError) -> UserError:
    return UserError(
        f"fetching needs the package '{name}', which cannot be imported: {error}",
        remedy="install the extra: pip install 'sdseg[download]'",
    )
