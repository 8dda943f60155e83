import assert from "node:assert/strict";
import test from "node:test";

import type { Contract, Normalisation } from "../../src/contract.ts";
import { unlike } from "../../src/model/intensities.ts";
import { roundEven, scaleOf, toHalf } from "../../src/model/normalise.ts";

function contract(normalisation: Normalisation | null, more: Partial<Contract> = {}): Contract {
  return { window: [-175, 250], dtype: "int16", stretch: false, normalisation, normalisations: [], ...more } as Contract;
}

test("whole numbers are clipped to the type they are kept in, fractions rounded half to even", () => {
  const { apply, notes } = scaleOf(Float32Array.of(-40000, 0.5, 1.5, 2000), contract(null), "a");
  assert.deepEqual([-40000, 0.5, 1.5].map(apply), [-32768, 0, 2]);
  assert.equal(notes.length, 2);
  assert.deepEqual([-2.5, -1.5, 0.5, 2.4].map(roundEven), [-2, -2, 0, 2]);
});

test("statistics of the volume, as NumPy has them", () => {
  const values = Float32Array.of(0, 1, 2, 3, 4);
  const minMax = scaleOf(values, contract({ method: "min-max" }, { window: [0, 1] }), "a");
  assert.equal(minMax.apply(1), 0.25);
  const score = contract({ method: "z-score", low: -3, high: 5, nonzero: true }, { window: [-3, 5] });
  assert.ok(Math.abs(scaleOf(values, score, "a").apply(4) - 1.5 / Math.sqrt(1.25)) < 1e-6);
  const middle = contract({ method: "percentiles", low: 10, high: 90, nonzero: false }, { window: [0, 1] });
  assert.ok(Math.abs(scaleOf(values, middle, "a").apply(2) - 0.5) < 1e-6);
  assert.equal(scaleOf(values, middle, "a").apply(100), 1);
});

test("each of several channels goes from 0 to 1, whatever its own window", () => {
  const values = Float32Array.of(-100, 0, 100, 200);
  const channel = (how: Normalisation): ((value: number) => number) =>
    scaleOf(values, contract(null, { window: [0, 1], normalisations: [how] }), "a").apply;
  assert.deepEqual([-200, 50, 400].map(channel({ method: "window", low: -150, high: 250 })), [0, 0.5, 1]);
  const score = channel({ method: "z-score", low: -3, high: 5, nonzero: false });
  assert.ok(Math.abs(score(50) - 3 / 8) < 1e-6);
  assert.equal(channel({ method: "min-max" })(50), 0.5);
});

test("a volume that says nothing is refused in words", () => {
  assert.throws(() => scaleOf(Float32Array.of(7, 7), contract({ method: "min-max" }), "flat.nii"), /flat.nii.*alike/);
  assert.throws(() => scaleOf(Float32Array.of(0, NaN), contract(null), "a"), /1 voxels that are NaN/);
  assert.throws(() => scaleOf(Float32Array.of(0, 0.5), contract(null), "a"), /original intensities/);
});

test("16-bit floating point keeps eleven digits of two", () => {
  assert.equal(toHalf(1 + 2 ** -11), 1);
  assert.equal(toHalf(1 + 3 * 2 ** -11), 1 + 2 ** -9);
  assert.equal(toHalf(2 ** -25), 0);
  assert.equal(toHalf(-0.1), -0.0999755859375);
});

test("another scale than that of training is said", () => {
  const trained = { p1: [0, 5, 10], p99: [200, 230, 250], width: [180, 220, 240] } as const;
  const even = Array.from({ length: 1001 }, (_, index) => index / 4);
  assert.deepEqual(unlike(even, trained), []);
  assert.match(unlike(even.map((value) => value / 255), trained)[0]!, /another scale/);
  assert.match(unlike(even.map((value) => value + 300), trained)[0]!, /shifted/);
});
