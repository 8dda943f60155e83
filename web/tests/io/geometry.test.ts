import assert from "node:assert/strict";
import test from "node:test";

import { fromSlices, millilitresPerVoxel, orientationOf, toSlices } from "../../src/io/geometry.ts";
import { nearestRotation, quaternionOf, rotationOf } from "../../src/io/matrices.ts";
import type { Plane, Volume } from "../../src/io/types.ts";

const ORDERS = [
  [0, 1, 2],
  [0, 2, 1],
  [1, 0, 2],
  [1, 2, 0],
  [2, 0, 1],
  [2, 1, 0],
] as const;

/** A volume of 2×3×4 voxels, each with a value of its own, whose axes follow the patient's in some order and direction. */
function volumeOf(order: readonly number[], signs: readonly number[]): Volume {
  const affine = [0, 1, 2].map((row) => [...order.map((patient, axis) => (patient === row ? signs[axis]! * (axis + 1) : 0)), 5]);
  const data = Int16Array.from({ length: 24 }, (_, index) => index);
  return {
    kind: "volume",
    name: "test",
    shape: [2, 3, 4],
    spacing: [1, 2, 3],
    affine: [...affine, [0, 0, 0, 1]],
    data,
    source: "nifti",
    modality: null,
    header: null,
    notes: [],
  };
}

test("the way back from slices is exact, whatever way the axes run", () => {
  for (const order of ORDERS) {
    for (let bits = 0; bits < 8; bits++) {
      const signs = [0, 1, 2].map((axis) => ((bits >> axis) & 1 ? -1 : 1));
      const volume = volumeOf(order, signs);
      assert.deepEqual(orientationOf(volume.affine), order.map((patient, axis) => [patient, signs[axis]]));
      for (const plane of ["axial", "coronal", "sagittal"] as Plane[]) {
        const cut = toSlices(volume, plane);
        const slices = Array.from({ length: cut.count }, (_, index) => Uint8Array.from(cut.slice(index)));
        assert.deepEqual([...fromSlices(volume, slices, plane)], [...volume.data]);
      }
    }
  }
});

test("an axial slice has the patient's front on top and the right side at the left", () => {
  const cut = toSlices(volumeOf([0, 1, 2], [1, 1, 1]), "axial");
  assert.deepEqual([cut.count, cut.rows, cut.columns, ...cut.spacing], [4, 3, 2, 3, 2, 1]);
  assert.deepEqual([...cut.slice(0)], [5, 4, 3, 2, 1, 0]); // from front to back, from right (+) to left
});

test("a voxel of 1 × 2 × 3 mm has 0.006 ml", () => {
  assert.equal(millilitresPerVoxel(volumeOf([2, 0, 1], [1, -1, 1])), 0.006);
});

test("a rotation and its quaternion are one", () => {
  for (const [b, c, d] of [[0, 0, 0], [0.5, 0.5, 0.5], [1, 0, 0], [0, 0.8, -0.6], [-0.1, 0.2, 0.9]] as const) {
    const rotation = rotationOf(b, c, d);
    assert.ok(quaternionOf(rotation).every((value, index) => Math.abs(value - [b, c, d][index]!) < 1e-12));
    const sheared = rotation.map((row) => [row[0], row[1] + 0.1 * row[0], row[2]]) as unknown as typeof rotation;
    const nearest = nearestRotation(sheared);
    for (const row of nearest) assert.ok(Math.abs(Math.hypot(...row) - 1) < 1e-12);
  }
  assert.throws(() => rotationOf(1, 1, 0), /no unit quaternion/);
});
