"""Training, from a slice store to a model folder, continuing where it was stopped."""

from __future__ import annotations

import copy
import logging
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TypeVar, cast

from accelerate.utils import broadcast_object_list

from sdseg.artifacts.manifests import ModelManifest
from sdseg.artifacts.results.training import TrainingRecord
from sdseg.backends.device import peak_memory, torch_device
from sdseg.config.recipe import Recipe
from sdseg.config.run import OnEdit
from sdseg.core.errors import UserError
from sdseg.core.files import make_folder
from sdseg.core.leftovers import remove_leftovers
from sdseg.core.locks import writes
from sdseg.core.overwrite_checks import check_owned
from sdseg.core.provenance import provenance, source_of
from sdseg.data.mask_rule import MaskRule
from sdseg.data.patch_samples import median_spacing, with_spacing
from sdseg.data.store import SliceStore
from sdseg.models.model_folder import OWNED, count_parameters, read_tensors
from sdseg.models.start_from import Inputs, open_inputs
from sdseg.models.teacher import open_teacher
from sdseg.training.choose_postprocessing import settle_postprocessing
from sdseg.training.dataloader import codec_ceiling
from sdseg.training.finished_run import AddPostprocessing, keep_finished, rewrite, write_model
from sdseg.training.log import Journal
from sdseg.training.loop import training_loop
from sdseg.training.number_format import with_precision
from sdseg.training.resume import is_finished, made_by, settle, start_anew
from sdseg.training.setup import TrainingRun, build_run, check_possible, described, new_accelerator
from sdseg.training.state import TrainingProgress, latest_state, restore
from sdseg.training.training_folders import check_models_kept
from sdseg.training.validation import best_weights

__all__ = ["train"]

log = logging.getLogger("sdseg.training.train")
T = TypeVar("T")


@writes("output", "last", "state")
def train(
    *,
    prepared: Path,
    recipe_name: str,
    recipe: Recipe,
    codec: Path | None,
    output: Path,
    last: Path,
    state: Path,
    device: str = "cpu",
    quiet: bool = False,
    start_from: Path | None = None,
    on_edit: OnEdit = "refuse",
    fold: tuple[Path, int] | None = None,
    image_codec: Path | None = None,
    teacher: Path | None = None,
) -> None:
    """Train a recipe on the training split and write two model folders: the best on the validation split, and the last.

    `state` keeps what is needed to continue after an interruption. When settings were changed meanwhile, `on_edit` says
    what becomes of it; a finished run whose settings changed starts anew. `start_from` is the model folder to begin
    with (default: the recipe's). `fold` is a file of folds (data/folds.py) and the number of the one that validates,
    while the others train. `image_codec` is the one that the condition encoder is taken from, `teacher` the model
    folder to learn from (default: the recipe's), for a recipe with `distillation`. Started by `accelerate launch` or
    `torchrun`, each process takes its share of a batch. Raises UserError for a store, codec, model, device or number of
    processes that does not fit, for a folder to write that is, holds or lies in a model that is read, for settings that
    changed, and when the loss or the weights are no longer finite.
    """
    # 1. Open what was prepared.
    torch_device(device)
    source_of("training.train")
    check_models_kept(
        recipe,
        output=output,
        last=last,
        state=state,
        start_from=start_from,
        teacher=teacher,
        codec=codec,
        image_codec=image_codec,
    )
    for place in (output, last):
        check_owned(place, OWNED)
        make_folder(place.parent)
    check_possible(recipe, device)
    recipe = with_precision(recipe, device, state)
    accelerator = new_accelerator(recipe, device)
    main = accelerator.is_main_process
    inputs = open_inputs(prepared, recipe, codec, start_from, accelerator.device, fold, image_codec)
    recipe = with_spacing(recipe, inputs.store)
    taught_by = open_teacher(recipe, teacher, inputs, accelerator.device)

    # 2. Build the run, as new or as it was; one that is finished is written again.
    with _refused_without_trace(state):
        changed = _shared(lambda: settle(state, described(recipe, inputs, taught_by), on_edit), main=main)
        add_postprocessing = _postprocessing_added(inputs.store, recipe, accelerator.device.type)
        if _shared(lambda: _finished(state, recipe_name, recipe, (output, last), add_postprocessing), main=main):
            accelerator.end_training()
            return
        run = build_run(recipe, inputs, accelerator, state, taught_by)
    start, progress = _continued(run, edited=bool(changed))

    # 3. Train.
    with Journal(state / "training.jsonl", state / "tensorboard", start) if main else nullcontext() as journal:
        if journal and start:
            journal.write("resumed", start, changed=list(changed))
        step = training_loop(run, start, progress, journal, quiet=quiet or not main)
        if journal:
            journal.write("done", step, reason=progress.stopped, seconds=round(progress.seconds, 1))

    # 4. Write the last and the best model.
    if main:
        _write_both(
            run, _manifest(run, recipe_name, inputs, step, progress), progress, (output, last), add_postprocessing
        )
        log.info("stopped at step %d of %d: %s", step, recipe.training.steps, progress.stopped)
        log.info(
            "best validation Dice %.4f at step %d; %.0f s", progress.best_dice, progress.best_step, progress.seconds
        )
    accelerator.wait_for_everyone()
    accelerator.end_training()


@contextmanager
def _refused_without_trace(state: Path) -> Iterator[None]:
    """Make the state folder; one that is new goes again when the training is refused before anything is in it."""
    new = not state.exists()
    make_folder(state)
    remove_leftovers(state, within=True)
    try:
        yield
    except UserError:
        if new and not any(state.glob("latents-*.npy")):
            shutil.rmtree(state, ignore_errors=True)
        raise


def _shared(work: Callable[[], T], *, main: bool) -> T:
    """What the main process finds out, known to all."""
    return cast("T", broadcast_object_list([work() if main else None])[0])


def _postprocessing_added(store: SliceStore, recipe: Recipe, device: str) -> AddPostprocessing:
    return lambda manifest, segmenter: settle_postprocessing(manifest, segmenter, store, recipe.inference, device)


def _finished(
    state: Path, recipe_name: str, recipe: Recipe, places: tuple[Path, Path], add_postprocessing: AddPostprocessing
) -> bool:
    """Write a finished run again; False where there is none, or none that can be used: then the state is as new."""
    if not is_finished(state):
        return False
    rewritten = rewrite(state, recipe_name, recipe, places, add_postprocessing)
    if not rewritten:
        start_anew(state)
    return rewritten


def _continued(run: TrainingRun, *, edited: bool) -> tuple[int, TrainingProgress]:
    """The step to go on from and what was carried along; 0 and nothing for a new run."""
    state = latest_state(run.state)
    if state is None:
        return 0, TrainingProgress()
    restore(state, run.saved_objects())
    progress = TrainingProgress(**state.progress)
    if edited:
        progress.stopped = ""  # the new settings may say otherwise
    log.info("continuing after step %d of %d", state.step, run.recipe.training.steps)
    return state.step, progress


def _manifest(
    run: TrainingRun, recipe_name: str, inputs: Inputs, step: int, progress: TrainingProgress
) -> ModelManifest:
    store, codec, start = run.store.manifest, inputs.codec, inputs.start
    split, batch = _split_to_judge(run.store), run.recipe.inference.batch
    rule = MaskRule(run.recipe.inference.threshold, store.exclusive)
    ceiling = codec_ceiling(run.store, split, codec, rule, batch, run.accelerator.device) if codec else None
    return ModelManifest(
        dataset=store.dataset,
        origin=store.origin,
        protocol=store.protocol,
        recipe_name=recipe_name,
        recipe=run.recipe.model_dump(mode="json"),
        codec=codec.manifest.settings.model_dump(mode="json") if codec else None,
        latent_scale=codec.manifest.latent_scale if codec else None,
        image=store.image.model_copy(update={"spacing": median_spacing(run.store) if run.recipe.patches else None}),
        structures=store.structures,
        exclusive=rule.exclusive,
        training=TrainingRecord.checked(
            steps=step,
            stopped=progress.stopped,
            batch=run.recipe.training.batch,
            best_step=progress.best_step,
            best_dice=progress.best_dice if progress.best_dice >= 0 else None,
            seconds=round(progress.seconds, 1),
            cpu_seconds=round(progress.cpu_seconds, 1),
            device=str(run.accelerator.device),
            processes=run.accelerator.num_processes,
            memory=peak_memory(str(run.accelerator.device)),  # of the first process, since it was last started
            data_checksum=store.data_checksum,
            fold=inputs.fold,
            started_from=start.record if start else None,
            teacher=run.teacher.start.record if run.teacher else None,
            codec_ceiling={"dice": ceiling, "split": split} if ceiling is not None else None,
            parameters={name: count_parameters(part) for name, part in run.segmenter.parts().items()},
        ).content(),
        files={},
        # A finished run that is asked for again trains nothing: its weights are no younger for it.
        provenance=made_by(run.state)
        or provenance(("torch", "diffusers", "accelerate", "safetensors"), stage="training.train"),
    )


def _write_both(
    run: TrainingRun,
    manifest: ModelManifest,
    progress: TrainingProgress,
    places: tuple[Path, Path],
    add_postprocessing: AddPostprocessing,
) -> None:
    """The best and the last model, into `places`; the state shrinks. Without validation cases the last is the best."""
    last, journal = run.averaged, run.state / "training.jsonl"
    best = last
    if run.store.cases_of("val"):
        weights = best_weights(run.state, progress)
        if not weights.exists():
            raise UserError(
                f"the best weights, of step {progress.best_step}, are gone",
                where=weights,
                remedy="remove the state folder",
            )
        best = copy.deepcopy(last)
        best.load_state_dict(read_tensors(weights))
    for place, segmenter in zip(places, (best, last), strict=True):
        write_model(place, segmenter, add_postprocessing(manifest, segmenter), journal)
    keep_finished(run.state, places, (best, last))


def _split_to_judge(store: SliceStore) -> str:
    return "val" if store.cases_of("val") else "train"
