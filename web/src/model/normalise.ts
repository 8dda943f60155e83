/** Raw values of a volume as a model wants them before they are resized: sdseg/data/normalise.py, io/number_types.py. */

import type { Contract, Normalisation, StoredType } from "../contract.ts";
import { UserMessage } from "../io/types.ts";
import type { Voxels } from "../io/types.ts";
import { percentile } from "./intensities.ts";

const RANGES: Partial<Record<StoredType, readonly [number, number]>> = {
  uint8: [0, 255],
  int16: [-32768, 32767],
  uint16: [0, 65535],
  int32: [-2147483648, 2147483647],
};
const FAR_WIDER = 50; // a window of this width is not meant for values within 2 units

/** What turns one raw value into a model's; and what it does to the values, in words. */
export interface Scale {
  readonly apply: (value: number) => number;
  readonly notes: readonly string[];
}

/** Statistics of a whole volume, and what follows from them. Throws UserMessage for values that say nothing. */
export function scaleOf(values: Voxels, contract: Contract, name: string): Scale {
  const extent = extentOf(values, name);
  const how = contract.normalisations[0] ?? contract.normalisation;
  if (how !== null) return normalising(values, contract, how, extent, name);
  const [low, high] = contract.window;
  if (!extent.whole && extent.high - extent.low <= 2 && high - low > FAR_WIDER) {
    throw new UserMessage(
      `'${name}' has values between ${extent.low.toPrecision(3)} and ${extent.high.toPrecision(3)}, ` +
        `where values of a window from ${low} to ${high} are expected`,
      "give the volume with its original intensities",
    );
  }
  const range = RANGES[contract.dtype];
  const kept = range
    ? (value: number): number => Math.min(range[1], Math.max(range[0], extent.whole ? value : roundEven(value)))
    : Math.fround;
  const notes = range ? alterations(extent, range) : [];
  if (!contract.stretch) return { apply: kept, notes };
  const [from, to] = [clamp(kept(extent.low), low, high), clamp(kept(extent.high), low, high)];
  if ((from === low && to === high) || from === to) return { apply: kept, notes };
  const factor = (high - low) / (to - from);
  return {
    apply: (value) => {
      const spread = Math.fround((clamp(kept(value), low, high) - from) * factor + low);
      return range ? roundEven(spread) : spread;
    },
    notes,
  };
}

interface Extent {
  readonly low: number;
  readonly high: number;
  readonly whole: boolean;
}

function extentOf(values: Voxels, name: string): Extent {
  let low = Infinity;
  let high = -Infinity;
  let whole = true;
  let bad = 0;
  for (let index = 0; index < values.length; index++) {
    const value = values[index]!;
    if (!Number.isFinite(value)) bad += 1;
    if (value < low) low = value;
    if (value > high) high = value;
    if (whole && !Number.isInteger(value)) whole = false;
  }
  if (bad > 0) {
    throw new UserMessage(
      `'${name}' has ${bad} voxels that are NaN or infinite`,
      "export the volume again, or replace these voxels",
    );
  }
  return { low, high, whole };
}

function normalising(
  values: Voxels,
  contract: Contract,
  how: Normalisation,
  extent: Extent,
  name: string,
): Scale {
  let [from, scale] = statistics(values, how, extent).map(Math.fround) as [number, number];
  if (!(scale > 0)) {
    throw new UserMessage(
      `'${name}' is an empty volume: its values are all alike, so it cannot be normalised`,
      "export it again, or choose another",
    );
  }
  if (contract.normalisations.length > 0) { // of several channels: each from 0 to 1
    const [bottom, top] = how.method === "z-score" || how.method === "window" ? [how.low, how.high] : [0, 1];
    [from, scale] = [Math.fround(from + bottom * scale), Math.fround((top - bottom) * scale)];
  }
  const [low, high] = contract.window.map(Math.fround) as [number, number];
  return {
    apply: (value) => clamp(Math.fround(Math.fround(Math.fround(value) - from) / scale), low, high),
    notes: [],
  };
}

/** Offset and spread: a raw value v becomes (v - offset) / spread. */
function statistics(values: Voxels, how: Normalisation, extent: Extent): [number, number] {
  if (how.method === "window") return [0, 1];
  if (how.method === "min-max") return [extent.low, extent.high - extent.low];
  const chosen = how.nonzero ? Float64Array.from(values).filter((value) => value !== 0) : Float64Array.from(values);
  if (chosen.length === 0) return [0, 0];
  if (how.method === "percentiles") {
    chosen.sort();
    const low = percentile(chosen, how.low);
    return [low, percentile(chosen, how.high) - low];
  }
  let sum = 0;
  for (const value of chosen) sum += value;
  const mean = sum / chosen.length;
  let squares = 0;
  for (const value of chosen) squares += (value - mean) ** 2;
  return [mean, Math.sqrt(squares / chosen.length)];
}

function alterations(extent: Extent, range: readonly [number, number]): string[] {
  const notes = [];
  if (!extent.whole) notes.push("values with fractions are rounded to whole numbers");
  if (extent.low < range[0] || extent.high > range[1]) {
    notes.push(`values from ${extent.low} to ${extent.high} are clipped to ${range[0]} to ${range[1]}`);
  }
  return notes;
}

function clamp(value: number, low: number, high: number): number {
  return Math.min(high, Math.max(low, value));
}

/** Half to even, as NumPy and OpenCV round. */
export function roundEven(value: number): number {
  const rounded = Math.round(value);
  return rounded - value === 0.5 && rounded % 2 !== 0 ? rounded - 1 : rounded;
}

/** The nearest number of 16 bits, as a store of type float16 keeps it. */
export function toHalf(value: number): number {
  if (!Number.isFinite(value) || value === 0) return value;
  const exponent = Math.max(-14, Math.floor(Math.log2(Math.abs(value))));
  const step = 2 ** (exponent - 10);
  const rounded = roundEven(value / step) * step;
  return Math.abs(rounded) > 65504 ? Math.sign(value) * Infinity : rounded;
}
