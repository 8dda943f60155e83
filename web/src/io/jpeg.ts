/** JPEG to pixels by the browser's own decoder, the camera's orientation applied. */

import { damaged } from "./damage.ts";
import { checkPixels } from "./limits.ts";
import type { Picture } from "./types.ts";
import { UserMessage } from "./types.ts";

interface Frame {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly components: number;
}

export function isJpeg(data: Uint8Array): boolean {
  return data[0] === 0xff && data[1] === 0xd8 && data[2] === 0xff;
}

export async function readJpeg(data: Uint8Array, name: string): Promise<Omit<Picture, "notes">> {
  const frame = frameOf(data);
  if (frame === null || !ends(data)) throw damaged(name, "a JPEG that is truncated or damaged");
  checkPixels(frame.width, frame.height, name);
  if (frame.bits !== 8 || frame.components === 4) {
    const what = frame.bits === 8 ? "printing colours (CMYK)" : `${frame.bits} bits`;
    throw new UserMessage(`'${name}' is a JPEG of ${what}`, "save it as PNG, or as an ordinary JPEG");
  }
  const { width, height, data: pixels } = await decoded(data, name);
  if (width * height !== frame.width * frame.height) throw damaged(name, "its header and its pixels disagree");
  return { kind: "image", name, format: "jpeg", width, height, channels: 3, data: pixels };
}

async function decoded(data: Uint8Array, name: string): Promise<{ width: number; height: number; data: Uint8Array }> {
  let bitmap: ImageBitmap;
  try {
    bitmap = await createImageBitmap(new Blob([data.slice()], { type: "image/jpeg" }), {
      colorSpaceConversion: "none", // the values of the file, as a model was trained on them
      imageOrientation: "from-image",
      premultiplyAlpha: "none",
    });
  } catch {
    throw damaged(name, "a JPEG that this browser cannot read");
  }
  const { width, height } = bitmap;
  try {
    const context = new OffscreenCanvas(width, height).getContext("2d", { willReadFrequently: true });
    if (context === null) throw new UserMessage(`'${name}' cannot be drawn by this browser`, "save it as PNG");
    context.drawImage(bitmap, 0, 0);
    const { data: shown } = context.getImageData(0, 0, width, height);
    const pixels = new Uint8Array(width * height * 3);
    for (let from = 0, to = 0; from < shown.length; from += 4) {
      pixels[to++] = shown[from]!;
      pixels[to++] = shown[from + 1]!;
      pixels[to++] = shown[from + 2]!;
    }
    return { width, height, data: pixels };
  } finally {
    bitmap.close();
  }
}

/** What the header of the frame says, of any kind of JPEG; null where there is none. */
export function frameOf(data: Uint8Array): Frame | null {
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (let place = 2; place + 10 <= data.length; ) {
    if (data[place] !== 0xff) return null;
    const marker = data[place + 1]!;
    if (marker === 0xff) {
      place += 1; // filling
    } else if (marker >= 0xc0 && marker <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(marker)) {
      const [bits, components] = [data[place + 4]!, data[place + 9]!];
      return { bits, height: view.getUint16(place + 5), width: view.getUint16(place + 7), components };
    } else if (marker === 0x01 || (marker >= 0xd0 && marker <= 0xd8)) {
      place += 2; // without a length
    } else {
      place += 2 + view.getUint16(place + 2);
    }
  }
  return null;
}

/** Whether the pixels are closed by an end marker; decoders fill a missing rest with grey. */
function ends(data: Uint8Array): boolean {
  return lastMarker(data, 0xd9) > lastMarker(data, 0xda);
}

function lastMarker(data: Uint8Array, marker: number): number {
  for (let place = data.length - 2; place >= 0; place--) {
    if (data[place] === 0xff && data[place + 1] === marker) return place;
  }
  return -1;
}
