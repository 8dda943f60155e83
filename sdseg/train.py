"""Verb: slice store -> model folder, continuing where it was stopped."""

from __future__ import annotations

import logging
import shutil
import sys
import time
from contextlib import nullcontext
from pathlib import Path

from accelerate.utils import broadcast_object_list
from tqdm import tqdm

from sdseg.artifacts import ModelManifest, atomic_folder, make_folder
from sdseg.assembly import Inputs, build_run, check_possible, new_accelerator, open_inputs
from sdseg.config import OnEdit
from sdseg.data.store import SliceStore
from sdseg.errors import UserError
from sdseg.guard import Watch
from sdseg.identity import made_by, mark_finished, settle
from sdseg.journal import Journal
from sdseg.locks import writes
from sdseg.loop import Progress, Run, Step, averaged_segmenter, best_weights, keep, steps, validate
from sdseg.mask_rule import MaskRule
from sdseg.material import codec_ceiling
from sdseg.model.checkpoint import OWNED, count_parameters, read_tensors, save_model
from sdseg.model.segmenter import Segmenter
from sdseg.model.state import latest_state, restore
from sdseg.ownership import check_owned
from sdseg.provenance import provenance, source_of
from sdseg.recipes import Recipe
from sdseg.runtime.device import peak_memory, torch_device

__all__ = ["train"]

log = logging.getLogger("sdseg.train")


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
) -> None:
    """Train a recipe on the training split and write two model folders: the best on the validation split, and the last.

    `state` keeps what is needed to continue after an interruption. When settings were changed meanwhile, `on_edit` says
    what becomes of it; a finished run whose settings changed starts anew. `start_from` is the model folder to begin
    with (default: the recipe's). Started by `accelerate launch` or `torchrun`, each process takes its share of a batch.
    Raises UserError for a store, codec, model, device or number of processes that does not fit, for settings that
    changed, and when the loss or the weights are no longer finite.
    """
    # 1. Open what was prepared.
    torch_device(device)
    source_of("train")
    for place in (output, last):
        check_owned(place, OWNED)
        make_folder(place.parent)
    check_possible(recipe, device)
    make_folder(state)
    accelerator = new_accelerator(recipe, device)
    main = accelerator.is_main_process
    inputs = open_inputs(prepared, recipe, codec, start_from, accelerator.device)

    # 2. Build the run, as new or as it was.
    changed = broadcast_object_list([settle(state, inputs.described(recipe), on_edit) if main else ()])[0]
    run = build_run(recipe, inputs, accelerator, state)
    start, progress = _continued(run, edited=bool(changed))

    # 3. Train.
    with Journal(state / "training.jsonl", state / "tensorboard", start) if main else nullcontext() as journal:
        if journal and start:
            journal.write("resumed", start, changed=list(changed))
        made = _follow(run, start, progress, journal, quiet or not main)
        if journal:
            journal.write("done", made, reason=progress.stopped, seconds=round(progress.seconds, 1))

    # 4. Write the last and the best model.
    if main:
        manifest = _manifest(run, recipe_name, inputs, made, progress)
        _write_both(run, inputs, manifest, progress, (output, last))
        mark_finished(state, manifest.provenance)
        log.info("stopped at step %d of %d: %s", made, recipe.training.steps, progress.stopped)
        log.info(
            "best validation Dice %.4f at step %d; %.0f s", progress.best_dice, progress.best_step, progress.seconds
        )
    accelerator.wait_for_everyone()
    accelerator.end_training()


def _continued(run: Run, *, edited: bool) -> tuple[int, Progress]:
    """The step to go on from and what was carried along; 0 and nothing for a new run."""
    found = latest_state(run.state)
    if found is None:
        return 0, Progress()
    restore(found, run.parts())
    progress = Progress(**found.progress)
    if edited:
        progress.stopped = ""  # the new settings may say otherwise
    log.info("continuing after step %d of %d", found.step, run.recipe.training.steps)
    return found.step, progress


def _follow(run: Run, start: int, progress: Progress, journal: Journal | None, quiet: bool) -> int:
    """Go through the steps; log, validate and save states on the way. Returns the number of the last step made."""
    training, watch, made = run.recipe.training, Watch(run), start
    if start >= training.steps and not progress.stopped:
        progress.stopped = "steps"
    if progress.stopped:
        return made
    began = time.perf_counter() - progress.seconds
    every = 1.0 if sys.stderr.isatty() else 15.0  # a log file wants a line now and then, not ten a second
    shown = tqdm(
        steps(run, start, watch.see),
        desc="train",
        unit="step",
        total=training.steps,
        initial=start,
        disable=quiet,
        mininterval=every,
        maxinterval=every,
    )
    for step in shown:
        made = step.number
        progress.seconds = time.perf_counter() - began
        if made == training.steps:
            progress.stopped = "steps"
        if made % training.log_every == 0 or progress.stopped or made == 1:
            watch.catch_up()  # in every process: all stop at the same step
            if journal:
                loss = _log(step, journal, progress)
                shown.set_postfix(loss=f"{loss:.4f}", lr=f"{step.learning_rate:.1e}", refresh=False)
        if made % training.validate_every == 0 or progress.stopped:
            watch.settle(made)
            dice = validate(run, made, progress)
            if journal and dice is not None:
                journal.write("validation", made, dice=dice, best=progress.best_step == made)
        if made % training.checkpoint_every == 0 or progress.stopped:
            watch.settle(made)
            keep(run, made, progress)
        if progress.stopped:
            break
    return made


def _log(step: Step, journal: Journal, progress: Progress) -> float:
    losses = {name: float(term) for name, term in step.losses.items()}
    loss = sum(losses.values())
    values = {"learning_rate": step.learning_rate, "seconds": round(progress.seconds, 2)}
    journal.write("step", step.number, loss=loss, losses=losses, **values)
    return loss


def _manifest(run: Run, recipe_name: str, inputs: Inputs, made: int, progress: Progress) -> ModelManifest:
    store, used, begin = run.store.manifest, inputs.codec, inputs.begin
    split, batch = _split_to_judge(run.store), run.recipe.inference.batch
    rule = MaskRule(run.recipe.inference.threshold, store.exclusive)
    ceiling = codec_ceiling(run.store, split, used, rule, batch, run.accelerator.device) if used else None
    return ModelManifest(
        dataset=store.dataset,
        origin=store.origin,
        protocol=store.protocol,
        recipe_name=recipe_name,
        recipe=run.recipe.model_dump(mode="json"),
        codec=used.manifest.settings.model_dump(mode="json") if used else None,
        latent_scale=used.manifest.latent_scale if used else None,
        image=store.image,
        structures=store.structures,
        threshold=rule.threshold,
        exclusive=rule.exclusive,
        training={
            "steps": made,
            "stopped": progress.stopped,
            "batch": run.recipe.training.batch,
            "best_step": progress.best_step,
            "best_dice": progress.best_dice if progress.best_dice >= 0 else None,
            "seconds": round(progress.seconds, 1),
            "device": str(run.accelerator.device),
            "processes": run.accelerator.num_processes,
            "memory": peak_memory(str(run.accelerator.device)),  # of the first process, since it was last started
            "data_checksum": store.data_checksum,
            "started_from": {"recipe": begin.manifest.recipe_name, "sha256": begin.checksum} if begin else None,
            "codec_ceiling": {"dice": ceiling, "split": split} if ceiling is not None else None,
            "parameters": {name: count_parameters(part) for name, part in run.segmenter.parts().items()},
        },
        files={},
        # A finished run that is asked for again trains nothing: its weights are no younger for it.
        provenance=made_by(run.state) or provenance(("torch", "diffusers", "accelerate", "safetensors"), stage="train"),
    )


def _write_both(
    run: Run, inputs: Inputs, manifest: ModelManifest, progress: Progress, places: tuple[Path, Path]
) -> None:
    """The best and the last model, into `places`. Without a validation split the last is the best."""
    averaged, journal = averaged_segmenter(run), run.state / "training.jsonl"
    output, last = places
    _write(last, averaged, manifest, journal)
    if inputs.store.cases_of("val"):
        best = best_weights(run.state, progress)
        if not best.exists():
            raise UserError(
                f"the best weights, of step {progress.best_step}, are gone",
                where=best,
                remedy="remove the state folder",
            )
        averaged.load_state_dict(read_tensors(best))
    _write(output, averaged, manifest, journal)


def _write(output: Path, segmenter: Segmenter, manifest: ModelManifest, journal: Path) -> None:
    with atomic_folder(output, OWNED) as folder:
        save_model(folder, segmenter, manifest)
        shutil.copyfile(journal, folder / "training.jsonl")


def _split_to_judge(store: SliceStore) -> str:
    return "val" if store.cases_of("val") else "train"
