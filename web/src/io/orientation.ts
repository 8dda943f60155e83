/** The camera's orientation tag (EXIF and TIFF tag 274, 1 to 8), as it is applied to pixels. */

import type { Pixels } from "./types.ts";

export interface Turned<T extends Pixels> {
  readonly width: number;
  readonly height: number;
  readonly data: T;
}

/** Pixels [height, width, channels] the way up that the tag says. */
export function turned<T extends Pixels>(
  data: T,
  width: number,
  height: number,
  channels: number,
  orientation: number,
): Turned<T> {
  if (!(orientation >= 2 && orientation <= 8)) return { width, height, data };
  const across = orientation >= 5; // rows become columns
  const newWidth = across ? height : width;
  const newHeight = across ? width : height;
  const result = new (data.constructor as new (length: number) => T)(data.length);
  // Columns of the new image run backwards along the old ones, and its rows likewise.
  const backX = [2, 3, 6, 7].includes(orientation);
  const backY = [3, 4, 7, 8].includes(orientation);
  for (let y = 0; y < newHeight; y++) {
    const alongY = backY ? newHeight - 1 - y : y;
    for (let x = 0; x < newWidth; x++) {
      const alongX = backX ? newWidth - 1 - x : x;
      const from = (across ? alongX * width + alongY : alongY * width + alongX) * channels;
      const to = (y * newWidth + x) * channels;
      for (let c = 0; c < channels; c++) result[to + c] = data[from + c]!;
    }
  }
  return { width: newWidth, height: newHeight, data: result };
}

/** The tag in a block of EXIF, which is laid out like a TIFF file; 1 where there is none. */
export function orientationOf(exif: Uint8Array): number {
  const view = new DataView(exif.buffer, exif.byteOffset, exif.byteLength);
  if (exif.length < 14) return 1;
  const little = exif[0] === 0x49;
  const directory = view.getUint32(4, little);
  if (directory + 2 > exif.length) return 1;
  const entries = view.getUint16(directory, little);
  for (let index = 0; index < entries; index++) {
    const entry = directory + 2 + 12 * index;
    if (entry + 12 > exif.length) return 1;
    if (view.getUint16(entry, little) === 274) return view.getUint16(entry + 8, little);
  }
  return 1;
}
