/**
 * Resizing as OpenCV computes it, on which every figure of a model rests: sdseg/data/transforms.py.
 *
 * 8 bits agree bit by bit. Of other whole numbers a value that lies halfway between two may fall on the other one, and
 * fractions agree to single precision: OpenCV adds them in an order of its own.
 */

import type { Size } from "./types.ts";

export type Resizable = Uint8Array | Uint16Array | Int16Array | Int32Array | Float32Array | Float64Array;

const STEPS = 2048; // of a weight, of 8-bit images

/** An image [height, width, channels] at another size: beyond half of it, averaged first to twice that size. */
export function resizeImage<T extends Resizable>(data: T, from: Size, to: Size, channels: number): T {
  if (from.width === to.width && from.height === to.height) return data;
  const twice = { width: Math.min(from.width, 2 * to.width), height: Math.min(from.height, 2 * to.height) };
  if (twice.width === 2 * to.width && twice.height === 2 * to.height) return averaged(data, from, to, channels);
  const same = twice.width === from.width && twice.height === from.height;
  return linear(same ? data : averaged(data, from, twice, channels), twice, to, channels);
}

/** Probabilities [height, width] at the size of the image. */
export function restoreProbability(data: Float32Array, from: Size, to: Size): Float32Array {
  return from.width === to.width && from.height === to.height ? data : linear(data, from, to, 1);
}

function empty<T extends Resizable>(like: T, length: number): T {
  return new (like.constructor as new (length: number) => T)(length);
}

function isWhole(data: Resizable): boolean {
  return !(data instanceof Float32Array || data instanceof Float64Array);
}

/** The nearest whole number; of two as near the even one. */
export function rint(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

interface Pair {
  readonly first: Int32Array; // place of the lower neighbour of each pixel, and of the upper one
  readonly second: Int32Array;
  readonly weight: Float64Array; // of the upper one
}

/** Bilinear. Places lie in the middle of pixels; beyond the edge its pixels go on. */
function linear<T extends Resizable>(data: T, from: Size, to: Size, channels: number): T {
  if (from.width === 2 * to.width && from.height === 2 * to.height) return averaged(data, from, to, channels);
  if (data instanceof Uint8Array) return linearBytes(data, from, to, channels) as T;
  const [across, down] = [pairs(from.width, to.width, "exact"), pairs(from.height, to.height, "exact")];
  const result = empty(data, to.width * to.height * channels);
  const whole = isWhole(data);
  for (let y = 0, place = 0; y < to.height; y++) {
    const [above, below] = [down.first[y]! * from.width, down.second[y]! * from.width];
    const v = Math.fround(down.weight[y]!);
    for (let x = 0; x < to.width; x++) {
      const [left, right] = [across.first[x]!, across.second[x]!];
      const u = Math.fround(across.weight[x]!);
      for (let c = 0; c < channels; c++, place++) {
        const top = data[(above + left) * channels + c]! * (1 - u) + data[(above + right) * channels + c]! * u;
        const bottom = data[(below + left) * channels + c]! * (1 - u) + data[(below + right) * channels + c]! * u;
        const value = top * (1 - v) + bottom * v;
        result[place] = whole ? rint(value) : value;
      }
    }
  }
  return result;
}

/** Where each of `count` pixels lies between two of `length`; OpenCV holds columns at the edge, and rows as they lie. */
function pairs(length: number, count: number, how: "exact" | "columns" | "rows"): Pair {
  const scale = length / count;
  const [first, second] = [new Int32Array(count), new Int32Array(count)];
  const weight = new Float64Array(count);
  for (let index = 0; index < count; index++) {
    const exact = (index + 0.5) * scale - 0.5;
    const place = how === "exact" ? exact : Math.fround(exact);
    const below = Math.floor(place);
    first[index] = Math.min(Math.max(below, 0), length - 1);
    second[index] = Math.min(Math.max(below + 1, 0), length - 1);
    const held = how === "columns" && (below < 0 || below >= length - 1);
    weight[index] = held ? 0 : how === "exact" ? place - below : Math.fround(place - below);
  }
  return { first, second, weight };
}

/** Of 8 bits: with weights of 2048 steps, and the four low bits of each row cut off. */
function linearBytes(data: Uint8Array, from: Size, to: Size, channels: number): Uint8Array {
  const [across, down] = [pairs(from.width, to.width, "columns"), pairs(from.height, to.height, "rows")];
  const result = new Uint8Array(to.width * to.height * channels);
  const stride = to.width * channels;
  const rows = new Map<number, Int32Array>(); // the last two that were needed
  const rowOf = (y: number): Int32Array => {
    const known = rows.get(y);
    if (known !== undefined) return known;
    const row = new Int32Array(stride);
    for (let x = 0, place = 0; x < to.width; x++) {
      const w = across.weight[x]!;
      const [near, far] = [rint(Math.fround((1 - w) * STEPS)), rint(Math.fround(w * STEPS))];
      const left = (y * from.width + across.first[x]!) * channels;
      const right = (y * from.width + across.second[x]!) * channels;
      for (let c = 0; c < channels; c++) row[place++] = data[left + c]! * near + data[right + c]! * far;
    }
    for (const old of [...rows.keys()]) if (old < y - 1) rows.delete(old);
    rows.set(y, row);
    return row;
  };
  for (let y = 0; y < to.height; y++) {
    const w = down.weight[y]!;
    const [near, far] = [rint(Math.fround((1 - w) * STEPS)), rint(Math.fround(w * STEPS))];
    const [above, below] = [rowOf(down.first[y]!), rowOf(down.second[y]!)];
    for (let x = 0; x < stride; x++) {
      const sum = ((near * (above[x]! >> 4)) >> 16) + ((far * (below[x]! >> 4)) >> 16);
      result[y * stride + x] = (sum + 2) >> 2;
    }
  }
  return result;
}

interface Share {
  readonly first: number;
  readonly weights: readonly number[];
}

/** The mean of all that falls into a pixel (OpenCV's INTER_AREA, of a size that is no larger along any axis). */
function averaged<T extends Resizable>(data: T, from: Size, to: Size, channels: number): T {
  const result = empty(data, to.width * to.height * channels);
  const whole = isWhole(data);
  const halved = from.width === 2 * to.width && from.height === 2 * to.height;
  const [across, down] = [shares(from.width, to.width), shares(from.height, to.height)];
  const [row, sum] = [new Float32Array(to.width * channels), new Float32Array(to.width * channels)];
  for (let y = 0; y < to.height; y++) {
    sum.fill(0);
    const { first: top, weights: heights } = down[y]!;
    for (let dy = 0; dy < heights.length; dy++) {
      row.fill(0);
      for (let x = 0; x < to.width; x++) {
        const { first: left, weights } = across[x]!;
        for (let dx = 0; dx < weights.length; dx++) {
          const source = ((top + dy) * from.width + left + dx) * channels;
          // Rounded to single precision at every step, as OpenCV does: halves come out the same.
          for (let c = 0; c < channels; c++) row[x * channels + c]! += Math.fround(data[source + c]! * weights[dx]!);
        }
      }
      for (let x = 0; x < row.length; x++) sum[x]! += Math.fround(row[x]! * heights[dy]!);
    }
    for (let x = 0; x < sum.length; x++) {
      const value = sum[x]!;
      // Of exactly half the size OpenCV rounds halves up, of others to the even number.
      result[y * sum.length + x] = !whole ? value : halved ? Math.floor(value + 0.5) : rint(value);
    }
  }
  return result;
}

/** Of each of `count` pixels: the first of `length` that falls into it, and how much of each. */
function shares(length: number, count: number): Share[] {
  const scale = length / count;
  return Array.from({ length: count }, (_, index) => {
    const [start, end] = [index * scale, index * scale + scale];
    const width = Math.min(scale, length - start);
    const last = Math.min(Math.floor(end), length - 1);
    const first = Math.min(Math.ceil(start), last);
    const weights = Array.from({ length: last - first }, () => Math.fround(1 / width));
    const before = first - start > 1e-3;
    if (before) weights.unshift(Math.fround((first - start) / width));
    if (end - last > 1e-3) weights.push(Math.fround(Math.min(Math.min(end - last, 1), width) / width));
    return { first: before ? first - 1 : first, weights };
  });
}
