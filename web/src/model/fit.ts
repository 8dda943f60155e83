/**
 * Slices of a native size at the working size and back: resized, or resampled to a spacing and then cut or filled up.
 *
 * As sdseg/data/fit.py, which says why.
 */

import type { Contract } from "../contract.ts";
import type { Resizable } from "../io/resize.ts";
import { resizeImage, restoreProbability, rint } from "../io/resize.ts";
import type { Size } from "../io/types.ts";
import { UserMessage } from "../io/types.ts";

const MOST = 16_384; // pixels of a side, once resampled
const SLIVER = 8; // side ratio beyond which an image squeezed into the working size is like none a model has seen
const TINY = 8; // pixels
const ENDS = { // of whole numbers
  Uint8Array: [0, 255],
  Uint16Array: [0, 65535],
  Int16Array: [-32768, 32767],
} as const;

export interface Fit {
  readonly native: Size;
  readonly resampled: Size; // the whole slice; where nothing is cut or filled up the working size itself
  readonly working: Size;
  readonly shrunk: number; // to this part of the spacing that was asked for
}

/** For slices of a native size; `spacing` is that of the volume, between slices, rows and columns. */
export function fitOf(contract: Contract, native: Size, spacing: readonly [number, number, number] | null): Fit {
  const working = workingSize(contract, native);
  const { resampling } = contract;
  if (resampling === null || spacing === null) return { native, resampled: working, working, shrunk: 1 };
  const along = (count: number, own: number, wanted: number): number => Math.max(1, rint((count * own) / wanted));
  const resampled = {
    height: along(native.height, spacing[1], resampling.spacing[0]),
    width: along(native.width, spacing[2], resampling.spacing[1]),
  };
  if (Math.max(resampled.width, resampled.height) > MOST) {
    throw new UserMessage(
      `slices of ${inPixels(native)}, ${short(spacing[1])} × ${short(spacing[2])} mm each, would have ` +
        `${inPixels(resampled)} at the model's spacing of ${inMillimetres(resampling.spacing)}`,
      "correct the spacing of the file",
    );
  }
  if (resampling.fit === "crop") return { native, resampled, working, shrunk: 1 };
  const part = Math.min(1, working.height / resampled.height, working.width / resampled.width);
  const whole = {
    height: Math.max(1, rint(resampled.height * part)),
    width: Math.max(1, rint(resampled.width * part)),
  };
  return { native, resampled: whole, working, shrunk: part };
}

/** At which slices of a native size are looked at: one for all, but that of an image itself where it is seen in tiles. */
function workingSize({ tiles, width, height }: Contract, native: Size): Size {
  if (tiles === null) return { width, height };
  const scaled = (length: number): number => Math.max(1, rint(length * tiles.scale));
  return { width: scaled(native.width), height: scaled(native.height) };
}

/** An image [height, width, channels] at the working size; `outside` is the value around one that is smaller. */
export function toWorking<T extends Resizable>(data: T, fit: Fit, channels: number, outside: number): T {
  return moved(resizeImage(data, fit.native, fit.resampled, channels), fit.resampled, fit.working, channels, outside);
}

/** Probabilities [height, width] at the native size; 0 where the slice was not seen. */
export function toNative(probability: Float32Array, fit: Fit): Float32Array {
  return restoreProbability(moved(probability, fit.working, fit.resampled, 1, 0), fit.resampled, fit.native);
}

/** What a model does not see of such slices, or sees otherwise than those it was trained on, in words. */
export function oddFit(fit: Fit, contract: Contract): string[] {
  const { native, resampled, working } = fit;
  if (contract.resampling !== null) {
    if (resampled.width > working.width || resampled.height > working.height) {
      return [
        `slices of ${inPixels(resampled)} at the model's spacing of ${inMillimetres(contract.resampling.spacing)}, and ` +
          `it sees ${inPixels(working)} in the middle: nothing is found outside`,
      ];
    }
    if (fit.shrunk === 1) return [];
    const part = `${Math.round(fit.shrunk * 100)} %`;
    return [`slices larger than the ${inPixels(working)} that the model sees: shrunk to ${part} of their size`];
  }
  if (contract.tiles !== null) {
    const [tile, { scale }] = [{ width: contract.width, height: contract.height }, contract.tiles];
    if (working.width >= tile.width && working.height >= tile.height) return [];
    const at = scale === 1 ? "" : ` at scale ${scale}`;
    return [`${inPixels(working)}${at}, less than a tile of ${inPixels(tile)}: the lowest value lies around it`];
  }
  const [shorter, longer] = [Math.min(native.width, native.height), Math.max(native.width, native.height)];
  if (shorter < TINY) return [`${inPixels(native)}, enlarged to ${inPixels(working)}: too small to say anything about`];
  if (longer > SLIVER * shorter) {
    return [`${inPixels(native)}, squeezed into ${inPixels(working)}: like no image the model has seen`];
  }
  return [];
}

/** Cut or filled up around the middle. */
function moved<T extends Resizable>(data: T, from: Size, to: Size, channels: number, outside: number): T {
  if (from.width === to.width && from.height === to.height) return data;
  const result = new (data.constructor as new (length: number) => T)(to.width * to.height * channels);
  result.fill(within(outside, data));
  const [across, down] = [overlap(from.width, to.width), overlap(from.height, to.height)];
  for (let y = 0; y < down.length; y++) {
    const start = ((down.from + y) * from.width + across.from) * channels;
    const row = data.subarray(start, start + across.length * channels);
    result.set(row, ((down.to + y) * to.width + across.to) * channels);
  }
  return result;
}

/** What two lengths with one middle have in common: where it begins in each. */
function overlap(from: number, to: number): { from: number; to: number; length: number } {
  const off = Math.floor(Math.abs(from - to) / 2);
  return { from: from > to ? off : 0, to: from > to ? 0 : off, length: Math.min(from, to) };
}

/** The nearest value that an array can hold: as it is, it would wrap around. */
function within(value: number, data: Resizable): number {
  const ends = ENDS[data.constructor.name as keyof typeof ENDS];
  return ends === undefined ? value : Math.trunc(Math.min(ends[1], Math.max(ends[0], value)));
}

function inPixels(size: Size): string {
  return `${size.width} × ${size.height} pixels`;
}

function inMillimetres(lengths: readonly [number, number]): string {
  return `${short(lengths[0])} × ${short(lengths[1])} mm`;
}

function short(value: number): number {
  return Number(value.toPrecision(4));
}
