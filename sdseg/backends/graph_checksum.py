"""Checksums of exported graphs: of the files as they lie there, and the one each graph carries of its own content.

`content_sha256` of the manifest is the SHA-256 of the whole ONNX file, structure, weights and metadata, without its own
64 digits; `weights_sha256` that of the file with external data, for graphs that have one.
"""

from __future__ import annotations

import logging
from pathlib import Path

from sdseg.artifacts.manifests import GraphManifest
from sdseg.backends.cache import checksum_of
from sdseg.backends.graph import parse_manifest, unusable
from sdseg.backends.graph_file import METADATA_KEY, find_metadata, read_metadata, weights_beside
from sdseg.core.errors import UserError
from sdseg.core.files import sha256_text

__all__ = ["graph_checksum", "open_manifest", "seal_graph", "unsealed"]

log = logging.getLogger(__name__)

BLANK = "0" * 64


def graph_checksum(graph: Path) -> str:
    """SHA-256 of a graph and, where they lie in a file of their own, of its weights."""
    weights = weights_beside(graph)
    own = checksum_of(graph)
    return sha256_text(own + checksum_of(weights)) if weights.is_file() else own


def unsealed(manifest: GraphManifest, *, external: bool) -> GraphManifest:
    """The manifest to write a graph with, before `seal_graph`; `external`: its weights go to a file of their own."""
    return manifest.model_copy(update={"content_sha256": BLANK, "weights_sha256": BLANK if external else None})


def seal_graph(path: Path) -> GraphManifest:
    """Write the checksums into a graph whose manifest has them blank; the manifest as it stands there afterwards."""
    weights = weights_beside(path)
    if weights.is_file():
        _overwrite(path, _digits(path, "weights_sha256"), checksum_of(weights))
    start = _digits(path, "content_sha256")
    _overwrite(path, start, checksum_of(path, (start, start + len(BLANK))))
    return open_manifest(path)


def open_manifest(path: Path) -> GraphManifest:
    """What a graph says about itself, once its content is what it was when it said so.

    A graph of an earlier version carries no checksum: that is noted in the log, and it is taken as it is. Raises
    UserError for a file that is missing, damaged, foreign, or without its external data.
    """
    manifest = parse_manifest(read_metadata(path).get(METADATA_KEY), path)
    if manifest.content_sha256 is None:
        log.warning("%s carries no checksum (exported by an earlier version): damage to it would not be noticed", path)
        return manifest
    place, text = find_metadata(path, METADATA_KEY)
    start = place + text.find(manifest.content_sha256.encode())
    if start < place or checksum_of(path, (start, start + len(BLANK))) != manifest.content_sha256:
        raise _changed("the graph", path)
    if manifest.weights_sha256 is not None:
        weights = weights_beside(path)
        if not weights.is_file():
            raise unusable(f"its weights, '{weights.name}', are missing", path)
        if checksum_of(weights) != manifest.weights_sha256:
            raise _changed("the file of the graph's weights", weights)
    return manifest


def _digits(path: Path, key: str) -> int:
    """Where in the file the digits of a blank checksum begin."""
    place, text = find_metadata(path, METADATA_KEY)
    return place + text.index(f'"{key}":"{BLANK}"'.encode()) + len(key) + 4


def _overwrite(path: Path, place: int, digits: str) -> None:
    with path.open("r+b") as stream:
        stream.seek(place)
        stream.write(digits.encode())


def _changed(what: str, path: Path) -> UserError:
    return UserError(
        f"{what} has changed since it was exported: its checksum is not the one it carries",
        where=path,
        remedy="copy it again from where it was exported, or run 'sdseg export'",
    )
