"""The networks of models/ (diffusers' and MONAI's blocks), layer by layer, as sums; none is built."""

from __future__ import annotations

from sdseg.config.direct_network import AnyDirectNetwork, BasicUnet, DynUnet, ResidualUnet
from sdseg.config.network import AnyConditionEncoder, Autoencoder, Denoiser, UnetConditionEncoder
from sdseg.sizing.layer_costs import Tally

__all__ = ["autoencoder", "condition_encoder", "decoder", "denoiser", "direct", "refinement"]

REFINED = 16  # channels of the refinement (models/refinement)


def condition_encoder(settings: AnyConditionEncoder, size: int) -> Tally:
    """The image encoder with its projection, of an image of `size`² pixels."""
    latent, side = settings.latent_channels, size // settings.factor
    if isinstance(settings, UnetConditionEncoder):
        found = _classic_way_down(settings.block_out_channels, size)
        found.conv(settings.block_out_channels[-1], latent, side, kernel=1)
        return found
    found = _encoder(settings, latent, size)
    found.conv(2 * latent, latent, side, kernel=1)
    return found


def autoencoder(settings: Autoencoder, latent: int, size: int) -> Tally:
    """The whole codec: encoder, decoder, and the 1×1 convolutions between them."""
    found = _encoder(settings, latent, size) + decoder(settings, latent, size)
    found.conv(2 * latent, 2 * latent, size // settings.factor, kernel=1)
    return found


def decoder(settings: Autoencoder, latent: int, size: int) -> Tally:
    """The half of the codec that turns a latent into a mask of `size`² pixels."""
    found, channels = Tally(), settings.block_out_channels
    side, current = size // settings.factor, channels[-1]
    found.conv(latent, latent, side, kernel=1)
    found.conv(latent, current, side)
    _middle(found, current, side, attention=settings.mid_block_attention)
    for level, outputs in enumerate(reversed(channels)):
        for _ in range(settings.layers_per_block + 1):
            current = found.residual(current, outputs, side)
        if level < len(channels) - 1:
            side *= 2
            _resized(found, current, side, stride=1)
    _end(found, current, 3, side)
    return found


def refinement(channels: tuple[int, ...], size: int) -> Tally:
    """The correction of a decoded mask of `size`² pixels from the encoder's levels, the one at full size first."""
    found, side = Tally(), size
    for count in channels:
        found.conv(count, REFINED, side, kernel=1)
        side //= 2
    _two_convolutions(found, REFINED + 1, REFINED, size)
    found.conv(REFINED, 1, size, kernel=1)
    return found


def denoiser(settings: Denoiser, latent: int, condition: int, structures: int, side: int) -> Tally:
    """The UNet on latents of `latent` channels and `side`² pixels, with whatever brings the condition in."""
    found = Tally()
    tokens = settings.context_tokens
    if settings.context == "constant":
        found.parameters += tokens * settings.context_channels
    elif settings.context == "image":
        tokens = side**2
        found.linear(condition, settings.context_channels, tokens)
    inputs = latent + (condition if settings.concatenate else 0)
    return found + _unet(settings, inputs, latent, structures, side, tokens)


def direct(settings: AnyDirectNetwork, structures: int, size: int) -> Tally:
    """One of the U-Nets, from an image of `size`² pixels to one mask per structure."""
    if isinstance(settings, BasicUnet):
        return _basic_unet(settings.channels, structures, size)
    if isinstance(settings, DynUnet):
        return _dyn_unet(settings.channels, structures, size)
    return _residual_unet(settings, structures, size)


def _residual_unet(settings: ResidualUnet, structures: int, size: int) -> Tally:
    found, channels = Tally(), settings.channels
    side, inputs = size, 3
    for level, outputs in enumerate(channels):
        stride = 2 if level < len(channels) - 1 else 1
        side //= stride
        _unit(found, settings, inputs, outputs, side, stride, settings.residual_units)
        inputs = outputs
    for level in reversed(range(len(channels) - 1)):
        outputs = channels[level - 1] if level else structures
        side *= 2
        with found.block((channels[level] + inputs) * (side // 2) ** 2):
            found.transposed(channels[level] + inputs, outputs, side)
            if level or settings.residual_units:
                _normalised(found, settings, outputs, side)
        if settings.residual_units:
            with found.block(outputs * side**2):
                found.conv(outputs, outputs, side)
                if level:
                    _normalised(found, settings, outputs, side)
        inputs = outputs
    return found


def _basic_unet(channels: tuple[int, ...], structures: int, size: int) -> Tally:
    found = _classic_way_down(channels, size)
    current, side = channels[-1], size >> (len(channels) - 1)
    for level in reversed(range(len(channels) - 1)):
        side *= 2
        up = found.transposed(current, current if level == 0 else current // 2, side, kernel=2)
        _two_convolutions(found, channels[level] + up, channels[level], side)
        current = channels[level]
    found.conv(current, structures, side, kernel=1)
    return found


def _dyn_unet(channels: tuple[int, ...], structures: int, size: int) -> Tally:
    found, side, current = Tally(), size, 3
    for level, outputs in enumerate(channels):
        side //= 2 if level else 1
        _two_convolutions(found, current, outputs, side, stride=2 if level else 1, bias=False)
        current = outputs
    for outputs in reversed(channels[:-1]):
        side *= 2
        found.transposed(current, outputs, side, kernel=2, bias=False)
        _two_convolutions(found, 2 * outputs, outputs, side, bias=False)
        current = outputs
    found.conv(current, structures, side, kernel=1)
    return found


def _classic_way_down(channels: tuple[int, ...], size: int) -> Tally:
    """The encoder of MONAI's `BasicUNet`."""
    found, current, side = Tally(), 3, size
    for level, outputs in enumerate(channels):
        if level:
            side //= 2
            found.pooled(current, side)
        _two_convolutions(found, current, outputs, side)
        current = outputs
    return found


def _two_convolutions(
    found: Tally, inputs: int, outputs: int, side: int, *, stride: int = 1, bias: bool = True
) -> None:
    """Each with a normalisation and a LeakyReLU, which works in place: its result is what the next layer keeps."""
    with found.block(inputs * (side * stride) ** 2):
        for current, step in ((inputs, stride), (outputs, 1)):
            found.conv(current, outputs, side, stride=step, bias=bias)
            found.norm(outputs, side**2)


def _encoder(settings: Autoencoder, latent: int, size: int) -> Tally:
    found, channels, side = Tally(), settings.block_out_channels, size
    current = found.conv(3, channels[0], side)
    for level, outputs in enumerate(channels):
        for _ in range(settings.layers_per_block):
            current = found.residual(current, outputs, side)
        if level < len(channels) - 1:
            side //= 2
            _resized(found, current, side, stride=2)
    _middle(found, current, side, attention=settings.mid_block_attention)
    _end(found, current, 2 * latent, side)
    return found


def _unet(settings: Denoiser, inputs: int, outputs: int, structures: int, side: int, tokens: int) -> Tally:
    """`UNet2DModel` in LDM's layout, or `UNet2DConditionModel` in Stable Diffusion's."""
    found, channels = Tally(), settings.block_out_channels
    ours, embedding, last = settings.architecture == "ldm", 4 * channels[0], len(channels) - 1
    found.linear(channels[0], embedding)
    found.linear(embedding, embedding)
    found.parameters += structures * embedding if structures > 1 else 0
    current = found.conv(inputs, channels[0], side)
    skips = [current]

    def block(count: int, level: int) -> int:
        made = found.residual(count, channels[level], side, embedding, shift=ours)
        if settings.attention[level]:
            _attends(found, settings, made, side, tokens)
        return made

    for level in range(len(channels)):
        for _ in range(settings.layers_per_block):
            current = block(current, level)
            skips.append(current)
        if level < last:
            side //= 2
            _resampled(found, current, side, embedding if ours else 0, stride=2)
            skips.append(current)
    found.residual(current, current, side, embedding, shift=ours)
    _attends(found, settings, current, side, tokens)
    found.residual(current, current, side, embedding, shift=ours)
    for level in reversed(range(len(channels))):
        for _ in range(settings.layers_per_block + 1):
            current = block(current + skips.pop(), level)
        if level:
            side *= 2
            _resampled(found, current, side, embedding if ours else 0, stride=1)
    _end(found, current, outputs, side)
    return found


def _resampled(found: Tally, channels: int, side: int, embedding: int, stride: int) -> None:
    """To another resolution: a residual block in LDM's layout, a convolution in Stable Diffusion's."""
    if embedding:
        found.residual(channels, channels, side, embedding)
    else:
        _resized(found, channels, side, stride=stride)


def _resized(found: Tally, channels: int, side: int, stride: int) -> None:
    """A convolution to half the size (stride 2), or behind an enlargement to twice (1): `side` is what it becomes."""
    before = 2 * side if stride == 2 else side // 2
    with found.block(channels * before**2):
        found.conv(channels, channels, side, stride=stride)


def _attends(found: Tally, settings: Denoiser, channels: int, side: int, tokens: int) -> None:
    with found.block(channels * side**2):
        _attention_layers(found, settings, channels, side, tokens)


def _attention_layers(found: Tally, settings: Denoiser, channels: int, side: int, tokens: int) -> None:
    own = side**2
    found.norm(channels, own)
    if settings.architecture == "ldm":
        found.attention(channels, own, own, channels)
        return
    found.conv(channels, channels, side, kernel=1)
    for others, context in ((own, channels), (tokens, settings.context_channels)):
        found.norm(channels, own)
        found.attention(channels, own, others, context, bias=False)
    found.norm(channels, own)
    found.linear(channels, 8 * channels, own)
    found.activation(12 * channels, own)  # of the gated unit: both halves, and their product
    found.linear(4 * channels, channels, own)
    found.conv(channels, channels, side, kernel=1)


def _middle(found: Tally, channels: int, side: int, *, attention: bool) -> None:
    found.residual(channels, channels, side)
    if attention:
        with found.block(channels * side**2):
            found.norm(channels, side**2)
            found.attention(channels, side**2, side**2, channels)
    found.residual(channels, channels, side)


def _end(found: Tally, channels: int, outputs: int, side: int) -> None:
    found.norm(channels, side**2)
    found.activation(channels, side**2)
    found.conv(channels, outputs, side)


def _unit(found: Tally, settings: ResidualUnet, inputs: int, outputs: int, side: int, stride: int, units: int) -> None:
    """A step down of MONAI's `UNet`: a residual unit, or one convolution where there are none."""
    current = inputs
    with found.block(inputs * (side * stride) ** 2):
        for number in range(max(units, 1)):
            found.conv(current, outputs, side, stride=stride if number == 0 else 1)
            _normalised(found, settings, outputs, side)
            current = outputs
        if units and (stride > 1 or inputs != outputs):
            found.conv(inputs, outputs, side, kernel=3 if stride > 1 else 1, stride=stride)


def _normalised(found: Tally, settings: ResidualUnet, channels: int, side: int) -> None:
    found.norm(channels, side**2, affine=settings.norm == "batch")
    found.activation(channels, side**2)
    found.parameters += 1  # of the PReLU
