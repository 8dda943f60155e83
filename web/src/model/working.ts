/** An opened input as a model wants it: slices at the working size, and back again. */

import type { Contract } from "../contract.ts";
import { millilitresPerVoxel, toSlices } from "../io/geometry.ts";
import { UserMessage } from "../io/types.ts";
import type { Input, Picture, Size, Volume } from "../io/types.ts";
import { toDisplay, toRgb8 } from "../io/window.ts";
import { takes } from "../contract.ts";
import type { Case } from "./channels.ts";
import { contractOfChannel, sharedNotes } from "./channels.ts";
import type { Fit } from "./fit.ts";
import { fitOf, oddFit, toNative, toWorking } from "./fit.ts";
import { unlike } from "./intensities.ts";
import { roundEven, scaleOf, toHalf } from "./normalise.ts";

const MOST_BYTES = 1.5e9; // of the probabilities of a volume at the working size

/** One input, and everything of it that is kept while it is shown. */
export interface Working {
  readonly name: string;
  readonly input: Input; // of its channels the first: the mask is saved in its geometry
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

/** Throws UserMessage for what the model was not made for. `report` hears how much is done, from 0 to 1. */
export async function workingOf(
  { name, channels, notes }: Case,
  contract: Contract,
  report: (share: number) => Promise<void>,
): Promise<Working> {
  const input = channels[0]!;
  if ((input.kind === "image") !== (contract.modality === "rgb")) {
    throw new UserMessage(
      `'${name}' is ${input.kind === "image" ? "an image" : "a volume"}, and this model was made for ` +
        `${takes(contract)}`,
      "choose a file of that kind, or another model",
    );
  }
  const working =
    input.kind === "image"
      ? ofPictures(channels as readonly Picture[], contract)
      : await ofVolumes(channels as readonly Volume[], contract, report);
  return { ...working, name, notes: [...working.notes, ...notes] };
}

function ofPictures(pictures: readonly Picture[], contract: Contract): Omit<Working, "name"> {
  const first = pictures[0]!;
  const names = contract.channelNames;
  const fit = fitOf(contract, { width: first.width, height: first.height }, null);
  refuseLarge(`'${first.name}' has ${first.width} × ${first.height} pixels`, 1, fit.working, contract);
  const planes = names.length === 0
    ? [toRgb8(first)]
    : pictures.map((picture, number) => toGrey8(picture, names[number]!));
  const notes = sharedNotes(
    planes.map((plane, number) => {
      const own = contractOfChannel(contract, number);
      return [...pictures[number]!.notes, ...unlike(plane, own.intensities)];
    }),
    names,
  );
  const channels = names.length === 0 ? 3 : 1;
  return {
    input: first,
    count: 1,
    rows: first.height,
    columns: first.width,
    fit,
    channels,
    spacing: [1, 1, 1],
    shown: planes[contract.shownChannel]!,
    fed: [sideBySide(planes.map((plane) => toWorking(plane, fit, channels, contract.window[0])))],
    notes: [...notes, ...oddFit(fit, contract)],
    millilitres: null,
  };
}

/** Grey levels of a channel, [height, width]. */
function toGrey8(picture: Picture, channel: string): Uint8Array {
  const colours = toRgb8(picture);
  const grey = new Uint8Array(colours.length / 3);
  for (let pixel = 0; pixel < grey.length; pixel++) {
    const value = colours[3 * pixel]!;
    if (value !== colours[3 * pixel + 1] || value !== colours[3 * pixel + 2]) {
      throw new UserMessage(
        `'${picture.name}' is in colour, where the channel ${channel} is expected: grey levels`,
        "save each of its colours as a file, named as a channel",
      );
    }
    grey[pixel] = value;
  }
  return grey;
}

async function ofVolumes(
  volumes: readonly Volume[],
  contract: Contract,
  report: (share: number) => Promise<void>,
): Promise<Omit<Working, "name">> {
  const first = volumes[0]!;
  const names = contract.channelNames;
  const scales = volumes.map((volume, number) =>
    scaleOf(volume.data, contractOfChannel(contract, number), volume.name));
  const slices = volumes.map((volume) => toSlices(volume, contract.slicing));
  const { count, rows, columns, spacing } = slices[0]!;
  const fit = fitOf(contract, { width: columns, height: rows }, spacing);
  refuseLarge(`'${first.name}' has ${count} slices`, count, fit.working, contract);
  const shown = new Uint8Array(count * rows * columns);
  const fed = [];
  for (let index = 0; index < count; index++) {
    const planes = slices.map((own, number) => {
      const slice = own.slice(index).map(scales[number]!.apply);
      if (number === contract.shownChannel) shown.set(toDisplay(slice, contract.window), index * rows * columns);
      return asStored(fitted(slice, fit, contract), contract);
    });
    fed.push(sideBySide(planes));
    if (index % 8 === 7) await report((index + 1) / count);
  }
  const notes = sharedNotes(
    volumes.map((volume, number) => [...volume.notes, ...scales[number]!.notes, ...oddValues(volume, number, contract)]),
    names,
  );
  if (count === 1 && contract.neighbours > 0) {
    notes.push("a single slice, where the model also sees those beside it; give the volume");
  }
  return {
    input: first,
    count,
    rows,
    columns,
    fit,
    channels: 1,
    spacing,
    shown,
    fed,
    notes: [...notes, ...oddFit(fit, contract)],
    millilitres: millilitresPerVoxel(first),
  };
}

/** What is unlike the training images about the values of a channel. */
function oddValues(volume: Volume, number: number, contract: Contract): string[] {
  const own = contractOfChannel(contract, number);
  const notes = own.normalisation ?? own.normalisations[0] ? [] : unlike(volume.data, own.intensities);
  // Of several channels one may be of another modality: a PET beside a CT.
  if (contract.channelNames.length > 0 || volume.modality === null || volume.modality === contract.modality) return notes;
  const what = `by its header it is ${volume.modality.toUpperCase()}`;
  return [...notes, `${what}, and this model was made for ${takes(contract)}`];
}

/** Throws UserMessage where what the model says would fill the memory that a page has. */
function refuseLarge(what: string, count: number, { width, height }: Size, contract: Contract): void {
  const answers = contract.structures.length * (1 + contract.hypotheses);
  const weights = contract.tiles === null ? 0 : 1; // of the tiles
  const needed = count * width * height * 4 * (answers + weights + contract.channels);
  if (needed > MOST_BYTES) {
    throw new UserMessage(
      `${what}: what the model says of them takes ${(needed / 1e9).toFixed(1)} GB`,
      "cut it, or use 'sdseg predict'",
    );
  }
}

/** Planes [height, width, …] as the channels of one. */
function sideBySide<T extends Uint8Array | Float32Array>(planes: readonly T[]): T {
  if (planes.length === 1) return planes[0]!;
  const [first, count] = [planes[0]!, planes.length];
  const joined = new (first.constructor as new (length: number) => T)(first.length * count);
  planes.forEach((plane, channel) => {
    for (let pixel = 0; pixel < plane.length; pixel++) joined[pixel * count + channel] = plane[pixel]!;
  });
  return joined;
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
  const pixels = working.fit.working.width * working.fit.working.height;
  const native = new Float32Array(contract.structures.length * working.rows * working.columns);
  contract.structures.forEach((_, number) => {
    const own = probability.subarray(number * pixels, (number + 1) * pixels);
    native.set(toNative(own, working.fit), number * working.rows * working.columns);
  });
  return native;
}
