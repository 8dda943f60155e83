/** Planes through what is shown: the image itself, or axial, coronal and sagittal sections of a volume. */

import type { Masks, Shown } from "../messages.ts";
import type { Plane } from "./paint.ts";

export type Section = "axial" | "coronal" | "sagittal";

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

export function shapeOf(shown: Shown, section: Section): SectionShape {
  const { count, rows, columns } = shown;
  const [deep, tall, wide] = [count * shown.spacing[0], rows * shown.spacing[1], columns * shown.spacing[2]];
  if (section === "axial") return { section, count, width: columns, height: rows, aspect: wide / tall };
  if (section === "coronal") return { section, count: rows, width: columns, height: count, aspect: wide / deep };
  return { section, count: columns, width: rows, height: count, aspect: tall / deep };
}

/**
 * Plane `index` of a section. Axial: the patient's front is on top and the right side at the left; coronal: the head is
 * on top and the right side at the left; sagittal: the head is on top and the front at the left.
 */
export function cut(shown: Shown, masks: Masks | null, section: Section, index: number): Plane {
  const { width, height } = shapeOf(shown, section);
  const { count, rows, columns, channels } = shown;
  const bits = masks === null ? new Uint8Array(width * height) : emptyLike(masks.bits, width * height);
  const pixels = new Uint8ClampedArray(width * height * 4);
  for (let y = 0, place = 0; y < height; y++) {
    for (let x = 0; x < width; x++, place++) {
      const [slice, row, column] =
        section === "axial" ? [index, y, x] : section === "coronal" ? [count - 1 - y, index, x] : [count - 1 - y, x, index];
      const from = (slice * rows + row) * columns + column;
      if (masks !== null) bits[place] = masks.bits[from]!;
      for (let channel = 0; channel < 3; channel++) {
        pixels[place * 4 + channel] = shown.pixels[from * channels + (channels === 3 ? channel : 0)]!;
      }
      pixels[place * 4 + 3] = 255;
    }
  }
  return { width, height, pixels, bits };
}

/** Where a point of a section lies: [slice, row, column]; `x` and `y` go from 0 to 1. */
export function placeIn(shown: Shown, section: Section, index: number, x: number, y: number): [number, number, number] {
  const within = (share: number, count: number): number => Math.min(count - 1, Math.max(0, Math.floor(share * count)));
  if (section === "axial") return [index, within(y, shown.rows), within(x, shown.columns)];
  const slice = shown.count - 1 - within(y, shown.count);
  return section === "coronal" ? [slice, index, within(x, shown.columns)] : [slice, within(x, shown.rows), index];
}

function emptyLike(bits: Masks["bits"], length: number): Masks["bits"] {
  if (bits instanceof Uint8Array) return new Uint8Array(length);
  return bits instanceof Uint16Array ? new Uint16Array(length) : new Uint32Array(length);
}
