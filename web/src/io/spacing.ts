/** What is unlikely about the grid of a volume, in words: sdseg/io/volume_warnings.py. */

import { orientationOf, spacingOf } from "./geometry.ts";
import type { Affine } from "./types.ts";

const LIKELY = [0.05, 10] as const; // mm; what lies outside was hardly measured by a scanner

/** A note on distances that no scanner measures, left to right, back to front, foot to head. */
export function oddSpacing(affine: Affine): string[] {
  const [own, oriented] = [spacingOf(affine), orientationOf(affine)];
  const spacing = [0, 1, 2].map((patient) => own[oriented.findIndex(([axis]) => axis === patient)]!);
  if (spacing.every((length) => length >= LIKELY[0] && length <= LIKELY[1])) return [];
  const shown = spacing.map((length) => Number(length.toPrecision(6))).join(" × ");
  return [`voxels of ${shown} mm, an unlikely spacing: millilitres and distances follow from it`];
}
