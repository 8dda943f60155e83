/** Values as they are shown and as a model of images takes them: 8 bits. */

import type { Picture } from "./types.ts";

/** [H, W, 3]: grey becomes three equal channels, 16-bit values are divided by 257. */
export function toRgb8(picture: Picture): Uint8Array {
  const { data, channels } = picture;
  const wide = data instanceof Uint16Array;
  if (!wide && channels === 3) return data.slice();
  const pixels = new Uint8Array((data.length / channels) * 3);
  for (let to = 0; to < pixels.length; to++) {
    const value = data[channels === 3 ? to : Math.floor(to / 3)]!;
    pixels[to] = wide ? Math.round(value / 257) : value; // 257 is odd: no value lies halfway
  }
  return pixels;
}

/** Grey levels of one slice; the window's two values become 0 and 255, others are clipped. */
export function toDisplay(slice: Float32Array, window: readonly [number, number]): Uint8ClampedArray {
  const low = Math.fround(window[0]);
  const scale = Math.fround(255 / (window[1] - window[0]));
  const pixels = new Uint8ClampedArray(slice.length); // rounds halves to even, as NumPy does
  for (let index = 0; index < slice.length; index++) {
    pixels[index] = Math.fround(Math.fround(slice[index]! - low) * scale);
  }
  return pixels;
}
