"""A loss or weights that are NaN, infinite or too large stop the training before they reach a file."""

from __future__ import annotations

import math
from collections import deque

import torch
from torch import Tensor, nn

from sdseg.core.errors import ListedError
from sdseg.training.setup import TrainingRun
from sdseg.training.state import latest_state

__all__ = ["DivergenceWatch", "cases_of_step"]


class DivergenceWatch:
    """Looks at the loss of every step: on the CPU at once, on a GPU one step late, so that no step waits for it.

    Parameters
    ----------
    lag: steps whose losses may wait to be looked at; default as above.
    """

    def __init__(self, run: TrainingRun, lag: int | None = None) -> None:
        self._run = run
        self._cuda = run.accelerator.device.type == "cuda"
        self._lag = int(self._cuda) if lag is None else lag
        self._pending: deque[tuple[int, Tensor, torch.cuda.Event | None]] = deque()

    def see(self, step: int, losses: dict[str, Tensor]) -> None:
        """Take in the losses of a step. Raises ListedError when one is not finite or exceeds `training.loss_limit`."""
        total = torch.stack(list(losses.values())).sum()
        event = None
        if self._cuda:
            host = torch.empty((), dtype=total.dtype, pin_memory=True)
            total = host.copy_(total, non_blocking=True)
            event = torch.cuda.Event()  # type: ignore[no-untyped-call]
            event.record()
        self._pending.append((step, total, event))
        self._check(self._lag)

    def check_losses(self) -> None:
        """Look at the losses that still wait: call it before any of them is logged."""
        self._check(0)

    def check_weights(self, step: int) -> None:
        """Look at what is still waiting, and at all weights: call it before any are judged or written."""
        self.check_losses()
        for module in (self._run.segmenter, self._run.average):
            if not _finite(module):
                raise self._error(step, f"the weights are no longer finite after step {step}")

    def _check(self, waiting: int) -> None:
        limit = self._run.recipe.training.loss_limit
        while len(self._pending) > waiting:
            step, total, event = self._pending.popleft()
            if event is not None:
                event.synchronize()
            loss = float(total)
            if not math.isfinite(loss):
                raise self._error(step, f"the loss is {loss} at step {step}")
            if limit is not None and loss > limit:
                raise self._error(step, f"the loss is {loss:.4g} at step {step}, above training.loss_limit ({limit:g})")

    def _error(self, step: int, what: str) -> ListedError:
        last_good = latest_state(self._run.state)
        return ListedError(
            f"{what}; the cases of its batch:",
            cases_of_step(self._run, step),
            where=f"{last_good.folder} (last good state, step {last_good.step})"
            if last_good
            else f"{self._run.state} (no state yet)",
            remedy="look at these cases; lower optimiser.learning_rate or set training.precision: no, and train again "
            "with '--on-edit continue' (from the last good state) or '--on-edit restart'",
        )


def cases_of_step(run: TrainingRun, step: int) -> tuple[str, ...]:
    """Names of the cases that optimiser step 1, 2, … is made from, over all processes; slices of volumes by number."""
    samples, batch = run.data.samples, run.recipe.training.batch
    rows = {samples.rows_at(place) for place in range((step - 1) * batch, step * batch)}
    return tuple(
        f"{case.case}, {_slices(first - case.start, last - case.start)}" if case.slices > 1 else case.case
        for first, last in sorted(rows)
        for case in run.store.cases
        if case.start <= first < case.start + case.slices
    )


def _slices(first: int, last: int) -> str:
    return f"slice {first}" if first == last else f"slices {first} to {last}"


@torch.no_grad()
def _finite(module: nn.Module) -> bool:
    tensors = [value for value in module.state_dict().values() if value.is_floating_point() and value.numel()]
    return bool(torch.isfinite(torch.stack(torch._foreach_norm(tensors, float("inf")))).all())
