"""Images, volumes and DICOM series of one's own -> masks in their own size and geometry, with a report of the run."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from sdseg.artifacts.image_contract import Structure
from sdseg.backends.open_model import Served
from sdseg.core.errors import UserError
from sdseg.core.provenance import provenance, version_of
from sdseg.inference.anatomical_codes import anatomical_code
from sdseg.inference.choose_model import choose_models, warn_of_origin, with_masks_by
from sdseg.inference.choose_tiles import with_tiles_by
from sdseg.inference.find_inputs import InputFile, InputListing, find_inputs, printable
from sdseg.inference.group_channels import Channels, by_channel
from sdseg.inference.hypotheses import hypotheses_given
from sdseg.inference.label_files import itk_snap_lines, slicer_lines
from sdseg.inference.output_folder import locked_output, remove_half_written
from sdseg.inference.pipeline import PredictOptions, Stages, input_groups
from sdseg.inference.run_files import ITK_SNAP, SLICER, STATISTICS, check_ours
from sdseg.inference.run_messages import grouped, log_messages
from sdseg.inference.run_record import RunLog
from sdseg.inference.structure_statistics import statistics_lines
from sdseg.inference.threads import overlapped
from sdseg.inference.write_outputs import has_label_map, probability_kinds

__all__ = ["PredictOptions", "predict"]

log = logging.getLogger(__name__)
Lines = Callable[[list[dict[str, Any]]], Iterable[str]]  # of a file, from the records of all inputs
PACKAGES = (
    "torch",
    "onnxruntime",
    "onnxruntime-gpu",
    "openvino",
    "tensorrt-cu13",
    "nibabel",
    "simpleitk",
    "opencv-python-headless",
    "pydicom",
    "highdicom",
)
OVERLAP = (
    "structures may overlap: 'pixels' counts each of them whole, 'label_map' what the file of labels shows, which is "
    "the inner one of two that lie in each other, else the later one"
)
UNMENDED = (
    "masks are post-processed; probabilities are written as they were before that, and may exceed the "
    "threshold where a mask is empty"
)
SILENCE = 60.0  # seconds between two lines of progress where no bar can be drawn, as in the log of a cluster's job


def predict(
    model: Path | Sequence[Path],
    inputs: Sequence[Path],
    output: Path,
    device: str = "auto",
    options: PredictOptions | None = None,
) -> int:
    """Segment files and write `<name>_mask` for each and predict.json for all; continues where a run was cut off.

    Masks have the input's own size; those of volumes its shape, affine and orientation too. One structure: 0 and 255
    in images, 0 and 1 in volumes. Several: 0 for background and k for the k-th structure of the model. Structures that
    exclude each other do so by the model's own rule (data/mask_rule.py), as when it was scored; of others the label
    map shows the inner one, else the later one. DICOM segmentation objects have a segment per structure.

    Parameters
    ----------
    model: a model folder, an .onnx or .engine file, or a results folder: the best for this machine is taken. Of
        several the probabilities are averaged.
    inputs: images for an RGB model, volumes and DICOM series for a CT model, patterns, or folders of them. Of a model
        of several channels the files of each, told by their names (group_channels.py); or none, with
        `options.channels`.
    output: folder to write into; results of the same inputs are replaced, other files are left alone. An input whose
        result would replace a file that no run wrote, or that was changed since, fails (unless `overwrite`); so does
        one whose result would replace an input.
    device: 'cpu', 'cuda', 'auto' for the GPU where the model's runtime can use one; for graphs also 'openvino' and
        'openvino-bf16'.

    Returns 0, or 1 when a file could not be segmented: it is named at the end and in predict.json, the others are
    done. Raises UserError when nothing can be done at all: no model, no such device, no place to write (any more).
    """
    started, options = time.perf_counter(), options or PredictOptions()
    logging.getLogger("highdicom").setLevel(logging.WARNING)  # it tells of every header it copies
    if options.samples is not None and not options.hypotheses:
        raise UserError(
            f"{options.samples} samples, and no hypotheses", where="--samples", remedy="say --hypotheses as well"
        )
    if options.batch < 1:
        raise UserError(f"a batch of {options.batch} slices", where="--batch", remedy="give 1 or more")
    with locked_output(output):
        # 1. The model and the files.
        models = [model] if isinstance(model, Path) else model
        chosen = choose_models(models, device, options.samples, hypotheses=options.hypotheses)
        log.info("model %s on %s: %s", chosen.served.path, chosen.served.backend.name, chosen.reason)
        warn_of_origin(chosen.served)
        chosen = with_masks_by(chosen, **_rule_by_user(options))
        chosen = replace(chosen, served=with_tiles_by(chosen.served, options.tiles, options.overlap))
        if options.probability and chosen.served.rule.postprocesses:
            log.warning("%s", UNMENDED)
        if options.hypotheses:
            log.info("%d hypotheses of each input", hypotheses_given(chosen.served))  # or why there are none
        run_log = RunLog(output)
        served = chosen.served
        if options.channels and inputs:
            what = f"inputs ({inputs[0]}, …) beside those of --channel"
            raise UserError(what, where="--channel", remedy="give the files of each channel, or inputs, not both")
        channels = Channels(served.image.channel_names, by_channel(options.channels))
        listing = find_inputs(
            inputs, output, run_log.earlier_results, served.words, options.naming, served.image.modality, channels
        )
        beside = _files_beside(listing.inputs, chosen.served)
        if not options.overwrite:
            check_ours(output, beside, run_log.run_files)
        for problem in listing.problems:
            run_log.fail(problem)
        for line in grouped((printable(path), reason) for path, reason in listing.skipped):
            log.info("left out: %s", line)
        _say_uncoded(listing.inputs, chosen.served.structures)
        remove_half_written(output, (file.name for file in listing.inputs))

        # 2. Read, compute and write, at the same time.
        stages = Stages(chosen, output, options, run_log, listing.inputs)
        try:
            _segment_all(stages, listing.inputs)
        except KeyboardInterrupt:
            log.warning("%d of %d inputs are done; the same command continues", len(run_log.done), len(listing.inputs))
            raise

        # 3. The report, and what went wrong.
        report = _report(stages, listing, time.perf_counter() - started)
        if not options.overwrite:
            check_ours(output, beside, run_log.run_files)  # hours may have passed
        run_log.close(
            report,
            [file.key for file in listing.inputs],
            lambda records: {name: lines(records) for name, lines in beside.items()},
        )
        log_messages(run_log, output)
    return 1 if run_log.failures else 0


def _segment_all(stages: Stages, files: Sequence[InputFile]) -> None:
    """Everything that no earlier run has done."""
    options = stages.options
    todo = [file for file in files if options.overwrite or not stages.kept(file)]
    if len(todo) < len(files):
        log.info("%d of %d inputs are done already (--overwrite: again)", len(files) - len(todo), len(files))
    ahead = 1 if options.probability or options.hypotheses else 2  # they take many times the memory of masks
    done, last_line = 0, time.monotonic()
    unit = "slice" if stages.chosen.served.image.tiles is None else "tile"
    with tqdm(total=len(todo), desc="predict", unit="file", disable=None) as bar:

        def slices(now: int, of: int) -> None:
            bar.set_postfix_str(f"{unit} {now} of {of}" if now < of else "")

        compute = partial(stages.compute, progress=slices)
        # Closed at once when a run is interrupted: what is being written then is written before it is counted.
        with closing(
            overlapped(input_groups(todo, options.batch), stages.read, compute, stages.write, ahead)
        ) as counts:
            for count in counts:
                bar.update(count)
                done += count
                if bar.disable and time.monotonic() - last_line > SILENCE:
                    log.info("%d of %d inputs", done, len(todo))
                    last_line = time.monotonic()


def _rule_by_user(options: PredictOptions) -> dict[str, bool | None]:
    return {
        "exclusive": options.exclusive,
        "largest_component": options.keep_largest,
        "fill_holes": options.fill_holes,
    }


def _say_uncoded(files: Sequence[InputFile], structures: tuple[Structure, ...]) -> None:
    """Name the structures that segmentation objects have no code of SNOMED CT for."""
    uncoded = [one.name for one in structures if anatomical_code(one.name) is None]
    if uncoded and any(file.kind == "series" and file.naming == "sdseg" for file in files):
        log.warning("no code of SNOMED CT is known for %s: DICOM names them by codes of our own", ", ".join(uncoded))


def _files_beside(files: Sequence[InputFile], served: Served) -> dict[str, Lines]:
    """The files of the whole run, by name: what makes their lines of the records of inputs."""
    names = [one.name for one in served.structures]
    fitting = [file for file in files if (file.kind == "image") == (served.image.modality == "rgb")]
    beside: dict[str, Lines] = {STATISTICS: statistics_lines}
    if any(has_label_map(file, served.structures) for file in fitting):
        beside |= {SLICER: lambda _: slicer_lines(names), ITK_SNAP: lambda _: itk_snap_lines(names)}
    return beside


def _report(stages: Stages, listing: InputListing, seconds: float) -> dict[str, Any]:
    """What predict.json says of the run as a whole."""
    served = stages.chosen.served
    names = [one.name for one in served.structures]
    return {
        "model": {
            "path": str(served.path),
            "checksum": served.checksum,
            "dataset": served.dataset,
            "origin": served.origin,
            "recipe": served.recipe,
            "chosen": stages.chosen.reason,
        },
        "backend": served.backend.name,
        "device": stages.chosen.device,
        "threshold": served.rule.threshold,
        "exclusive": served.rule.exclusive,
        "postprocessing": {"largest_component": served.rule.largest_component, "fill_holes": served.rule.fill_holes},
        "rule_by_user": {key: value for key, value in _rule_by_user(stages.options).items() if value is not None},
        "overlap": None if stages.one_label_each else OVERLAP,
        "values": {str(number): name for number, name in enumerate(names, start=1)},
        "label_ids": {str(number): list(one.values) for number, one in enumerate(served.structures, start=1)},
        "probabilities": dict(zip(probability_kinds(served.structures), names, strict=True)),
        "seconds": seconds,
        "provenance": provenance(tuple(name for name in PACKAGES if version_of(name))),
        "skipped": [{"input": printable(path), "reason": reason} for path, reason in listing.skipped],
    }
