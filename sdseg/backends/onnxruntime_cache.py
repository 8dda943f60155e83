"""The graph as ONNX Runtime has optimised it for this machine, kept so that the next start need not do it again."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdseg.backends.cache import cache_entry, graph_bytes, private_folder, prune, used_now, worth_keeping
from sdseg.backends.cache_checksums import RECORD, damage_of, seal
from sdseg.core.errors import UserError
from sdseg.core.files import atomic_folder

__all__ = ["cached_session"]

log = logging.getLogger(__name__)

INLINE_BYTES = 100_000_000  # larger weights lie beside the optimised graph, where they are mapped and not parsed
FOLDER, NAME = "onnxruntime", "model.onnx"


def cached_session(path: Path, provider: str, version: str, open_: Callable[[Path, Any], Any], options: Any) -> Any:
    """A session of `path`, from the optimised graph of an earlier start if there is one, else leaving one.

    Parameters
    ----------
    provider, version: of ONNX Runtime; a graph is optimised for both, and for the processor.
    open_: opens a file with the session options it is given.
    options: fresh session options; changed here.

    An entry is used while its checksums hold. A cache that cannot be written or read, or that others can write to, is a
    warning and costs the optimisation, nothing else.
    """
    if not worth_keeping(path):
        return open_(path, options)
    if reason := private_folder(FOLDER):
        log.warning("optimised graphs are neither kept nor used: %s", reason)
        return open_(path, options)
    entry = cache_entry(FOLDER, path, provider, version)
    if (entry / NAME).is_file():
        session = _kept(entry, open_, options)
        if session is not None:
            return session
    try:
        with atomic_folder(entry, (NAME, f"{NAME}.data", RECORD)) as folder:
            options.optimized_model_filepath = str(folder / NAME)
            if graph_bytes(path) > INLINE_BYTES:
                options.add_session_config_entry(
                    "session.optimized_model_external_initializers_file_name", f"{NAME}.data"
                )
                options.add_session_config_entry(
                    "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
                )
            session = open_(path, options)
            seal(folder)
    except UserError as error:
        # ONNX Runtime says of a full disk what it says of a bad graph: a bad one fails without the cache as well.
        options.optimized_model_filepath = ""
        session = open_(path, options)
        log.warning("the optimised graph is not kept: %s", error.what)
        return session
    prune(entry.parent)
    return session


def _kept(entry: Path, open_: Callable[[Path, Any], Any], options: Any) -> Any:
    """A session of an optimised graph that was kept; None, with a warning, where it cannot be used."""
    import onnxruntime

    reason = damage_of(entry)
    if reason is None:
        level = options.graph_optimization_level
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = open_(entry / NAME, options)
        except UserError as error:
            reason = error.what
            options.graph_optimization_level = level
        else:
            used_now(entry)
            return session
    log.warning("the optimised graph is made again: %s", reason)
    return None
