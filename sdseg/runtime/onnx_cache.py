"""The graph as ONNX Runtime has optimised it for this machine, kept so that the next start need not do it again."""

from __future__ import annotations

import logging
import os
import platform
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdseg.artifacts import atomic_folder, sha256_file, sha256_text
from sdseg.errors import UserError

__all__ = ["cache_folder", "cached_session"]

log = logging.getLogger(__name__)

CACHED_FROM = 20_000_000  # bytes of a graph with its weights: below, a session opens in less than the cache saves
INLINE_BYTES = 1_500_000_000  # larger weights lie beside the optimised graph: a protobuf message ends at 2 GiB
KEPT = 4  # optimised graphs on disk, each as large as its model; the one not used for longest goes first
NAME = "model.onnx"


def cache_folder() -> Path:
    """Where sdseg keeps what can be made again: SDSEG_CACHE, or ~/.cache/sdseg (XDG_CACHE_HOME is heeded)."""
    own = os.environ.get("SDSEG_CACHE")
    if own:
        return Path(own)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "sdseg"


def cached_session(path: Path, provider: str, version: str, open_: Callable[[Path, Any], Any], options: Any) -> Any:
    """A session of `path`, from the optimised graph of an earlier start if there is one, else leaving one.

    Parameters
    ----------
    provider, version: of ONNX Runtime; a graph is optimised for both, and for the processor.
    open_: opens a file with the session options it is given.
    options: fresh session options; changed here.

    A cache that cannot be written or read is a warning and costs the optimisation, nothing else.
    """
    import onnxruntime

    size = sum(file.stat().st_size for file in (path, _weights(path)) if file.is_file())
    if size < CACHED_FROM:
        return open_(path, options)
    entry = cache_folder() / "onnxruntime" / _key(path, provider, version)
    level = options.graph_optimization_level
    if (entry / NAME).is_file():
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            session = open_(entry / NAME, options)
        except UserError as error:
            log.warning("the optimised graph is made again: %s", error.what)
            options.graph_optimization_level = level
        else:
            os.utime(entry)
            return session
    try:
        with atomic_folder(entry) as folder:
            options.optimized_model_filepath = str(folder / NAME)
            if size > INLINE_BYTES:
                options.add_session_config_entry(
                    "session.optimized_model_external_initializers_file_name", f"{NAME}.data"
                )
                options.add_session_config_entry(
                    "session.optimized_model_external_initializers_min_size_in_bytes", "1024"
                )
            session = open_(path, options)
    except UserError as error:
        if not error.what.startswith("cannot write"):
            raise
        log.warning("the optimised graph is not kept: %s", error)
        options.optimized_model_filepath = ""
        return open_(path, options)
    _prune(entry.parent)
    return session


def _key(path: Path, provider: str, version: str) -> str:
    """Names the graph with its weights, what optimised it, and what for."""
    weights = _weights(path)
    parts = [sha256_file(path), sha256_file(weights) if weights.is_file() else "", provider, version, _processor()]
    return sha256_text("\n".join(parts))[:32]


def _weights(path: Path) -> Path:
    return path.with_name(f"{path.name}.data")


def _processor() -> str:
    """Model and instruction sets: a layout chosen for one processor is slow or wrong on another."""
    try:
        lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    told = {line.split(":")[0].strip(): line for line in reversed(lines)}
    return " ".join(told.get(name, "") for name in ("model name", "flags", "Features"))


def _prune(folder: Path) -> None:
    entries = sorted((each for each in folder.iterdir() if not each.name.startswith(".")), key=_used, reverse=True)
    for old in entries[KEPT:]:
        shutil.rmtree(old, ignore_errors=True)


def _used(entry: Path) -> float:
    try:
        return entry.stat().st_mtime
    except OSError:  # another process has removed it
        return 0.0
