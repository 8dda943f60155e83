import type { Shown } from "../../src/messages.ts";

/** Two slices of three rows and four columns; each voxel its own number. */
export function numberedVolume(plane: Shown["plane"]): Shown {
  return {
    name: "a",
    kind: "volume",
    count: 2,
    rows: 3,
    columns: 4,
    channels: 1,
    plane,
    spacing: [5, 1, 2],
    pixels: Uint8Array.from({ length: 24 }, (_, index) => index),
    notes: [],
    seconds: 0,
  };
}
