import assert from "node:assert/strict";
import test from "node:test";

import { onePlane, threePlanes } from "../../src/view/layout.ts";
import type { Layout } from "../../src/view/layout.ts";
import type { Triple } from "../../src/view/patient.ts";
import { SECTIONS } from "../../src/view/planes.ts";

const EDGES: Readonly<Record<string, readonly [number, number]>> = { axial: [0, 1], coronal: [0, 2], sagittal: [1, 2] };

/** Pixels a millimetre of each plane, along its width and its height. */
function scales(layout: Layout, sides: Triple): number[][] {
  return layout.tiles.map(({ section, box }) => {
    const [across, down] = EDGES[section]!;
    return [(box[2] * layout.width) / sides[across]!, (box[3] * layout.height) / sides[down]!];
  });
}

test("planes have the proportions of the body, fit, and lie apart", () => {
  for (const sides of [[400, 300, 50], [200, 200, 200], [30, 200, 500]] as const) {
    for (const main of SECTIONS) {
      for (const room of [{ width: 336, height: 600 }, { width: 780, height: 700 }, { width: 900, height: 240 }]) {
        const layout = threePlanes(sides, main, room);
        assert.ok(layout.width <= room.width + 1e-9 && layout.height <= room.height + 1e-9);
        const [large, ...small] = scales(layout, sides);
        for (const [across, down] of [large!, ...small]) assert.ok(Math.abs(across! / down! - 1) < 1e-9);
        for (const [across] of small) assert.ok(Math.abs(large![0]! / across! - 2) < 1e-9);
        assert.equal(layout.tiles[0]!.section, main);
        const boxes = layout.tiles.map(({ box }) => box);
        for (const [left, top, width, height] of boxes) {
          assert.ok(left >= -1e-9 && top >= -1e-9 && left + width <= 1 + 1e-9 && top + height <= 1 + 1e-9);
        }
        boxes.forEach((one, number) => {
          for (const other of boxes.slice(number + 1)) {
            const apart = [0, 1].some((axis) =>
              one[axis]! + one[axis + 2]! < other[axis]! || other[axis]! + other[axis + 2]! < one[axis]!);
            assert.ok(apart);
          }
        });
      }
    }
  }
});

test("a low wide room puts the small planes beside the large one, a high one below", () => {
  const cube = [100, 100, 100] as const;
  assert.equal(threePlanes(cube, "axial", { width: 900, height: 300 }).tiles[1]!.box[1], 0);
  assert.ok(threePlanes(cube, "axial", { width: 300, height: 900 }).tiles[1]!.box[1] > 0.5);
});

test("one plane alone is as large as can be", () => {
  const layout = onePlane([400, 300, 50], "coronal", { width: 806, height: 700 });
  assert.deepEqual([layout.width, layout.height], [800, 100]);
});
