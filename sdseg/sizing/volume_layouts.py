"""The networks on patches of volumes, layer by layer, as sums; none is built."""

from __future__ import annotations

from math import prod

from sdseg.config.direct_network import DynUnet
from sdseg.config.patches import Extent
from sdseg.sizing.layer_costs import LayerCosts

__all__ = ["dyn_unet"]


def dyn_unet(settings: DynUnet, structures: int, patch: Extent) -> LayerCosts:
    """nnU-Net's network, from a patch to one mask per structure."""
    kernels, strides = settings.levels(patch)
    costs, current, voxels = LayerCosts(), 3, prod(patch)
    for outputs, kernel, stride in zip(settings.channels, kernels, strides, strict=True):
        _two_convolutions(costs, (current, outputs), kernel, voxels, voxels // prod(stride))
        current, voxels = outputs, voxels // prod(stride)
    for level in reversed(range(1, len(settings.channels))):
        outputs, times = settings.channels[level - 1], prod(strides[level])
        _convolution(costs, (current, outputs), times, voxels, voxels, voxels * times)
        voxels *= times
        _two_convolutions(costs, (2 * outputs, outputs), kernels[level], voxels, voxels)  # MONAI: the kernel below
        current = outputs
    _convolution(costs, (current, structures), 1, voxels, voxels, voxels)
    costs.parameters += structures  # the bias, which this convolution alone has
    return costs


def _two_convolutions(costs: LayerCosts, channels: tuple[int, int], kernel: Extent, before: int, after: int) -> None:
    """From `before` to `after` voxels, each with a normalisation and a LeakyReLU, which works in place."""
    inputs, outputs = channels
    with costs.block(inputs * before):
        for current, voxels in ((inputs, before), (outputs, after)):
            _convolution(costs, (current, outputs), prod(kernel), voxels, after, after)
            costs.norm(outputs, after)


def _convolution(
    costs: LayerCosts, channels: tuple[int, int], kernel: int, inputs: int, applied: int, outputs: int
) -> None:
    """A kernel of so many voxels, from `inputs` to `outputs` voxels, multiplied `applied` times; the input is kept."""
    costs.parameters += channels[0] * channels[1] * kernel
    costs.flops += 2 * channels[0] * channels[1] * kernel * applied
    costs.kept += channels[0] * inputs
    costs.largest = max(costs.largest, channels[1] * outputs)
