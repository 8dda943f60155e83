"""ONNX Runtime as a backend: an exported graph on the wanted provider, or an error."""

from __future__ import annotations

from copy import copy
from pathlib import Path

import numpy as np

from sdseg.core.array_types import FloatArray, RawImages
from sdseg.runtime.graphs import answer_shape, check_answer, default_threads, feed_of, run_failed
from sdseg.runtime.onnx_cuda import BoundSession
from sdseg.runtime.onnx_seal import open_manifest
from sdseg.runtime.onnx_session import check_session, failure_of, open_session

__all__ = ["OnnxBackend"]


class OnnxBackend:
    """A graph made by `sdseg export`, run by ONNX Runtime on the wanted provider: never on another one.

    Parameters
    ----------
    path: the graph; its external data, if any, beside it.
    provider: 'cpu' or 'cuda'.
    seed: of the noise, for graphs with an input `noise`.
    threads: CPU threads of one call; default OMP_NUM_THREADS, otherwise one per core.
    cuda_graph: on 'cuda', record the kernels of each batch size once and replay them: for few sizes, often repeated.

    Raises UserError for a file that cannot be run, does not describe itself, or is not what it says it is.
    """

    def __init__(
        self,
        path: Path,
        provider: str = "cpu",
        seed: int = 0,
        threads: int | None = None,
        *,
        cuda_graph: bool = False,
    ) -> None:
        self.name = f"onnxruntime-{provider}"
        self.path = path
        self.threads = default_threads() if threads is None else threads  # 0: one per core
        self.manifest = open_manifest(path)
        self._session = open_session(path, provider, self.threads, cuda_graph=cuda_graph)
        check_session(self._session, self.manifest, path)
        self._bound = BoundSession(self._session, "probability", cuda_graph) if provider == "cuda" else None
        self._seed = seed

    def with_seed(self, seed: int) -> OnnxBackend:
        """The same session with noise from another seed."""
        made = copy(self)
        made._seed = seed
        return made

    def probability(self, images: RawImages) -> FloatArray:
        """Raw images [N,H,W,C] -> probability [N,K,H,W]; see Backend."""
        feed, count = feed_of(self.manifest, images, self._seed), len(images)
        try:
            if self._bound is not None:
                found = self._bound.run(feed, answer_shape(self.manifest, count))
            else:
                found = np.asarray(self._session.run(["probability"], feed)[0], dtype=np.float32)  # [N,K,H,W]
        except Exception as error:
            reason = failure_of(error)
            if reason is None:
                raise
            raise run_failed("ONNX Runtime", count, reason, self.path) from error
        return check_answer(found, self.manifest, count, self.path)
