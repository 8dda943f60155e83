/** TIFF to pixels as OpenCV gives them: grey, colours and palettes of up to 16 bits, in strips or tiles. */

import { throughPalette, unpackBits } from "./bits.ts";
import { damaged } from "./damage.ts";
import { checkPixels } from "./limits.ts";
import { turned } from "./orientation.ts";
import type { Directory } from "./tiff_directory.ts";
import { TAG, onePage } from "./tiff_directory.ts";
import { unpacked } from "./tiff_packing.ts";
import type { Picture, Pixels } from "./types.ts";
import { UserMessage } from "./types.ts";

const [WHITE_IS_ZERO, GREY, RGB, PALETTE] = [0, 1, 2, 3];
const UNASSOCIATED = 2; // transparency that the colours were not multiplied by

interface Layout {
  readonly width: number;
  readonly height: number;
  readonly bits: number;
  readonly samples: number; // of a pixel
  readonly meaning: number;
  readonly little: boolean;
}

export function readTiff(data: Uint8Array, name: string): Omit<Picture, "notes"> {
  const { page, little } = onePage(data, name);
  const layout = layoutOf(page, little, name);
  checkPixels(layout.width, layout.height, name);
  const samples = samplesOf(data, page, layout, name);
  const [channels, pixels] = coloursOf(samples, page, layout);
  const { width, height } = layout;
  const orientation = page.one(TAG.orientation, 1);
  return { kind: "image", name, format: "tiff", channels, ...turned(pixels, width, height, channels, orientation) };
}

function layoutOf(page: Directory, little: boolean, name: string): Layout {
  const depths = page.all(TAG.bits);
  const bits = depths[0] ?? 1;
  const samples = page.one(TAG.samples, 1);
  const meaning = page.one(TAG.meaning, GREY!);
  const numbers = page.one(TAG.numbers, 1);
  if (numbers !== 1 || bits > 16) {
    const kind = numbers === 3 ? "floating-point" : numbers === 2 ? "signed" : "whole";
    const what = `'${name}' has pixels of ${bits}-bit ${kind} numbers; 8 or 16 bits are expected`;
    throw new UserMessage(what, "save it with 8 bits, its values brought to 0 to 255");
  }
  const enough = meaning === RGB ? samples >= 3 : samples >= 1;
  if (meaning > PALETTE! || !enough || ![1, 2, 4, 8, 16].includes(bits) || (meaning === PALETTE && bits > 8)) {
    throw new UserMessage(`'${name}' is a TIFF of a kind that is not read here`, "save it as PNG");
  }
  if (depths.some((depth) => depth !== bits) || (bits < 8 && samples > 1) || page.one(TAG.fillOrder, 1) !== 1) {
    throw new UserMessage(`'${name}' is a TIFF of a kind that is not read here`, "save it as PNG");
  }
  return { width: page.one(TAG.width, 0), height: page.one(TAG.height, 0), bits, samples, meaning, little };
}

/** A strip, or a tile: where it lies in the image, and what it holds. */
interface Block {
  readonly x: number;
  readonly y: number;
  readonly width: number;
  readonly height: number;
  readonly plane: number;
  readonly offset: number;
  readonly bytes: number;
}

function* blocksOf(page: Directory, layout: Layout, planes: number): Generator<Block> {
  const tiled = page.all(TAG.tileOffsets).length > 0;
  const width = tiled ? page.one(TAG.tileWidth, 0) : layout.width;
  const height = tiled ? page.one(TAG.tileHeight, 0) : Math.min(page.one(TAG.rowsPerStrip, layout.height), layout.height);
  if (!(width > 0 && height > 0) || width > layout.width + 65_536 || height > layout.height + 65_536) {
    throw new RangeError("blocks of an impossible size");
  }
  const offsets = page.all(tiled ? TAG.tileOffsets : TAG.stripOffsets);
  const lengths = page.all(tiled ? TAG.tileBytes : TAG.stripBytes);
  let index = 0;
  for (let plane = 0; plane < planes; plane++) {
    for (let y = 0; y < layout.height; y += height) {
      for (let x = 0; x < layout.width; x += width, index++) {
        const [offset, bytes] = [offsets[index], lengths[index]];
        if (offset === undefined || bytes === undefined) throw new RangeError("a block is missing");
        // The last strip ends with the image, tiles are whole.
        yield { x, y, width, height: tiled ? height : Math.min(height, layout.height - y), plane, offset, bytes };
      }
    }
  }
}

/** [height, width, samples], as the file has them. */
function samplesOf(data: Uint8Array, page: Directory, layout: Layout, name: string): Pixels {
  const { width, height, samples, bits } = layout;
  const length = width * height * samples;
  const result = bits === 16 ? new Uint16Array(length) : new Uint8Array(length);
  const planes = page.one(TAG.planes, 1) === 2 ? samples : 1;
  const together = samples / planes; // samples of a pixel that lie beside each other
  const packing = page.one(TAG.compression, 1);
  const predicted = page.one(TAG.predictor, 1) === 2;
  for (const block of blocksOf(page, layout, planes)) {
    const stride = Math.ceil((block.width * together * bits) / 8);
    if (block.offset + block.bytes > data.length) throw damaged(name, "its pixels end too early");
    const packed = data.subarray(block.offset, block.offset + block.bytes);
    const bytes = unpacked(packed, packing, stride * block.height);
    if (bytes === null) throw new UserMessage(`'${name}' is a TIFF packed in a way that is not read here`, "save it as PNG");
    const values = valuesOf(bytes, layout, block.width * together, block.height);
    if (predicted) undoPrediction(values, block.width * together, together);
    const columns = Math.min(block.width, width - block.x);
    for (let y = 0; y < Math.min(block.height, height - block.y); y++) {
      for (let x = 0; x < columns; x++) {
        const to = ((block.y + y) * width + block.x + x) * samples + block.plane;
        const from = (y * block.width + x) * together;
        for (let s = 0; s < together; s++) result[to + s] = values[from + s]!;
      }
    }
  }
  return result;
}

function valuesOf(bytes: Uint8Array, layout: Layout, perRow: number, height: number): Pixels {
  if (layout.bits === 8) return bytes.slice();
  if (layout.bits < 8) return unpackBits(bytes, layout.bits as 1 | 2 | 4, perRow, height);
  const [low, high] = layout.little ? [0, 1] : [1, 0];
  return Uint16Array.from({ length: perRow * height }, (_, i) => bytes[2 * i + low]! | (bytes[2 * i + high]! << 8));
}

/** Each sample was stored as the difference to the one on its left. */
function undoPrediction(values: Pixels, perRow: number, step: number): void {
  for (let row = 0; row < values.length; row += perRow) {
    for (let x = step; x < perRow; x++) values[row + x]! += values[row + x - step]!;
  }
}

function coloursOf(values: Pixels, page: Directory, layout: Layout): [1 | 3, Pixels] {
  const { bits, samples, meaning } = layout;
  if (meaning === PALETTE) return [3, throughPalette(first(values, samples, 1) as Uint8Array, paletteOf(page))];
  if (meaning === RGB) {
    const blended = samples === 4 && bits === 8 && page.all(TAG.extra)[0] === UNASSOCIATED;
    // OpenCV has libtiff multiply 8-bit colours by such transparency; of 16 bits it drops it.
    return [3, blended ? multiplied(values) : first(values, samples, 3)];
  }
  const grey = first(values, samples, 1);
  const top = 2 ** bits - 1;
  const scale = bits < 8 ? 255 / top : 1;
  if (meaning === WHITE_IS_ZERO) return [1, grey.map((value) => (top - value) * scale) as Pixels];
  return [1, scale === 1 ? grey : (grey.map((value) => value * scale) as Pixels)];
}

/** The first `kept` samples of each pixel. */
function first(values: Pixels, samples: number, kept: number): Pixels {
  if (samples === kept) return values;
  const pixels = new (values.constructor as new (length: number) => Pixels)((values.length / samples) * kept);
  for (let from = 0, to = 0; from < values.length; from += samples) {
    for (let s = 0; s < kept; s++) pixels[to++] = values[from + s]!;
  }
  return pixels;
}

function multiplied(values: Pixels): Uint8Array {
  const pixels = new Uint8Array((values.length / 4) * 3);
  for (let from = 0, to = 0; from < values.length; from += 4) {
    const alpha = values[from + 3]!;
    for (let s = 0; s < 3; s++) pixels[to++] = Math.floor((values[from + s]! * alpha + 127) / 255);
  }
  return pixels;
}

/** [n, 3] of 8 bits; the file has all reds, then all greens, then all blues, of 16 bits. */
function paletteOf(page: Directory): Uint8Array {
  const values = page.all(TAG.palette);
  const count = Math.floor(values.length / 3);
  const wide = values.some((value) => value > 255);
  const palette = new Uint8Array(count * 3);
  for (let entry = 0; entry < count; entry++) {
    for (let c = 0; c < 3; c++) {
      const value = values[c * count + entry]!;
      palette[entry * 3 + c] = wide ? value >> 8 : value;
    }
  }
  return palette;
}
