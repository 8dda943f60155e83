"""`python -m sdseg <verb>`: which command a verb is, logging, and what an error ends in.

Heavy libraries load inside the verb that needs them.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from sdseg.cli.data_commands import download_command, folds_command, phantoms_command, prepare_command, split_command
from sdseg.cli.evaluate_command import evaluate_command
from sdseg.cli.export_command import export_command
from sdseg.cli.model_commands import (
    codec_command,
    convert_command,
    distill_command,
    ensemble_command,
    train_command,
)
from sdseg.cli.parser import Handler, build_parser
from sdseg.cli.predict_options import number_as_samples
from sdseg.cli.result_commands import (
    configure_command,
    doctor_command,
    estimate_command,
    predict_command,
    report_command,
)
from sdseg.core.errors import UserError
from sdseg.core.extras import needing
from sdseg.core.gpu_choice import choose_gpu
from sdseg.core.signals import Stopped, heeded

__all__ = ["HANDLERS", "main"]

HANDLERS: dict[str, Handler] = {
    "phantoms": phantoms_command,
    "download": download_command,
    "split": split_command,
    "folds": folds_command,
    "prepare": prepare_command,
    "codec": codec_command,
    "convert": convert_command,
    "train": train_command,
    "distill": distill_command,
    "ensemble": ensemble_command,
    "evaluate": evaluate_command,
    "export": export_command,
    "predict": predict_command,
    "report": report_command,
    "estimate": estimate_command,
    "configure": configure_command,
    "doctor": doctor_command,
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; return the exit status.

    0 done, 1 some inputs failed, 2 bad input, 130 interrupted, 143 ended by SIGTERM (129 by SIGHUP).
    """
    parsed = build_parser(HANDLERS).parse_args(number_as_samples(sys.argv[1:] if arguments is None else arguments))
    logging.basicConfig(
        level=logging.DEBUG if parsed.verbose else logging.INFO, format="%(levelname).1s %(name)s: %(message)s"
    )
    try:
        handler: Handler = parsed.handler
        if getattr(parsed, "device", None) is not None:
            parsed.device = choose_gpu(parsed.device)
        with heeded(), needing(f"'sdseg {parsed.verb}'", parsed.verb):
            return handler(parsed)
    except UserError as error:
        print(f"sdseg {parsed.verb}: error: {error}", file=sys.stderr)
        return 2
    except Stopped as stopped:
        print(f"sdseg {parsed.verb}: {stopped}", file=sys.stderr)
        return 128 + stopped.number
    except KeyboardInterrupt:
        print(f"sdseg {parsed.verb}: interrupted", file=sys.stderr)
        return 130
