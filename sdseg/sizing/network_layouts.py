"""The networks of models/ (diffusers' and MONAI's blocks), layer by layer, as sums; none is built."""

from __future__ import annotations

from sdseg.config.codec import Autoencoder
from sdseg.config.direct_network import AnyDirectNetwork, BasicUnet, DynUnet, ResidualUnet
from sdseg.config.network import AnyConditionEncoder, AnyDenoiser, Denoiser, UnetConditionEncoder, UnetDenoiser
from sdseg.sizing.layer_costs import LayerCosts

__all__ = ["autoencoder", "condition_encoder", "decoder", "denoiser", "direct", "mask_head", "refinement"]

REFINED = 16  # channels of the refinement (models/refinement)


def condition_encoder(settings: AnyConditionEncoder, size: int) -> LayerCosts:
    """The image encoder with its projection, of an image of `size`² pixels."""
    latent, side, inputs = settings.latent_channels, size // settings.factor, 3 * (2 * settings.neighbours + 1)
    if isinstance(settings, UnetConditionEncoder):
        costs = _classic_way_down(settings.block_out_channels + settings.coarser_channels, size, inputs)
        costs.conv(settings.block_out_channels[-1], latent, side, kernel=1)
        return costs
    costs = _encoder(settings, latent, size, inputs)
    costs.conv(2 * latent, latent, side, kernel=1)
    return costs


def autoencoder(settings: Autoencoder, latent: int, size: int, channels: int = 3) -> LayerCosts:
    """The whole codec: encoder, decoder, and the 1×1 convolutions between them; `channels` of what it encodes."""
    costs = _encoder(settings, latent, size, channels) + decoder(settings, latent, size, channels)
    costs.conv(2 * latent, 2 * latent, size // settings.factor, kernel=1)
    return costs


def decoder(settings: Autoencoder, latent: int, size: int, outputs: int = 3) -> LayerCosts:
    """The half of the codec that turns a latent into a mask of `size`² pixels, or `outputs` logits of each."""
    costs, channels = LayerCosts(), settings.block_out_channels
    side, current = size // settings.factor, channels[-1]
    costs.conv(latent, latent, side, kernel=1)
    costs.conv(latent, current, side)
    _middle(costs, current, side, attention=settings.mid_block_attention)
    for level, width in enumerate(reversed(channels)):
        for _ in range(settings.layers_per_block + 1):
            current = costs.residual(current, width, side)
        if level < len(channels) - 1:
            side *= 2
            _resized(costs, current, side, stride=1)
    _end(costs, current, outputs, side)
    return costs


def mask_head(channels: tuple[int, ...], latent: int, side: int, outputs: int = 1) -> LayerCosts:
    """The convolutions from a latent of `side`² pixels to logits, a level for each entry of `channels`."""
    costs, current = LayerCosts(), latent
    for level, width in enumerate(channels):
        side *= 2 if level else 1
        current = costs.conv(current, width, side)
    costs.conv(current, outputs, side)
    return costs


def refinement(channels: tuple[int, ...], size: int, maps: int = 1) -> LayerCosts:
    """The correction of `maps` decoded masks of `size`² pixels from the encoder's levels, the finest first."""
    costs, side = LayerCosts(), size
    for count in channels:
        costs.conv(count, REFINED, side, kernel=1)
        side //= 2
    _two_convolutions(costs, REFINED + maps, REFINED, size)
    costs.conv(REFINED, maps, size, kernel=1)
    return costs


def denoiser(
    settings: AnyDenoiser, latent: int, condition: int, structures: int, side: int, coarser: tuple[int, ...] = ()
) -> LayerCosts:
    """The UNet on latents of `latent` channels and `side`² pixels, with whatever brings the condition in.

    `coarser`: channels of the condition's levels below the latent's size.
    """
    costs, widths = LayerCosts(), settings.block_out_channels
    if isinstance(settings, UnetDenoiser):
        costs, widths = _unet_denoiser(widths, latent + condition, latent, structures, side), widths[1:]
    for level, (count, width) in enumerate(zip(coarser, widths, strict=False), start=1):
        costs.conv(count, width, side >> level, kernel=1)
    if isinstance(settings, UnetDenoiser):
        return costs
    tokens = settings.context_tokens
    if settings.context == "constant":
        costs.parameters += tokens * settings.context_channels
    elif settings.context == "image":
        tokens = side**2
        costs.linear(condition, settings.context_channels, tokens)
    inputs = latent + (condition if settings.concatenate else 0)
    return costs + _unet(settings, inputs, latent, structures, side, tokens)


def _unet_denoiser(channels: tuple[int, ...], inputs: int, outputs: int, structures: int, side: int) -> LayerCosts:
    costs = _dyn_unet(channels, outputs, side, inputs)
    embedding = 4 * channels[0]
    costs.linear(channels[0], embedding)
    costs.linear(embedding, embedding)
    costs.parameters += structures * embedding if structures > 1 else 0
    for count in channels:
        costs.linear(embedding, count)
    return costs


def direct(settings: AnyDirectNetwork, structures: int, size: int) -> LayerCosts:
    """One of the U-Nets, from an image of `size`² pixels to one mask per structure."""
    if isinstance(settings, BasicUnet):
        return _basic_unet(settings.channels, structures, size)
    if isinstance(settings, DynUnet):
        return _dyn_unet(settings.channels, structures, size)
    return _residual_unet(settings, structures, size)


def _residual_unet(settings: ResidualUnet, structures: int, size: int) -> LayerCosts:
    costs, channels = LayerCosts(), settings.channels
    side, inputs = size, 3
    for level, outputs in enumerate(channels):
        stride = 2 if level < len(channels) - 1 else 1
        side //= stride
        _unit(costs, settings, inputs, outputs, side, stride, settings.residual_units)
        inputs = outputs
    for level in reversed(range(len(channels) - 1)):
        outputs = channels[level - 1] if level else structures
        side *= 2
        with costs.block((channels[level] + inputs) * (side // 2) ** 2):
            costs.transposed(channels[level] + inputs, outputs, side)
            if level or settings.residual_units:
                _normalised(costs, settings, outputs, side)
        if settings.residual_units:
            with costs.block(outputs * side**2):
                costs.conv(outputs, outputs, side)
                if level:
                    _normalised(costs, settings, outputs, side)
        inputs = outputs
    return costs


def _basic_unet(channels: tuple[int, ...], structures: int, size: int) -> LayerCosts:
    costs = _classic_way_down(channels, size)
    current, side = channels[-1], size >> (len(channels) - 1)
    for level in reversed(range(len(channels) - 1)):
        side *= 2
        up = costs.transposed(current, current if level == 0 else current // 2, side, kernel=2)
        _two_convolutions(costs, channels[level] + up, channels[level], side)
        current = channels[level]
    costs.conv(current, structures, side, kernel=1)
    return costs


def _dyn_unet(channels: tuple[int, ...], structures: int, size: int, inputs: int = 3) -> LayerCosts:
    costs, side, current = LayerCosts(), size, inputs
    for level, outputs in enumerate(channels):
        side //= 2 if level else 1
        _two_convolutions(costs, current, outputs, side, stride=2 if level else 1, bias=False)
        current = outputs
    for outputs in reversed(channels[:-1]):
        side *= 2
        costs.transposed(current, outputs, side, kernel=2, bias=False)
        _two_convolutions(costs, 2 * outputs, outputs, side, bias=False)
        current = outputs
    costs.conv(current, structures, side, kernel=1)
    return costs


def _classic_way_down(channels: tuple[int, ...], size: int, inputs: int = 3) -> LayerCosts:
    """The encoder of MONAI's `BasicUNet`."""
    costs, current, side = LayerCosts(), inputs, size
    for level, outputs in enumerate(channels):
        if level:
            side //= 2
            costs.pooled(current, side)
        _two_convolutions(costs, current, outputs, side)
        current = outputs
    return costs


def _two_convolutions(
    costs: LayerCosts, inputs: int, outputs: int, side: int, *, stride: int = 1, bias: bool = True
) -> None:
    """Each with a normalisation and a LeakyReLU, which works in place: its result is what the next layer keeps."""
    with costs.block(inputs * (side * stride) ** 2):
        for current, step in ((inputs, stride), (outputs, 1)):
            costs.conv(current, outputs, side, stride=step, bias=bias)
            costs.norm(outputs, side**2)


def _encoder(settings: Autoencoder, latent: int, size: int, inputs: int = 3) -> LayerCosts:
    costs, channels, side = LayerCosts(), settings.block_out_channels, size
    current = costs.conv(inputs, channels[0], side)
    for level, outputs in enumerate(channels):
        for _ in range(settings.layers_per_block):
            current = costs.residual(current, outputs, side)
        if level < len(channels) - 1:
            side //= 2
            _resized(costs, current, side, stride=2)
    _middle(costs, current, side, attention=settings.mid_block_attention)
    _end(costs, current, 2 * latent, side)
    return costs


def _unet(settings: Denoiser, inputs: int, outputs: int, structures: int, side: int, tokens: int) -> LayerCosts:
    """`UNet2DModel` in LDM's layout, or `UNet2DConditionModel` in Stable Diffusion's."""
    costs, channels = LayerCosts(), settings.block_out_channels
    ours, embedding, last = settings.architecture == "ldm", 4 * channels[0], len(channels) - 1
    costs.linear(channels[0], embedding)
    costs.linear(embedding, embedding)
    costs.parameters += structures * embedding if structures > 1 else 0
    current = costs.conv(inputs, channels[0], side)
    skips = [current]

    def block(count: int, level: int) -> int:
        channels_out = costs.residual(count, channels[level], side, embedding, shift=ours)
        if settings.attention[level]:
            _attends(costs, settings, channels_out, side, tokens)
        return channels_out

    for level in range(len(channels)):
        for _ in range(settings.layers_per_block):
            current = block(current, level)
            skips.append(current)
        if level < last:
            side //= 2
            _resampled(costs, current, side, embedding if ours else 0, stride=2)
            skips.append(current)
    costs.residual(current, current, side, embedding, shift=ours)
    _attends(costs, settings, current, side, tokens)
    costs.residual(current, current, side, embedding, shift=ours)
    for level in reversed(range(len(channels))):
        for _ in range(settings.layers_per_block + 1):
            current = block(current + skips.pop(), level)
        if level:
            side *= 2
            _resampled(costs, current, side, embedding if ours else 0, stride=1)
    _end(costs, current, outputs, side)
    return costs


def _resampled(costs: LayerCosts, channels: int, side: int, embedding: int, stride: int) -> None:
    """To another resolution: a residual block in LDM's layout, a convolution in Stable Diffusion's."""
    if embedding:
        costs.residual(channels, channels, side, embedding)
    else:
        _resized(costs, channels, side, stride=stride)


def _resized(costs: LayerCosts, channels: int, side: int, stride: int) -> None:
    """A convolution to half the size (stride 2), or behind an enlargement to twice (1): `side` is what it becomes."""
    before = 2 * side if stride == 2 else side // 2
    with costs.block(channels * before**2):
        costs.conv(channels, channels, side, stride=stride)


def _attends(costs: LayerCosts, settings: Denoiser, channels: int, side: int, tokens: int) -> None:
    with costs.block(channels * side**2):
        _attention_layers(costs, settings, channels, side, tokens)


def _attention_layers(costs: LayerCosts, settings: Denoiser, channels: int, side: int, tokens: int) -> None:
    own = side**2
    costs.norm(channels, own)
    if settings.architecture == "ldm":
        costs.attention(channels, own, own, channels)
        return
    costs.conv(channels, channels, side, kernel=1)
    for others, context in ((own, channels), (tokens, settings.context_channels)):
        costs.norm(channels, own)
        costs.attention(channels, own, others, context, bias=False)
    costs.norm(channels, own)
    costs.linear(channels, 8 * channels, own)
    costs.activation(12 * channels, own)  # of the gated unit: both halves, and their product
    costs.linear(4 * channels, channels, own)
    costs.conv(channels, channels, side, kernel=1)


def _middle(costs: LayerCosts, channels: int, side: int, *, attention: bool) -> None:
    costs.residual(channels, channels, side)
    if attention:
        with costs.block(channels * side**2):
            costs.norm(channels, side**2)
            costs.attention(channels, side**2, side**2, channels)
    costs.residual(channels, channels, side)


def _end(costs: LayerCosts, channels: int, outputs: int, side: int) -> None:
    costs.norm(channels, side**2)
    costs.activation(channels, side**2)
    costs.conv(channels, outputs, side)


def _unit(
    costs: LayerCosts, settings: ResidualUnet, inputs: int, outputs: int, side: int, stride: int, units: int
) -> None:
    """A step down of MONAI's `UNet`: a residual unit, or one convolution where there are none."""
    current = inputs
    with costs.block(inputs * (side * stride) ** 2):
        for number in range(max(units, 1)):
            costs.conv(current, outputs, side, stride=stride if number == 0 else 1)
            _normalised(costs, settings, outputs, side)
            current = outputs
        if units and (stride > 1 or inputs != outputs):
            costs.conv(inputs, outputs, side, kernel=3 if stride > 1 else 1, stride=stride)


def _normalised(costs: LayerCosts, settings: ResidualUnet, channels: int, side: int) -> None:
    costs.norm(channels, side**2, affine=settings.norm == "batch")
    costs.activation(channels, side**2)
    costs.parameters += 1  # of the PReLU
