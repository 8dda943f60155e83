/** One plane with its masks, drawn at the resolution of the screen. */

import type { Structure } from "../contract.ts";
import type { Bits } from "../model/rule.ts";

/** Pixels and masks of a plane, row by row. */
export interface Plane {
  readonly width: number;
  readonly height: number;
  readonly pixels: Uint8ClampedArray<ArrayBuffer>; // RGBA
  readonly bits: Bits;
}

export interface Style {
  readonly opacity: number; // of the mask's area, 0 to 1
  readonly outlines: boolean;
  readonly visible: number; // one bit per structure
}

/** What is painted last lies on top: inner structures over those they are part of. */
export function paintOrder(structures: readonly Structure[]): number[] {
  const order = structures.map((_, number) => number);
  return order.sort((one, other) => structures[other]!.parts - structures[one]!.parts);
}

/** Draw into the whole canvas. */
export function paint(canvas: HTMLCanvasElement, plane: Plane, structures: readonly Structure[], style: Style): void {
  const context = canvas.getContext("2d")!;
  const { width, height } = canvas;
  context.imageSmoothingQuality = "high";
  context.drawImage(onCanvas(new ImageData(plane.pixels, plane.width, plane.height)), 0, 0, width, height);
  const layer = new ImageData(width, height);
  overlay(layer, plane, structures, style, Math.min(width, height) < 280 ? 1 : 2);
  context.drawImage(onCanvas(layer), 0, 0);
}

function onCanvas(image: ImageData): HTMLCanvasElement {
  const canvas = document.createElement("canvas");
  canvas.width = image.width;
  canvas.height = image.height;
  canvas.getContext("2d")!.putImageData(image, 0, 0);
  return canvas;
}

/** Areas and outlines into a clear RGBA layer; `line` is the width of an outline in pixels of the screen. */
export function overlay(
  layer: { readonly width: number; readonly height: number; readonly data: Uint8ClampedArray },
  plane: Pick<Plane, "width" | "height" | "bits">,
  structures: readonly Structure[],
  style: Style,
  line: number,
): void {
  const { width, height, data } = layer;
  const nearest = (count: number, of: number): Int32Array =>
    Int32Array.from({ length: count }, (_, place) => Math.floor(((place + 0.5) * of) / count));
  const [columns, rows] = [nearest(width, plane.width), nearest(height, plane.height)];
  const at = (x: number, y: number): number =>
    x < 0 || y < 0 || x >= width || y >= height ? 0 : plane.bits[rows[y]! * plane.width + columns[x]!]! & style.visible;
  const topmost = paintOrder(structures).reverse();
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const here = at(x, y);
      if (here === 0) continue;
      const inside = at(x - line, y) & at(x + line, y) & at(x, y - line) & at(x, y + line);
      const edge = style.outlines ? here & ~inside : 0;
      const bits = edge || here;
      const number = topmost.find((each) => (bits & (1 << each)) !== 0)!;
      const place = (y * width + x) * 4;
      [data[place], data[place + 1], data[place + 2]] = structures[number]!.colour as [number, number, number];
      data[place + 3] = edge ? 255 : Math.round(style.opacity * 255);
    }
  }
}
