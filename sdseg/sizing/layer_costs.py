"""Counting: parameters, operations and kept activations of layers, by their shapes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

__all__ = ["LayerCosts"]


@dataclass
class LayerCosts:
    """Running sums over the layers of a network, for one image.

    `flops` counts a multiplication and an addition as two, of convolutions and products of matrices alone, as PyTorch's
    `FlopCounterMode` does. `kept` counts the numbers a forward pass keeps for the backward pass; `largest` is the
    largest output of one layer. Of what is kept, `within` lies in blocks that gradient checkpointing computes again,
    which keep `entering` in its place; `largest_block` is the most that one of them keeps.
    """

    parameters: int = 0
    flops: int = 0
    kept: int = 0
    largest: int = 0
    within: int = 0
    entering: int = 0
    largest_block: int = 0

    def __add__(self, other: LayerCosts) -> LayerCosts:
        return LayerCosts(
            self.parameters + other.parameters,
            self.flops + other.flops,
            self.kept + other.kept,
            max(self.largest, other.largest),
            self.within + other.within,
            self.entering + other.entering,
            max(self.largest_block, other.largest_block),
        )

    def of_part(self, share: float) -> LayerCosts:
        """The same layers on a part of the pixels: what grows with them, shrunk; the parameters stay."""
        pixels = (self.flops, self.kept, self.largest, self.within, self.entering, self.largest_block)
        return LayerCosts(self.parameters, *(round(count * share) for count in pixels))

    @property
    def kept_by_checkpoints(self) -> int:
        """What is kept where blocks are computed again: their inputs, and what lies between them."""
        return self.kept - self.within + self.entering

    @contextmanager
    def block(self, inputs: int) -> Iterator[None]:
        """What is counted while this is open is one block, whose input has so many numbers."""
        before = self.kept
        yield
        self.within += self.kept - before
        self.entering += inputs
        self.largest_block = max(self.largest_block, self.kept - before)

    def conv(self, inputs: int, outputs: int, side: int, kernel: int = 3, stride: int = 1, *, bias: bool = True) -> int:
        """A convolution whose output has `side`² pixels; its input is kept. Gives `outputs`."""
        self.parameters += outputs * (inputs * kernel**2 + bias)
        self.flops += 2 * outputs * inputs * (kernel * side) ** 2
        self.kept += inputs * (side * stride) ** 2
        self.largest = max(self.largest, outputs * side**2)
        return outputs

    def transposed(self, inputs: int, outputs: int, side: int, kernel: int = 3, *, bias: bool = True) -> int:
        """A transposed convolution with stride 2, from (`side` / 2)² to `side`² pixels. Gives `outputs`."""
        self.parameters += outputs * (inputs * kernel**2 + bias)
        self.flops += 2 * outputs * inputs * kernel**2 * (side // 2) ** 2
        self.kept += inputs * (side // 2) ** 2
        self.largest = max(self.largest, outputs * side**2)
        return outputs

    def pooled(self, channels: int, side: int) -> None:
        """Max pooling to `side`² pixels: its input is kept, and where each maximum stood (64 bits)."""
        self.kept += channels * ((2 * side) ** 2 + 2 * side**2)

    def norm(self, channels: int, values: int, *, affine: bool = True) -> None:
        """A normalisation of `channels` channels over `values` pixels or tokens; its input is kept."""
        self.parameters += 2 * channels * affine
        self.kept += channels * values

    def activation(self, channels: int, values: int) -> None:
        """A nonlinearity, or a product of two activations: its input is kept."""
        self.kept += channels * values

    def linear(self, inputs: int, outputs: int, tokens: int = 1, *, bias: bool = True, shared: bool = False) -> int:
        """A linear layer; with `shared` its input is kept by another layer already. Gives `outputs`."""
        self.parameters += outputs * (inputs + bias)
        self.flops += 2 * inputs * outputs * tokens
        self.kept += 0 if shared else inputs * tokens
        return outputs

    def attention(self, channels: int, tokens: int, others: int, context: int, *, bias: bool = True) -> None:
        """Attention of `tokens` tokens to `others`, whose channels are `context`; the output's projection included."""
        self.linear(channels, channels, tokens, bias=bias)
        self.linear(context, channels, others, bias=bias, shared=True)
        self.linear(context, channels, others, bias=bias, shared=True)
        self.flops += 4 * tokens * others * channels
        self.kept += channels * (tokens + 2 * others)  # queries, keys, values
        self.linear(channels, channels, tokens)

    def residual(self, inputs: int, outputs: int, side: int, embedding: int = 0, *, shift: bool = True) -> int:
        """diffusers' `ResnetBlock2D`. `embedding`: channels of the timestep's, 0 for none; `shift`: scale and shift."""
        with self.block(inputs * side**2):
            self.norm(inputs, side**2)
            self.activation(inputs, side**2)
            self.conv(inputs, outputs, side)
            if embedding:
                self.linear(embedding, outputs * (2 if shift else 1))
            self.norm(outputs, side**2)
            if embedding and shift:
                self.activation(outputs, side**2)
            self.activation(outputs, side**2)
            self.conv(outputs, outputs, side)
            if inputs != outputs:
                self.conv(inputs, outputs, side, kernel=1)
                self.kept -= inputs * side**2  # the block's input, kept by its normalisation already
        return outputs
