import assert from "node:assert/strict";
import test from "node:test";

import type { Structure } from "../../src/contract.ts";
import type { Masks } from "../../src/messages.ts";
import { patientLabels, patientVolume, placeAt, sidesOf, voxelAt } from "../../src/view/patient.ts";
import { SECTIONS, cut, shapeOf } from "../../src/view/planes.ts";
import type { Place } from "../../src/view/planes.ts";
import { numberedVolume } from "./numbered_volume.ts";

const shown = numberedVolume("coronal");

test("every section crosses where it does on canvases", () => {
  const { shape, mm, values } = patientVolume(shown);
  assert.deepEqual([shape, mm, sidesOf(shown)], [[4, 2, 3], [2, 5, 1], [8, 10, 3]]);
  const counts = SECTIONS.map((section) => shapeOf(shown, section).count);
  for (let axial = 0; axial < counts[0]!; axial++) {
    for (let coronal = 0; coronal < counts[1]!; coronal++) {
      for (let sagittal = 0; sagittal < counts[2]!; sagittal++) {
        const place: Place = [axial, coronal, sagittal];
        const [x, y, z] = voxelAt(shown, place);
        assert.deepEqual(placeAt(shown, [x, y, z]), place);
        const plane = cut(shown, null, "axial", axial);
        assert.equal(values[x + shape[0] * (y + shape[1] * z)], plane.pixels[4 * (coronal * plane.width + sagittal)]);
      }
    }
  }
});

test("of structures that overlap the visible one with fewest parts is seen", () => {
  const structures = [{ parts: 2 }, { parts: 1 }, { parts: 3 }] as unknown as Structure[];
  const masks = { bits: Uint16Array.from({ length: 24 }, (_, index) => index % 8) } as unknown as Masks;
  const labels = (visible: number): number[] => {
    const all = patientLabels(shown, masks, structures, visible);
    const voxels = patientVolume(shown).values; // each its own number
    return Array.from({ length: 8 }, (_, bits) => all[voxels.indexOf(bits)]!);
  };
  assert.deepEqual(labels(-1), [0, 1, 2, 2, 3, 1, 2, 2]);
  assert.deepEqual(labels(0b101), [0, 1, 0, 1, 3, 1, 3, 1]);
});
