/** How the values of an input lie against those of the training images, as sdseg/data/intensities.py. */

import type { Intensities } from "../contract.ts";

const SAMPLE = 250_000; // values that percentiles are taken from, evenly spread
const FAR = 4; // so many times wider or narrower than any training image is another scale

/** In words, how an input lies clearly outside what the model was trained on; nothing where it does not. */
export function unlike(values: ArrayLike<number>, trained: Intensities | null): string[] {
  if (trained === null || values.length === 0) return [];
  const step = Math.max(1, Math.floor(values.length / SAMPLE)) | 1;
  const sorted = new Float64Array(Math.ceil(values.length / step));
  for (let index = 0; index < sorted.length; index++) sorted[index] = values[index * step]!;
  sorted.sort();
  const [p1, p50, p99] = [percentile(sorted, 1), percentile(sorted, 50), percentile(sorted, 99)];
  const [narrow, , wide] = trained.width;
  const here = `most values lie between ${short(p1)} and ${short(p99)}`;
  const there = `those of the training images between ${short(trained.p1[1])} and ${short(trained.p99[1])}`;
  if (p99 - p1 > FAR * wide || (p99 - p1) * FAR < narrow) {
    return [`${here}, ${there}: another scale than the model was trained on; give the original values`];
  }
  if (p50 < trained.p1[0] || p50 > trained.p99[2]) {
    return [`${here}, ${there}: shifted against what the model was trained on; give the original values`];
  }
  return [];
}

/** Of sorted values, interpolated as NumPy does it. */
export function percentile(sorted: Float64Array | Float32Array, percent: number): number {
  const place = ((sorted.length - 1) * percent) / 100;
  const below = Math.floor(place);
  const low = sorted[below]!;
  return low + (sorted[Math.min(below + 1, sorted.length - 1)]! - low) * (place - below);
}

function short(value: number): string {
  return String(Number(value.toPrecision(4)));
}
