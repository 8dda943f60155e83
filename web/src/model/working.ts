/** An opened input as a model wants it: slices at the working size, and back again. */

import type { Contract } from "../contract.ts";
import { millilitresPerVoxel, toSlices } from "../io/geometry.ts";
import { UserMessage } from "../io/types.ts";
import type { Input, Picture, Volume } from "../io/types.ts";
import { toDisplay, toRgb8 } from "../io/window.ts";
import { takes } from "../contract.ts";
import type { Fit } from "./fit.ts";
import { fitOf, oddFit, toNative, toWorking } from "./fit.ts";
import { unlike } from "./intensities.ts";
import { roundEven, scaleOf, toHalf } from "./normalise.ts";

const MOST_BYTES = 1.5e9; // of the probabilities of a volume at the working size

/** One input, and everything of it that is kept while it is shown. */
export interface Working {
  readonly input: Input;
  readonly count: number;
  readonly rows: number;
  readonly columns: number;
  readonly fit: Fit; // how `fed` comes from them
  readonly channels: 1 | 3;
  readonly spacing: readonly [number, number, number];
  readonly shown: Uint8Array; // [count, rows, columns, channels]
  readonly fed: readonly (Uint8Array | Float32Array)[]; // [height, width, channels] each, at the working size
  readonly notes: readonly string[];
  readonly millilitres: number | null; // of a voxel
}

/** Throws UserMessage for what the model was not made for. `told` hears how much is done, from 0 to 1. */
export async function workingOf(
  input: Input,
  contract: Contract,
  report: (share: number) => Promise<void>,
): Promise<Working> {
  if ((input.kind === "image") !== (contract.modality === "rgb")) {
    throw new UserMessage(
      `'${input.name}' is ${input.kind === "image" ? "an image" : "a volume"}, and this model was made for ` +
        `${takes(contract)}`,
      "choose a file of that kind, or another model",
    );
  }
  return input.kind === "image" ? ofPicture(input, contract) : ofVolume(input, contract, report);
}

function ofPicture(picture: Picture, contract: Contract): Working {
  const shown = toRgb8(picture);
  const fit = fitOf(contract, { width: picture.width, height: picture.height }, null);
  return {
    input: picture,
    count: 1,
    rows: picture.height,
    columns: picture.width,
    fit,
    channels: 3,
    spacing: [1, 1, 1],
    shown,
    fed: [toWorking(shown, fit, 3, contract.window[0])],
    notes: [...picture.notes, ...unlike(shown, contract.intensities), ...oddFit(fit, contract)],
    millilitres: null,
  };
}

async function ofVolume(
  volume: Volume,
  contract: Contract,
  report: (share: number) => Promise<void>,
): Promise<Working> {
  const scale = scaleOf(volume.data, contract, volume.name);
  const slices = toSlices(volume, contract.slicing);
  const { count, rows, columns } = slices;
  const fit = fitOf(contract, { width: columns, height: rows }, slices.spacing);
  const needed = count * contract.width * contract.height * 4 * (contract.structures.length + 1);
  if (needed > MOST_BYTES) {
    throw new UserMessage(
      `'${volume.name}' has ${count} slices: what the model says of them takes ${(needed / 1e9).toFixed(1)} GB`,
      "cut the volume, or use 'sdseg predict'",
    );
  }
  const shown = new Uint8Array(count * rows * columns);
  const fed = [];
  const apply = scale.apply;
  for (let index = 0; index < count; index++) {
    const slice = slices.slice(index);
    for (let pixel = 0; pixel < slice.length; pixel++) slice[pixel] = apply(slice[pixel]!);
    shown.set(toDisplay(slice, contract.window), index * rows * columns);
    fed.push(asStored(fitted(slice, fit, contract), contract));
    if (index % 8 === 7) await report((index + 1) / count);
  }
  const values = contract.normalisation === null ? unlike(volume.data, contract.intensities) : [];
  const notes = [...volume.notes, ...scale.notes, ...values];
  if (volume.modality !== null && volume.modality !== contract.modality) {
    notes.push(`by its header it is ${volume.modality.toUpperCase()}, and this model was made for ${takes(contract)}`);
  }
  if (count === 1 && contract.neighbours > 0) {
    notes.push("a single slice, where the model also sees those beside it; give the volume");
  }
  return {
    input: volume,
    count,
    rows,
    columns,
    fit,
    channels: 1,
    spacing: slices.spacing,
    shown,
    fed,
    notes: [...notes, ...oddFit(fit, contract)],
    millilitres: millilitresPerVoxel(volume),
  };
}

/** Whole numbers stay whole at every step, as OpenCV resizes images of integers. */
function fitted(slice: Float32Array, fit: Fit, contract: Contract): Float32Array {
  const outside = contract.window[0];
  if (contract.dtype === "int16" || contract.dtype === "uint16" || contract.dtype === "uint8") {
    const kinds = { int16: Int16Array, uint16: Uint16Array, uint8: Uint8Array };
    return Float32Array.from(toWorking(kinds[contract.dtype].from(slice), fit, 1, outside));
  }
  return toWorking(slice, fit, 1, outside);
}

function asStored(values: Float32Array, contract: Contract): Float32Array {
  if (contract.dtype === "float16") return values.map(toHalf);
  return contract.dtype === "int32" ? values.map(roundEven) : values;
}

/** The slice `index` with those beside it as further channels, [height, width, channels]: sdseg/data/neighbours.py. */
export function withNeighbours(working: Working, index: number, contract: Contract): Uint8Array | Float32Array {
  const own = working.fed[index]!;
  const beside = contract.neighbours;
  if (beside === 0) return own;
  const pixels = contract.width * contract.height;
  const channels = own.length / pixels;
  const around = 2 * beside + 1;
  const stacked = new Float32Array(pixels * channels * around);
  for (let step = -beside; step <= beside; step++) {
    const slice = working.fed[Math.min(working.count - 1, Math.max(0, index + step))]!;
    const first = (step + beside) * channels;
    for (let pixel = 0; pixel < pixels; pixel++) {
      for (let channel = 0; channel < channels; channel++) {
        stacked[pixel * channels * around + first + channel] = slice[pixel * channels + channel]!;
      }
    }
  }
  return stacked;
}

/** Probabilities [structures, height, width] at the native size. */
export function atNativeSize(probability: Float32Array, working: Working, contract: Contract): Float32Array {
  const pixels = contract.width * contract.height;
  const native = new Float32Array(contract.structures.length * working.rows * working.columns);
  contract.structures.forEach((_, number) => {
    const own = probability.subarray(number * pixels, (number + 1) * pixels);
    native.set(toNative(own, working.fit), number * working.rows * working.columns);
  });
  return native;
}
