import assert from "node:assert/strict";
import test from "node:test";

import type { Contract } from "../../src/contract.ts";
import { farthest, trialImage, whyNoAdapter } from "../../src/model/webgpu.ts";

test("an answer that is no number is infinitely far", () => {
  const expected = Float32Array.of(0.5, 0.25, 1);
  assert.equal(farthest(Float32Array.of(0.5, 0.5, 1), expected), 0.25);
  assert.equal(farthest(Float32Array.of(NaN, 0.25, 1), expected), Infinity);
  assert.equal(farthest(Float32Array.of(0.5, 0.75, NaN), expected), Infinity);
});

test("the trial image goes from one end of the window to the other, in every channel", () => {
  const contract = { modality: "mr", width: 32, height: 32, channels: 2, neighbours: 1, window: [-1, 3] };
  const values = trialImage(contract as unknown as Contract);
  assert.equal(values.length, 32 * 32 * 6);
  assert.deepEqual([Math.min(...values), Math.max(...values)], [-1, 3]);
});

test("where there is no WebGPU the reason is said", async () => {
  assert.match((await whyNoAdapter(true)) ?? "", /^this browser has no /);
});
