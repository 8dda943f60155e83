/** A volume along the patient's axes, as viewers of volumes take them: to the right, to the front, to the head (RAS+). */

import type { Structure } from "../contract.ts";
import type { Masks, Shown } from "../messages.ts";
import { paintOrder } from "./paint.ts";
import { linesOf } from "./planes.ts";
import type { Place } from "./planes.ts";

export type Triple = readonly [number, number, number];

export interface PatientVolume {
  readonly shape: Triple; // voxels to the right, to the front, to the head
  readonly mm: Triple;
  readonly values: Uint8Array<ArrayBuffer>; // the first axis runs fastest; 0 to 255
}

/** Millimetres to the right, to the front, to the head. */
export function sidesOf(shown: Shown): Triple {
  const [x, y, z] = linesOf(shown).lines;
  return [x.length * x.mm, y.length * y.mm, z.length * z.mm];
}

export function patientVolume(shown: Shown): PatientVolume {
  const { lines } = linesOf(shown);
  const along = <Field extends "length" | "mm">(field: Field): Triple => [lines[0][field], lines[1][field], lines[2][field]];
  const { channels, pixels } = shown;
  const values = new Uint8Array(shown.count * shown.rows * shown.columns);
  eachRow(shown, (from, step, to, end) => {
    for (let voxel = from; to < end; voxel += step) values[to++] = pixels[voxel * channels]!;
  });
  return { shape: along("length"), mm: along("mm"), values };
}

/** Of each voxel: 0, or one more than the number of the visible structure that lies on top there. */
export function patientLabels(shown: Shown, masks: Masks, structures: readonly Structure[], visible: number): Uint8Array {
  const topmost = paintOrder(structures).reverse();
  const { bits } = masks;
  const labels = new Uint8Array(bits.length);
  let [last, label] = [0, 0]; // neighbours mostly belong to the same
  eachRow(shown, (from, step, to, end) => {
    for (let voxel = from; to < end; voxel += step) {
      const here = bits[voxel]! & visible;
      if (here !== last) {
        last = here;
        label = here === 0 ? 0 : topmost.find((number) => (here & (1 << number)) !== 0)! + 1;
      }
      labels[to++] = label;
    }
  });
  return labels;
}

/** Sections are counted from the right, the front and the feet. */
export function voxelAt(shown: Shown, [axial, coronal, sagittal]: Place): Triple {
  const { lines } = linesOf(shown);
  return [lines[0].length - 1 - sagittal, lines[1].length - 1 - coronal, axial];
}

export function placeAt(shown: Shown, [right, front, head]: Triple): Place {
  const { lines } = linesOf(shown);
  return [head, lines[1].length - 1 - front, lines[0].length - 1 - right];
}

/** Rows from the patient's left to the right, one after the other: where each begins in the slices, its step, and where it goes. */
function eachRow(shown: Shown, copy: (from: number, step: number, to: number, end: number) => void): void {
  const { first, lines } = linesOf(shown);
  const [right, front, head] = lines;
  for (let z = 0, to = 0; z < head.length; z++) {
    for (let y = 0; y < front.length; y++, to += right.length) {
      copy(first + z * head.step + y * front.step, right.step, to, to + right.length);
    }
  }
}
