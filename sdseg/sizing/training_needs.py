"""What one training needs of memory and arithmetic, from its recipe, the image's size and the number of structures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from sdseg.config.codec import Codec
from sdseg.config.direct_network import DirectNetwork, DynUnet
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.network import LatentNetwork
from sdseg.config.recipe import Recipe
from sdseg.core.bounded_types import sides_of
from sdseg.sizing import end_to_end_layout, network_layouts, volume_layouts
from sdseg.sizing.layer_costs import LayerCosts

__all__ = ["PartMemory", "Shape", "TrainingNeeds", "memory_by_part", "training_needs"]

PROCESS = 0.6e9  # bytes of Python with PyTorch, diffusers and accelerate, measured
GPU_PROCESS = 3.0e9  # the same with CUDA's libraries
GPU_CONTEXT = 0.6e9  # bytes on the GPU that are no tensor
WORKER = 0.5e9  # of a loader process
KEPT_SHARE = 1.2  # what is kept for the backward pass: 0.75 to 1.0 of it are counted (tests/sizing)
HALF = 0.65  # bytes that half precision leaves of that: normalisations stay in single precision
HALVED = ("bf16", "fp16")  # auto counts as single precision, which is enough on every machine
WHOLE = 3  # copies of a volume's probability alive at a time
AT_ONCE = 6  # layer outputs alive at a time where nothing is kept for a backward pass


@dataclass(frozen=True)
class Shape:
    """What the data decide of a network."""

    size: int | tuple[int, int]  # height and width of the images, pixels; one number for both
    structures: int = 1
    annotators: int = 1  # several: evaluation asks for every hypothesis, and not for their mean alone

    @property
    def sides(self) -> tuple[int, int]:
        """Height and width."""
        return sides_of(self.size)

    @property
    def square(self) -> int:
        """Side of the smallest square around an image. Networks are counted on it, and then on their `share` of it."""
        return max(self.sides)

    @property
    def share(self) -> float:
        """Of that square that the image takes; attention, which grows faster than pixels, is then counted too high."""
        return min(self.sides) / max(self.sides)

    def encoded(self, codec: Codec) -> int:
        """Channels of what the codec encodes: of a label map one per class, taken as one per structure."""
        return self.structures + 1 if codec.encodes == "labels" else 3

    def passes(self, network: LatentNetwork) -> int:
        """Of the denoiser and the decoder for all structures."""
        return 1 if network.classes == "joint" else self.structures


@dataclass(frozen=True)
class TrainingNeeds:
    """Of one process. Bytes are of the peak; `gpu_bytes` is 0 on the CPU."""

    parameters: int  # of the model, the mask decoder included
    trainable: int
    step_flops: int  # of one optimiser step over the whole batch, forward and backward
    image_flops: int  # of one image's inference: every flip, reverse step, hypothesis and structure
    process_bytes: int
    gpu_bytes: int
    answer_bytes: int  # alive at a time while one image is segmented
    model_bytes: int  # of the model folder, in single precision
    state_bytes: int  # of one saved training state

    def taught_by(self, teacher: TrainingNeeds, batch: int, images: int) -> TrainingNeeds:
        """With a model like `teacher`, which answers for a whole batch, `images` of it in this process at a time."""
        more = teacher.model_bytes + teacher.answer_bytes * images
        return replace(
            self,
            step_flops=self.step_flops + teacher.image_flops * batch,
            process_bytes=self.process_bytes + (0 if self.gpu_bytes else more),
            gpu_bytes=self.gpu_bytes + (more if self.gpu_bytes else 0),
        )


def training_needs(
    recipe: Recipe, codec: Codec | None, shape: Shape, *, cuda: bool, processes: int = 1
) -> TrainingNeeds:
    """The needs of training `recipe` on images of this shape, on a GPU or on the CPU.

    They are estimates for choosing a machine; docs/benchmarks.md compares them with what was measured.
    """
    parts, training = _parts(recipe, codec, shape), recipe.training
    parameters = sum(part.one.parameters for part in parts.values())
    trainable = sum(part.one.parameters for part in parts.values() if part.learns)
    images = training.batch // (training.accumulate * processes)
    memory = memory_by_part(recipe, codec, shape, images)
    weights, activations = sum(each.weights_bytes for each in memory), sum(each.kept_bytes for each in memory)
    encoder = 0
    if codec is not None:
        encoder = 4 * network_layouts.autoencoder(codec, codec.latent_channels, 32, shape.encoded(codec)).parameters
    largest = max(part.one.largest for part in parts.values())
    answer_bytes, answers = 4 * AT_ONCE * largest * recipe.inference.passes, 1.0
    validation_bytes = 4 * AT_ONCE * largest * max(recipe.inference.batch, shape.structures)
    if recipe.patches is not None:  # patch by patch into one volume, of as many slices as a slice has rows
        answers = recipe.patches.patches_per_slice(shape.sides)
        whole_bytes = 4 * WHOLE * shape.structures * shape.square * prod(shape.sides)
        validation_bytes = answer_bytes + whole_bytes
        answer_bytes += whole_bytes * (recipe.inference.samples if shape.annotators > 1 else 1)
    half = training.precision in HALVED
    tensors = weights + encoder + max(activations + (2 * trainable if half else 0), validation_bytes)
    state = 4 * (2 * parameters + 2 * trainable)
    step_flops = sum(part.one.flops * part.passes for part in parts.values())
    if codec is not None and training.deforms_masks:  # masks are encoded at every step
        latent, encoded = codec.latent_channels, shape.encoded(codec)
        whole, decoder = (
            each(codec, latent, shape.square, encoded).of_part(shape.share)
            for each in (network_layouts.autoencoder, network_layouts.decoder)
        )
        step_flops += whole.flops - decoder.flops
    loaders = training.workers * WORKER
    return TrainingNeeds(
        parameters=parameters,
        trainable=trainable,
        step_flops=round(step_flops * training.batch),
        image_flops=round(
            sum(part.one.flops * part.answers for part in parts.values()) * recipe.inference.passes * answers
        ),
        process_bytes=int(GPU_PROCESS + state + encoder + loaders if cuda else PROCESS + tensors + loaders),
        gpu_bytes=int(GPU_CONTEXT + 1.1 * tensors) if cuda else 0,
        answer_bytes=answer_bytes,
        model_bytes=4 * parameters,
        state_bytes=state,
    )


@dataclass(frozen=True)
class PartMemory:
    """What one network takes of the memory of a training."""

    part: str
    parameters: int
    weights_bytes: int  # weights and their average; where it learns, gradients and the two moments of AdamW
    kept_bytes: int  # for the backward pass, of all images that are computed at once


def memory_by_part(recipe: Recipe, codec: Codec | None, shape: Shape, images: int) -> tuple[PartMemory, ...]:
    """Bytes that the networks take while `images` images are computed at once, the mask encoder apart.

    With gradient checkpointing a line of its own says what the block takes that is being computed again.
    """
    training, parts = recipe.training, _parts(recipe, codec, shape)
    each = 4 * KEPT_SHARE * (HALF if training.precision in HALVED else 1.0) * images
    again = training.gradient_checkpointing
    memory = []
    for name, part in parts.items():
        activations = (part.one.kept_by_checkpoints if again else part.one.kept) if part.passes_back else 0
        weights = 4 * part.one.parameters * (5 if part.learns else 2)
        memory.append(PartMemory(name, part.one.parameters, weights, int(each * activations)))
    if again:
        block = max(part.one.largest_block for part in parts.values() if part.passes_back)
        memory.append(PartMemory("one block, computed again", 0, 0, int(each * block)))
    return tuple(memory)


@dataclass(frozen=True)
class _Part:
    """One network, of one image."""

    one: LayerCosts
    learns: bool = True
    passes_back: bool = True  # a gradient goes through it
    answers: int = 1  # how often it is called at inference
    share: float = 1.0  # of the steps in which it is called
    again: bool = False  # blocks are computed a second time

    @property
    def passes(self) -> float:
        """Arithmetic of a step in forward passes: of the gradients of inputs and of weights, each as much as one."""
        return self.share * (1 + self.passes_back * (1 + self.learns + self.again))


def _decoder(network: LatentNetwork, codec: Codec, side: int, shape: Shape) -> LayerCosts:
    latent, encoded = codec.latent_channels, shape.encoded(codec)
    if network.mask_head is not None:
        maps = encoded if codec.encodes == "labels" else 1
        return network_layouts.mask_head(network.mask_head.channels, latent, side, maps)
    return network_layouts.decoder(codec, latent, shape.square, encoded)


def _parts(recipe: Recipe, codec: Codec | None, shape: Shape) -> dict[str, _Part]:
    network, inference, again = recipe.network, recipe.inference, recipe.training.gradient_checkpointing
    if isinstance(network, DirectNetwork):
        if recipe.patches is not None and isinstance(network, DynUnet):
            return {"unet": _Part(volume_layouts.dyn_unet(network, shape.structures, recipe.patches.size), again=again)}
        return {
            "unet": _Part(
                network_layouts.direct(network, shape.structures, shape.square).of_part(shape.share), again=again
            )
        }
    if isinstance(network, EndToEndNetwork):
        classes, sides, answers = shape.structures + 1, recipe.sides(shape.sides), inference.samples
        parts = {
            "label encoder": _Part(end_to_end_layout.label_encoder(network, classes, sides), answers=0),
            "condition encoder": _Part(end_to_end_layout.image_condition(network, sides)),
            "denoiser": _Part(end_to_end_layout.spatial_unet(network, sides), answers=inference.steps * answers),
            "decoder": _Part(end_to_end_layout.label_decoder(network, classes, sides), answers=answers),
        }
        return {name: replace(part, again=again) for name, part in parts.items()}
    if codec is None or recipe.diffusion is None:
        raise ValueError("a latent network needs the layout of its codec")
    latent, side, condition = codec.latent_channels, shape.square // network.condition.factor, network.condition
    encoder = network_layouts.condition_encoder(condition, shape.square)
    passes, encoded = shape.passes(network), shape.encoded(codec)
    denoiser = network_layouts.denoiser(
        network.denoiser, latent, condition.latent_channels, passes, side, network.coarser_channels
    )
    answers, learns = inference.samples * passes, network.decoder in ("trained", "head")
    # In training the mask is decoded for its loss alone: through both stages in the mean; memory is that of the second.
    through = recipe.diffusion.loss_mask > 0
    share = 1.0 - recipe.diffusion.loss_mask_from / recipe.training.steps if through else 0.0
    probability = recipe.distillation is not None and recipe.distillation.probability > 0
    if probability:  # in every step, and once where both losses take it
        through, share = True, 1.0
    parts = {
        "condition encoder": _Part(encoder, condition.trainable, condition.trainable, again=again),
        "denoiser": _Part(denoiser, answers=inference.steps * answers, again=again),
        "decoder": _Part(_decoder(network, codec, side, shape), learns, through, answers, share, again),
    }
    if network.decoder == "skips":
        maps = encoded if codec.encodes == "labels" else 1
        refinement = network_layouts.refinement(condition.block_out_channels[:-1], shape.square, maps)
        parts["refinement"] = _Part(refinement, True, True, answers, share, again)
    return {name: replace(part, one=part.one.of_part(shape.share)) for name, part in parts.items()}
