/** Pictures of any format, told apart by their first bytes. */

import { isBmp, readBmp } from "./bmp.ts";
import { asMessage } from "./damage.ts";
import { isJpeg, readJpeg } from "./jpeg.ts";
import { isPng, readPng } from "./png.ts";
import { readTiff } from "./tiff.ts";
import { isTiff } from "./tiff_directory.ts";
import type { Picture, Pixels } from "./types.ts";

const NARROW = 4096; // grey levels of 16 bits that a camera of 10 or 12 bits fills

export function isPicture(data: Uint8Array): boolean {
  return isPng(data) || isJpeg(data) || isBmp(data) || isTiff(data);
}

/** Throws UserMessage for a picture that is damaged, too large or of a kind that is not read. */
export async function readPicture(data: Uint8Array, name: string): Promise<Picture> {
  try {
    let picture: Omit<Picture, "notes">;
    if (isPng(data)) picture = readPng(data, name);
    else if (isJpeg(data)) picture = await readJpeg(data, name);
    else picture = isBmp(data) ? readBmp(data, name) : readTiff(data, name);
    return { ...picture, notes: narrowRange(picture.data) };
  } catch (error) {
    throw asMessage(name, error);
  }
}

/** Cameras of 10 or 12 bits are often saved within 16: such an image turns out all but black, or in one flat tone. */
function narrowRange(pixels: Pixels): string[] {
  if (!(pixels instanceof Uint16Array)) return [];
  let [low, high] = [65_535, 0];
  for (const value of pixels) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (!(high - low > 0 && high - low < NARROW)) return [];
  return [
    `16 bits of which only the values ${low} to ${high} are used: the image is all but black or flat; save it with ` +
      "8 bits, or spread over 0 to 65535",
  ];
}
