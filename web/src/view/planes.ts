/** Planes through what is shown: the image itself, or axial, coronal and sagittal sections of a volume. */

import { AXES } from "../io/geometry.ts";
import type { Plane as SlicingPlane } from "../io/types.ts";
import type { Masks, Shown } from "../messages.ts";
import type { Plane } from "./paint.ts";

export type Section = SlicingPlane;
export const SECTIONS: readonly Section[] = ["axial", "coronal", "sagittal"];

/** What lies at the left edge and at the top of a section: the patient's right, front, head. */
export const SIDES: Record<Section, readonly [string, string]> = {
  axial: ["R", "A"],
  coronal: ["R", "S"],
  sagittal: ["A", "S"],
};

/** Where a section lies in a volume, and how long its sides are. */
export interface SectionShape {
  readonly section: Section;
  readonly count: number; // of parallel planes
  readonly width: number; // pixels
  readonly height: number;
  readonly aspect: number; // width of the picture over its height
}

/** The volume along one of the patient's axes: to the right, to the front, to the head. */
interface Line {
  readonly length: number;
  readonly mm: number;
  readonly step: number; // between neighbours in the array of slices
}

/** Index of the voxel that lies at the left, at the back and lowest; and the three axes from there. */
export function linesOf(shown: Shown): { first: number; lines: readonly [Line, Line, Line] } {
  const lengths = [shown.count, shown.rows, shown.columns];
  const strides = [shown.rows * shown.columns, shown.columns, 1];
  const lines: Line[] = [];
  let first = 0;
  AXES[shown.plane].forEach((axis, place) => {
    const [length, stride] = [lengths[place]!, strides[place]!];
    if (place > 0) first += stride * (length - 1); // rows and columns run the other way
    lines[axis] = { length, mm: shown.spacing[place]!, step: place > 0 ? -stride : stride };
  });
  return { first, lines: lines as unknown as readonly [Line, Line, Line] };
}

export function shapeOf(shown: Shown, section: Section): SectionShape {
  const { lines } = linesOf(shown);
  const [across, down, along] = AXES[section].map((axis) => lines[axis]!) as [Line, Line, Line];
  const aspect = (along.length * along.mm) / (down.length * down.mm);
  return { section, count: across.length, width: along.length, height: down.length, aspect };
}

/**
 * Plane `index` of a section. Axial: the patient's front is on top and the right side at the left; coronal: the head is
 * on top and the right side at the left; sagittal: the head is on top and the front at the left. Axial planes are
 * counted from the feet, coronal ones from the front, sagittal ones from the right.
 */
export function cut(shown: Shown, masks: Masks | null, section: Section, index: number): Plane {
  const { first, lines } = linesOf(shown);
  const { channels } = shown;
  const [across, down, along] = AXES[section].map((axis) => lines[axis]!) as [Line, Line, Line];
  const [width, height] = [along.length, down.length];
  const bits = masks === null ? new Uint8Array(width * height) : emptyLike(masks.bits, width * height);
  const pixels = new Uint8ClampedArray(width * height * 4);
  const start = first + across.step * (section === "axial" ? index : across.length - 1 - index);
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      const from = start + down.step * (height - 1 - y) + along.step * (width - 1 - x);
      if (masks !== null) bits[place] = masks.bits[from]!;
      for (let channel = 0; channel < 3; channel++) {
        pixels[place * 4 + channel] = shown.pixels[from * channels + (channels === 3 ? channel : 0)]!;
      }
      pixels[place * 4 + 3] = 255;
    }
  }
  return { width, height, pixels, bits };
}

/** A place in a volume: the axial, coronal and sagittal planes through it. */
export type Place = readonly [number, number, number];

/** Where a point of a section lies; `x` and `y` go from 0 to 1. */
export function placeIn(shown: Shown, section: Section, index: number, x: number, y: number): Place {
  const within = (share: number, count: number): number => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  const { lines } = linesOf(shown);
  const [axial, coronal, sagittal] = [lines[2].length, lines[1].length, lines[0].length];
  if (section === "axial") return [index, within(y, coronal), within(x, sagittal)];
  const slice = axial - 1 - within(y, axial);
  return section === "coronal" ? [slice, index, within(x, sagittal)] : [slice, within(x, coronal), index];
}

/** The place of a pixel of a slice. */
export function placeOf(shown: Shown, slice: number, row: number, column: number): Place {
  const { lines } = linesOf(shown);
  const along: number[] = []; // the patient's axes
  const [across, down, last] = AXES[shown.plane];
  along[across] = slice;
  along[down] = shown.rows - 1 - row;
  along[last] = shown.columns - 1 - column;
  return [along[2]!, lines[1].length - 1 - along[1]!, lines[0].length - 1 - along[0]!];
}

/** The place in the middle of the mask, in the slice that has most of it. */
export function middleOf(shown: Shown, masks: Masks): Place {
  const { rows, columns } = shown;
  const slice = masks.firstSlice;
  let [sumRow, sumColumn, count] = [0, 0, 0];
  for (let row = 0, index = slice * rows * columns; row < rows; row++) {
    for (let column = 0; column < columns; column++, index++) {
      if (masks.bits[index]) [sumRow, sumColumn, count] = [sumRow + row, sumColumn + column, count + 1];
    }
  }
  if (count === 0) return placeOf(shown, slice, Math.floor(rows / 2), Math.floor(columns / 2));
  return placeOf(shown, slice, Math.round(sumRow / count), Math.round(sumColumn / count));
}

function emptyLike(bits: Masks["bits"], length: number): Masks["bits"] {
  if (bits instanceof Uint8Array) return new Uint8Array(length);
  return bits instanceof Uint16Array ? new Uint16Array(length) : new Uint32Array(length);
}
