"""The networks that are trained as one (models/end_to_end_networks, models/spatial_unet), layer by layer, as sums."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

from sdseg.config.end_to_end_network import EndToEndNetwork
from sdseg.sizing.layer_costs import LayerCosts

__all__ = ["image_condition", "label_decoder", "label_encoder", "spatial_unet"]

# Sums below take numbers of pixels, or of voxels, in place of sides: levels halve every axis.


def label_encoder(network: EndToEndNetwork, classes: int, sides: Sequence[int]) -> LayerCosts:
    """Of a map of so many classes, as large as `sides` say."""
    costs, pixels, fewer = LayerCosts(), prod(sides), 2**network.dimensions
    current = 1 if network.label_encoder.input == "index" else classes
    for level, count in enumerate(network.label_encoder.channels):
        before = pixels
        if level:
            pixels //= fewer
        if level and network.dimensions == 2:  # max pooling: its input is kept, and where each maximum stood (64 bits)
            costs.kept += current * (before + 2 * pixels)
            before = pixels
        _residual(costs, network, current, count, before, pixels)
        current = count
    _conv(costs, current, network.latent_channels, pixels)
    return costs


def image_condition(network: EndToEndNetwork, sides: Sequence[int]) -> LayerCosts:
    """The image encoder, of an image as large as `sides` say."""
    layout, costs, pixels, current = network.image_encoder, LayerCosts(), prod(sides), 3
    for level, count in enumerate(layout.channels):
        before = pixels
        pixels //= 2**network.dimensions if level else 1
        with costs.block(current * before):
            _conv(costs, current, count, pixels, _kernel(network), before)
            if level:
                costs.norm(count, pixels)
            _swish(costs, count, pixels)
        if layout.attention[level]:
            _attends(costs, count, pixels)
        current = count
    _conv(costs, current, layout.latent_channels, pixels)
    _swish(costs, layout.latent_channels, pixels)
    costs.norm(layout.latent_channels, pixels)
    return costs


def spatial_unet(network: EndToEndNetwork, sides: Sequence[int]) -> LayerCosts:
    """The denoiser, of an image as large as `sides` say."""
    costs, settings, kernel = LayerCosts(), network.denoiser, _kernel(network)
    _, *latent = network.latent_shape(sides)
    pixels, fewer, channels = prod(latent), 2**network.dimensions, settings.block_out_channels
    embedding = 4 * channels[0]
    costs.linear(channels[0], embedding)
    costs.linear(embedding, embedding)
    entering = network.latent_channels + network.image_encoder.latent_channels
    current = _conv(costs, entering, channels[0], pixels, kernel)
    skips = [current]

    def block(inputs: int, outputs: int, *, attends: bool) -> int:
        with costs.block(inputs * pixels):
            costs.norm(inputs, pixels)
            costs.activation(inputs, pixels)
            _conv(costs, inputs, outputs, pixels, kernel)
            costs.linear(embedding, outputs)
            costs.norm(outputs, pixels)
            costs.activation(outputs, pixels)
            _conv(costs, outputs, outputs, pixels, kernel)
            if inputs != outputs:
                _shortcut(costs, inputs, outputs, pixels)
        if attends:
            _attends(costs, outputs, pixels)
        return outputs

    for level, count in enumerate(channels):
        for _ in range(settings.layers_per_block):
            current = block(current, count, attends=settings.attention[level])
            skips.append(current)
        if level < len(channels) - 1:
            pixels //= fewer
            skips.append(_conv(costs, current, current, pixels, kernel, pixels * fewer))
    for attends in (True, False):
        block(current, current, attends=attends)
    for level in reversed(range(len(channels))):
        for _ in range(settings.layers_per_block + 1):
            current = block(current + skips.pop(), channels[level], attends=settings.attention[level])
        if level:
            pixels *= fewer
            _conv(costs, current, current, pixels, kernel)
    costs.norm(current, pixels)
    costs.activation(current, pixels)
    _conv(costs, current, network.latent_channels, pixels, kernel)
    return costs


def label_decoder(network: EndToEndNetwork, classes: int, sides: Sequence[int]) -> LayerCosts:
    """From a latent to a logit of each class for each pixel of an image as large as `sides` say."""
    costs, current, (_, *latent) = LayerCosts(), network.latent_channels, network.latent_shape(sides)
    pixels = prod(latent)
    for count in network.label_decoder.channels:
        before, pixels = pixels, pixels * 2**network.dimensions
        _conv(costs, current, count, before, _kernel(network))  # transposed: multiplied once per pixel of its input
        costs.largest = max(costs.largest, count * pixels)
        current = _residual(costs, network, count, count, pixels, pixels)
    _conv(costs, current, classes, pixels)
    if network.norm == "batch":
        costs.norm(classes, pixels)
    return costs


def _kernel(network: EndToEndNetwork) -> int:
    """Pixels of a 3×3 or a 3×3×3 kernel."""
    return int(3**network.dimensions)


def _conv(costs: LayerCosts, inputs: int, outputs: int, pixels: int, kernel: int = 1, before: int = 0) -> int:
    """A convolution to `pixels`, from `before` where that is another number; its input is kept. Gives `outputs`."""
    costs.parameters += outputs * (inputs * kernel + 1)
    costs.flops += 2 * outputs * inputs * kernel * pixels
    costs.kept += inputs * (before or pixels)
    costs.largest = max(costs.largest, outputs * pixels)
    return outputs


def _residual(costs: LayerCosts, network: EndToEndNetwork, inputs: int, outputs: int, before: int, pixels: int) -> int:
    """MONAI's `ResidualUnit` of two convolutions, the first of which may be strided. Gives `outputs`."""
    kernel = _kernel(network)
    with costs.block(inputs * before):
        for current, entering in ((inputs, before), (outputs, pixels)):
            _conv(costs, current, outputs, pixels, kernel, entering)
            costs.norm(outputs, pixels)
            _swish(costs, outputs, pixels)
        if before != pixels:
            _conv(costs, inputs, outputs, pixels, kernel, before)
            costs.kept -= inputs * before
        elif inputs != outputs:
            _shortcut(costs, inputs, outputs, pixels)
    return outputs


def _shortcut(costs: LayerCosts, inputs: int, outputs: int, pixels: int) -> None:
    """A 1×1 convolution beside others; its input is kept by one of them already."""
    _conv(costs, inputs, outputs, pixels)
    costs.kept -= inputs * pixels


def _swish(costs: LayerCosts, channels: int, pixels: int) -> None:
    """A product of its input and the sigmoid of it: both are kept."""
    costs.activation(2 * channels, pixels)


def _attends(costs: LayerCosts, channels: int, pixels: int) -> None:
    with costs.block(channels * pixels):
        costs.norm(channels, pixels)
        costs.attention(channels, pixels, pixels, channels)
