/** Where the planes of a volume stand on one canvas. */

import { SECTIONS } from "./planes.ts";
import type { Section } from "./planes.ts";
import type { Triple } from "./patient.ts";

export interface Tile {
  readonly section: Section;
  readonly box: readonly [number, number, number, number]; // left, top, width, height: shares of the canvas
}

export interface Layout {
  readonly width: number; // pixels
  readonly height: number;
  readonly tiles: readonly Tile[];
}

interface Size {
  readonly width: number;
  readonly height: number;
}

const GAP = 6; // pixels

/** The plane that the model works in is twice as large as the others, which stand below it or beside it. */
export function threePlanes(sides: Triple, main: Section, room: Size): Layout {
  const large = sizeOf(sides, main);
  const others = SECTIONS.filter((section) => section !== main);
  const [one, other] = others.map((section) => half(sizeOf(sides, section))) as [Size, Size];
  const below = {
    width: Math.max(large.width, one.width + other.width),
    height: large.height + Math.max(one.height, other.height),
  };
  const beside = {
    width: large.width + Math.max(one.width, other.width),
    height: Math.max(large.height, one.height + other.height),
  };
  const [belowScale, besideScale] = [scaleOf(below, room), scaleOf(beside, room)];
  if (belowScale >= besideScale) {
    const scale = belowScale;
    const width = below.width * scale + GAP;
    const [left, top] = [(width - (one.width + other.width) * scale - GAP) / 2, large.height * scale + GAP];
    return onCanvas({ width, height: below.height * scale + GAP }, scale, [
      [main, (width - large.width * scale) / 2, 0, large],
      [others[0]!, left, top, one],
      [others[1]!, left + one.width * scale + GAP, top, other],
    ]);
  }
  const scale = besideScale;
  const left = large.width * scale + GAP;
  return onCanvas({ width: beside.width * scale + GAP, height: beside.height * scale + GAP }, scale, [
    [main, 0, 0, large],
    [others[0]!, left, 0, one],
    [others[1]!, left, one.height * scale + GAP, other],
  ]);
}

export function onePlane(sides: Triple, section: Section, room: Size): Layout {
  const size = sizeOf(sides, section);
  const scale = scaleOf(size, room);
  return { width: size.width * scale, height: size.height * scale, tiles: [{ section, box: [0, 0, 1, 1] }] };
}

function onCanvas(canvas: Size, scale: number, placed: readonly (readonly [Section, number, number, Size])[]): Layout {
  const tiles = placed.map(([section, left, top, size]): Tile => ({
    section,
    box: [
      left / canvas.width,
      top / canvas.height,
      (size.width * scale) / canvas.width,
      (size.height * scale) / canvas.height,
    ],
  }));
  return { ...canvas, tiles };
}

/** Pixels a millimetre. */
function scaleOf(size: Size, room: Size): number {
  return Math.min((room.width - GAP) / size.width, (room.height - GAP) / size.height);
}

function sizeOf([x, y, z]: Triple, section: Section): Size {
  return { axial: { width: x, height: y }, coronal: { width: x, height: z }, sagittal: { width: y, height: z } }[section];
}

function half(size: Size): Size {
  return { width: size.width / 2, height: size.height / 2 };
}
