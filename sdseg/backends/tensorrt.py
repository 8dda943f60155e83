"""A TensorRT engine as a backend: buffers that stay on the GPU, and one CUDA graph for each size of a batch.

Imports TensorRT: import this module inside a function, after `require_tensorrt`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tensorrt as trt
import torch

from sdseg.artifacts.manifests import EngineMachine, EngineManifest
from sdseg.backends.device import torch_device
from sdseg.backends.engine_buffers import EngineBuffers
from sdseg.backends.tensorrt_engine import check_fits, layer_precisions, read_engine_manifest, refused_engine
from sdseg.backends.tensorrt_log import LogLines
from sdseg.core.array_types import AnyArray, FloatArray
from sdseg.core.errors import ListedError

__all__ = ["TensorrtBackend", "this_machine"]

TYPES = {trt.DataType.FLOAT: "float32", trt.DataType.UINT8: "uint8"}
SIZES_KEPT = 8  # batch sizes whose CUDA graph is kept: the size in use, and the remainders of volumes


def this_machine() -> EngineMachine:
    """The GPU that PyTorch uses, and TensorRT. Raises UserError where there is no GPU."""
    gpu = torch.cuda.get_device_properties(torch_device("cuda"))
    return EngineMachine(trt.__version__, gpu.name, f"{gpu.major}.{gpu.minor}")


@dataclass(frozen=True)
class _Captured:
    """One batch size. The context belongs to its graph: giving it another shape would invalidate what was captured."""

    context: trt.IExecutionContext
    graph: torch.cuda.CUDAGraph


class TensorrtBackend(EngineBuffers):
    """An engine made by `sdseg export --to tensorrt`; images go to the GPU once, wanted outputs come back once.

    Parameters
    ----------
    path: the engine; what describes it (`<engine>.json`) beside it.
    seed: of the noise, for graphs with an input `noise`.

    Batches larger than the engine's largest are cut up, smaller ones than its smallest filled up. Threads take turns.
    Raises ListedError for an engine that does not fit this machine, with TensorRT's own lines where it gave any.
    """

    def __init__(self, path: Path, seed: int = 0) -> None:
        self.path = path
        self.engine_manifest: EngineManifest = read_engine_manifest(path)
        self.name = f"tensorrt-{self.engine_manifest.precision}"
        check_fits(path, self.engine_manifest, this_machine())
        self._lines = LogLines()
        self._runtime = trt.Runtime(self._lines)  # must outlive the engine
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise refused_engine(path, self.engine_manifest, self._told())
        self._engine = engine
        self._check_ports()
        super().__init__(self.engine_manifest.graph, self.engine_manifest.options.batches, seed)
        # Scratch memory is shared by all sizes: they never run at the same time.
        self._scratch = torch.empty(max(engine.device_memory_size_v2, 1), dtype=torch.uint8, device="cuda")
        self._stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        self._captured: OrderedDict[int, _Captured] = OrderedDict()
        self._lock = threading.Lock()
        torch.cuda.synchronize()  # the buffers are filled on another stream

    def run_graph(self, outputs: Sequence[str], fed: AnyArray) -> list[FloatArray]:
        with self._lock, torch.cuda.stream(self._stream):
            return super().run_graph(outputs, fed)

    def run_batch(self, size: int) -> None:
        self._of(size).graph.replay()

    def layers(self) -> dict[str, int]:
        """How many layers compute in which type, for the batch the engine is tuned for."""
        inspector = self._engine.create_engine_inspector()
        inspector.execution_context = self._context(self.engine_manifest.options.batches.opt)
        return layer_precisions(inspector.get_engine_information(trt.LayerInformationFormat.JSON))

    def _of(self, size: int) -> _Captured:
        """The CUDA graph of one batch size, recorded on first use."""
        if size in self._captured:
            self._captured.move_to_end(size)
            return self._captured[size]
        context, graph = self._context(size), torch.cuda.CUDAGraph()
        # Once outside the graph: TensorRT allocates on the first run, which a capture forbids.
        self._enqueue(context, self._stream)
        self._stream.synchronize()
        with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
            self._enqueue(context, self._stream)
        self._captured[size] = _Captured(context, graph)
        while len(self._captured) > SIZES_KEPT:
            self._captured.popitem(last=False)
        return self._captured[size]

    def _context(self, size: int) -> trt.IExecutionContext:
        """An execution context with this batch size, the buffers and the scratch memory set."""
        context = self._engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        if context is None:
            raise self._failed("TensorRT cannot make an execution context:")
        context.set_device_memory(self._scratch.data_ptr(), self._scratch.numel())
        for port in self.manifest.inputs:
            shape = (size, *self._buffers[port.name].shape[1:])
            if not context.set_input_shape(port.name, shape):
                raise self._failed(f"TensorRT refuses a batch of {size}:")
        if missing := context.infer_shapes():
            raise self._failed(f"TensorRT misses the shape of {', '.join(missing)}:")
        for name, buffer in self._buffers.items():
            if not context.set_tensor_address(name, buffer.data_ptr()):
                raise self._failed(f"TensorRT refuses the memory of '{name}':")
        return context

    def _enqueue(self, context: trt.IExecutionContext, stream: torch.cuda.Stream) -> None:
        if not context.execute_async_v3(stream.cuda_stream):
            raise self._failed("TensorRT failed to run the engine:")

    def _check_ports(self) -> None:
        """The engine's own inputs and outputs are those its manifest declares."""
        actual = {}
        for index in range(self._engine.num_io_tensors):
            name = self._engine.get_tensor_name(index)
            is_input = self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT
            actual[name] = (is_input, TYPES.get(self._engine.get_tensor_dtype(name)), self._shape(name))
        graph = self.engine_manifest.graph
        expected = {
            port.name: (is_input, port.dtype, tuple(axis if isinstance(axis, int) else -1 for axis in port.axes))
            for ports, is_input in ((graph.inputs, True), (graph.outputs, False))
            for port in ports
        }
        if actual != expected:
            problem = f"its inputs and outputs are {actual} instead of {expected}"
            raise refused_engine(self.path, self.engine_manifest, [problem, *self._told()])

    def _shape(self, name: str) -> tuple[int, ...]:
        return tuple(self._engine.get_tensor_shape(name))

    def _told(self) -> list[str]:
        return [f"TensorRT: {line}" for line in self._lines.problems()]

    def _failed(self, what: str) -> ListedError:
        remedy = "use a smaller --batch; if that does not help, build the engine anew"
        return ListedError(what, self._told() or ("(it logged nothing)",), where=self.path, remedy=remedy)
