"""From a recipe to the segmenter that it describes, and what training alone adds to it."""

from __future__ import annotations

from sdseg.artifacts.image_contract import ImageContract
from sdseg.config.codec import Codec
from sdseg.config.direct_network import DirectNetwork, DynUnet
from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.config.network import LatentNetwork, check_codec
from sdseg.config.recipe import AnyNetwork, Recipe
from sdseg.core.errors import UserError
from sdseg.models.alignment import FeatureAlignment, VisionEncoder
from sdseg.models.codec import MaskDecoder
from sdseg.models.direct_segmenter import DirectSegmenter
from sdseg.models.end_to_end_segmenter import EndToEndSegmenter
from sdseg.models.label_classes import LabelClasses
from sdseg.models.latent_segmenter import LatentSegmenter
from sdseg.models.mask_head import ConvolutionalHead
from sdseg.models.segmenter import Segmenter
from sdseg.models.unets import DeepSupervision

__all__ = ["attach_training_parts", "build_segmenter"]


def build_segmenter(
    recipe: Recipe,
    image: ImageContract,
    structures: int,
    codec: Codec | None = None,
    scale: float | None = None,
    classes: LabelClasses | None = None,
) -> Segmenter:
    """The untrained segmenter that a recipe describes. The latent method needs the codec's layout and scale.

    `classes` are those of label maps, where the recipe denoises such; left out, no two structures overlap.
    """
    end_to_end = isinstance(recipe.network, EndToEndNetwork)
    if not end_to_end and (codec is None or codec.encodes != "labels"):
        classes = None
    elif classes is None:
        classes = LabelClasses.separate(structures)
    segmenter = _networks_of(recipe, image, structures, codec, scale, classes)
    segmenter.flips, segmenter.planes = recipe.inference.flips, image.planes
    segmenter.sliding_window = recipe.patches.window if recipe.patches is not None else None
    return segmenter


def _networks_of(
    recipe: Recipe,
    image: ImageContract,
    structures: int,
    codec: Codec | None,
    scale: float | None,
    classes: LabelClasses | None,
) -> Segmenter:
    if isinstance(recipe.network, DirectNetwork):
        patch = recipe.patches.size if recipe.patches is not None else None
        training = recipe.training
        return DirectSegmenter(recipe.network, image, structures, training.mask_loss, patch, recipe.distillation)
    if isinstance(recipe.network, EndToEndNetwork):
        if recipe.diffusion is None or classes is None:
            raise UserError("a method that denoises needs a process", remedy="give the recipe a section 'diffusion'")
        sides = recipe.sides(image.sides)
        method = (recipe.inference, classes, recipe.training.mask_loss)
        return EndToEndSegmenter(recipe.network, recipe.diffusion, image, sides, *method)
    if codec is None or scale is None or recipe.diffusion is None:
        raise UserError("a latent-diffusion recipe needs a mask codec", remedy="give the folder made by 'sdseg codec'")
    check_codec(recipe.network, codec.encodes, "the codec of the model", structures=structures)
    head, latent = recipe.network.mask_head, codec.latent_channels
    decoder = (
        MaskDecoder(codec, latent, scale, classes)
        if head is None
        else ConvolutionalHead(head, latent, codec.factor, scale, classes)
    )
    settings = (recipe.network, recipe.diffusion, image, structures, decoder, recipe.inference)
    return LatentSegmenter(*settings, recipe.training.mask_loss, classes, recipe.distillation)


def attach_training_parts(segmenter: Segmenter, network: AnyNetwork, structures: int) -> None:
    """Add what training alone has, where the recipe asks for it: alignment, deep supervision. After weights are loaded.

    Raises UserError for a vision encoder that cannot be used.
    """
    if isinstance(network, LatentNetwork) and isinstance(segmenter, LatentSegmenter) and network.alignment is not None:
        channels = network.denoiser.block_out_channels[-1]
        segmenter.alignment = FeatureAlignment(VisionEncoder(network.alignment), channels)
    if isinstance(network, DynUnet) and isinstance(segmenter, DirectSegmenter) and network.deep_supervision:
        segmenter.deep_supervision = DeepSupervision(network, structures)
