"""What one training needs of memory and arithmetic, from its recipe, the image's size and the number of structures."""

from __future__ import annotations

from dataclasses import dataclass, replace

from sdseg.config.direct_network import DirectNetwork
from sdseg.config.network import Codec
from sdseg.config.recipe import Recipe
from sdseg.sizing import network_layouts
from sdseg.sizing.layer_costs import Tally

__all__ = ["Shape", "TrainingNeeds", "training_needs"]

PROCESS = 0.6e9  # bytes of Python with PyTorch, diffusers and accelerate, measured
GPU_PROCESS = 3.0e9  # the same with CUDA's libraries
GPU_CONTEXT = 0.6e9  # bytes on the GPU that are no tensor
WORKER = 0.5e9  # of a loader process
KEPT_SHARE = 1.2  # what is kept for the backward pass: 0.75 to 1.0 of it are counted (tests/sizing)
HALF = 0.65  # bytes that half precision leaves of that: normalisations stay in single precision
AT_ONCE = 6  # layer outputs alive at a time where nothing is kept for a backward pass


@dataclass(frozen=True)
class Shape:
    """What the data decide of a network."""

    size: int  # height and width of the images, pixels
    structures: int = 1


@dataclass(frozen=True)
class TrainingNeeds:
    """Of one process. Bytes are of the peak; `gpu_bytes` is 0 on the CPU."""

    parameters: int  # of the model, the mask decoder included
    trainable: int
    step_flops: int  # of one optimiser step over the whole batch, forward and backward
    image_flops: int  # of one image's inference: every reverse step, hypothesis and structure
    process_bytes: int
    gpu_bytes: int
    answer_bytes: int  # alive at a time while one image is segmented
    model_bytes: int  # of the model folder, in single precision
    state_bytes: int  # of one saved training state


def training_needs(
    recipe: Recipe, codec: Codec | None, shape: Shape, *, cuda: bool, processes: int = 1
) -> TrainingNeeds:
    """The needs of training `recipe` on images of this shape, on a GPU or on the CPU.

    They are estimates for choosing a machine; docs/benchmarks.md compares them with what was measured.
    """
    costs, training = _costs(recipe, codec, shape), recipe.training
    parameters, trainable = costs.image.parameters, costs.learnt.parameters
    images = training.batch // (training.accumulate * processes)
    half = training.precision != "no"
    weights = 4 * (2 * parameters + 3 * trainable)  # weights and their average; gradients, two moments of AdamW
    encoder = 4 * network_layouts.autoencoder(codec, codec.latent_channels, 32).parameters if codec else 0
    kept = 4 * KEPT_SHARE * (HALF if half else 1.0) * costs.step.kept * images
    shown = 4 * AT_ONCE * costs.image.largest * max(recipe.inference.batch, shape.structures)
    tensors = weights + encoder + max(kept + (2 * trainable if half else 0), shown)
    state = 4 * (2 * parameters + 2 * trainable)
    loaders = training.workers * WORKER
    return TrainingNeeds(
        parameters=parameters,
        trainable=trainable,
        step_flops=costs.step.flops * training.batch,
        image_flops=costs.image.flops,
        process_bytes=int(GPU_PROCESS + state + encoder + loaders if cuda else PROCESS + tensors + loaders),
        gpu_bytes=int(GPU_CONTEXT + 1.1 * tensors) if cuda else 0,
        answer_bytes=int(4 * AT_ONCE * costs.image.largest),
        model_bytes=4 * parameters,
        state_bytes=state,
    )


@dataclass(frozen=True)
class _Costs:
    learnt: Tally  # what is trained
    step: Tally  # one image in training, forward and backward
    image: Tally  # one image at inference; its parameters are those of the whole model


def _costs(recipe: Recipe, codec: Codec | None, shape: Shape) -> _Costs:
    network, inference = recipe.network, recipe.inference
    if isinstance(network, DirectNetwork):
        one = network_layouts.direct(network, shape.structures, shape.size)
        return _Costs(one, _repeated(one, 3), one)
    if codec is None:
        raise ValueError("a latent network needs the layout of its codec")
    latent, side = codec.latent_channels, shape.size // network.condition.factor
    encoder = network_layouts.condition_encoder(network.condition, shape.size)
    denoiser = network_layouts.denoiser(
        network.denoiser, latent, network.condition.latent_channels, shape.structures, side
    )
    decoder = network_layouts.decoder(codec, latent, shape.size)
    learns = network.condition.trainable
    correction = Tally()
    if network.decoder == "skips":
        correction = network_layouts.refinement(network.condition.block_out_channels[:-1], shape.size)
    step = _repeated(denoiser, 3) + (_repeated(encoder, 3) if learns else Tally(flops=encoder.flops))
    if recipe.diffusion is not None and recipe.diffusion.loss_mask:
        # Frozen, gradients pass through it, and its weights have none.
        through = _repeated(decoder, 3 if network.decoder == "trained" else 2) + _repeated(correction, 3)
        # The mean over both stages; memory is that of the second.
        share = 1.0 - recipe.diffusion.loss_mask_from / recipe.training.steps
        step += replace(through, flops=round(through.flops * share))
    if recipe.training.augmentation == "strong":  # masks are encoded at every step
        step += Tally(flops=network_layouts.autoencoder(codec, latent, shape.size).flops - decoder.flops)
    answers = inference.samples * shape.structures
    image = encoder + _repeated(denoiser, inference.steps * answers) + _repeated(decoder + correction, answers)
    learnt = (
        denoiser
        + correction
        + (encoder if learns else Tally())
        + (decoder if network.decoder == "trained" else Tally())
    )
    return _Costs(learnt, step, image)


def _repeated(one: Tally, passes: int) -> Tally:
    """The same network several times: a backward pass counts as two forward ones, and keeps nothing more."""
    return Tally(one.parameters, one.flops * passes, one.kept, one.largest)
