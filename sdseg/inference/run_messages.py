"""What a run says at its end: everything odd, what many inputs share said once."""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path

from sdseg.inference.find_inputs import REPORT
from sdseg.inference.run_files import STATISTICS
from sdseg.inference.run_record import RunLog

__all__ = ["grouped", "log_messages"]

log = logging.getLogger("sdseg.inference.predict")  # what the command says
FEW = 5  # inputs are named one by one; of more the first SHOWN
SHOWN = 3


def log_messages(run_log: RunLog, output: Path) -> None:
    """Log notes, empty masks and failures of a run, and how many inputs are done."""
    for line in grouped((record["input"], note) for record in run_log.done for note in record["notes"]):
        log.warning("%s", line)
    for line in grouped((record["input"], "the mask is empty") for record in run_log.done if record["empty"]):
        log.warning("%s", line)
    for line in grouped((one["input"], f"{one['problem']}; {one['remedy']}") for one in run_log.failures):
        log.error("%s", line)
    if unmeasured := sum("components" not in record for record in run_log.done):
        log.warning(
            "%s lacks components and intensities of %d of the inputs, done by an earlier version (--overwrite: again)",
            STATISTICS,
            unmeasured,
        )
    n_done, failed = len(run_log.done), len(run_log.failures)
    n_kept = sum(record["kept"] for record in run_log.done)
    log.info(
        "%d of %d inputs segmented%s, see %s",
        n_done,
        n_done + failed,
        f" ({n_kept} of them by an earlier run)" if n_kept else "",
        output / REPORT,
    )


def grouped(messages: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Lines `input: what`; what more than a few inputs share makes one line that names the first of them."""
    inputs: dict[str, list[str]] = defaultdict(list)
    for name, what in messages:
        inputs[what].append(name)
    for what, names in inputs.items():
        if len(names) <= FEW:
            yield from (f"{name}: {what}" for name in names)
        else:
            yield f"{len(names)} inputs ({', '.join(names[:SHOWN])}, …): {what}"
