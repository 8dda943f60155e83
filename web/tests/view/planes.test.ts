import assert from "node:assert/strict";
import test from "node:test";

import type { Masks, Shown } from "../../src/messages.ts";
import { overlay } from "../../src/view/paint.ts";
import { cut, placeIn, placeOf, shapeOf } from "../../src/view/planes.ts";
import { numberedVolume } from "./numbered_volume.ts";

const shown = numberedVolume("axial");
const masks = { bits: shown.pixels } as unknown as Masks;
const reds = (section: "axial" | "coronal" | "sagittal", index: number): number[] =>
  [...cut(shown, masks, section, index).pixels].filter((_, place) => place % 4 === 0);

test("sections show the head on top", () => {
  assert.deepEqual(reds("axial", 1).slice(0, 4), [12, 13, 14, 15]);
  assert.deepEqual(reds("coronal", 2), [20, 21, 22, 23, 8, 9, 10, 11]);
  assert.deepEqual(reds("sagittal", 3), [15, 19, 23, 3, 7, 11]);
  assert.deepEqual([...cut(shown, masks, "sagittal", 3).bits], [15, 19, 23, 3, 7, 11]);
});

test("sections of a volume in slices of another plane are those of the same volume in axial ones", () => {
  // The same voxels: coronal slices from the back, their rows from the head, their columns from the right.
  const pixels = Uint8Array.from({ length: 24 }, (_, index) => {
    const [slice, row, column] = [Math.floor(index / 8), Math.floor(index / 4) % 2, index % 4];
    return shown.pixels[((1 - row) * 3 + 2 - slice) * 4 + column]!;
  });
  const coronal: Shown = { ...shown, count: 3, rows: 2, columns: 4, plane: "coronal", spacing: [1, 5, 2], pixels };
  for (const section of ["axial", "coronal", "sagittal"] as const) {
    assert.deepEqual(shapeOf(coronal, section), shapeOf(shown, section));
    for (let index = 0; index < shapeOf(shown, section).count; index++) {
      assert.deepEqual(cut(coronal, null, section, index).pixels, cut(shown, null, section, index).pixels);
    }
  }
  assert.deepEqual(placeOf(coronal, 0, 1, 3), placeOf(shown, 0, 2, 3));
});

test("pictures have the proportions of the body", () => {
  assert.equal(shapeOf(shown, "axial").aspect, 8 / 3);
  assert.equal(shapeOf(shown, "coronal").aspect, 8 / 10);
  assert.equal(shapeOf(shown, "sagittal").aspect, 3 / 10);
});

test("a point of a section is found in the volume", () => {
  assert.deepEqual(placeIn(shown, "axial", 1, 0.99, 0), [1, 0, 3]);
  assert.deepEqual(placeIn(shown, "coronal", 2, 0, 0), [1, 2, 0]);
  assert.deepEqual(placeIn(shown, "sagittal", 3, 1, 1), [0, 2, 3]);
});

test("outlines are drawn inside the mask, the inner structure on top, hidden ones not at all", () => {
  const outer = { name: "outer", colour: [255, 0, 0], parts: 2 } as const;
  const inner = { name: "inner", colour: [0, 255, 0], parts: 1 } as const;
  const bits = Uint8Array.from([0, 0, 0, 0, 0, 0, 1, 1, 1, 0, 0, 1, 3, 1, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0, 0]);
  const draw = (visible: number): number[] => {
    const layer = { width: 5, height: 5, data: new Uint8ClampedArray(100) };
    overlay(layer, { width: 5, height: 5, bits }, [outer, inner], { opacity: 0.5, outlines: true, visible }, 1);
    return [...layer.data];
  };
  assert.deepEqual(draw(3).slice(48, 52), [0, 255, 0, 255]);
  assert.deepEqual(draw(1).slice(48, 52), [255, 0, 0, 128]);
  assert.deepEqual(draw(1).slice(24, 28), [255, 0, 0, 255]);
  assert.ok(draw(0).every((value) => value === 0));
});
