import assert from "node:assert/strict";
import test from "node:test";

import type { Contract } from "../../src/contract.ts";
import { labelsOf, maskSlice, roomForBits } from "../../src/model/rule.ts";

const disc = { name: "disc", colour: [1, 2, 3], parts: 2 } as const;
const cup = { name: "cup", colour: [4, 5, 6], parts: 1 } as const;

test("structures that overlap are each above the threshold, never on it", () => {
  const bits = roomForBits(2, 3);
  maskSlice(Float32Array.from([0.9, 0.5, 0.6, 0.8, 0.9, 0.1]), bits, 2, 0.5, false);
  assert.deepEqual([...bits], [3, 2, 1]);
});

test("of structures that exclude each other the likelier one has the pixel, among equals the first", () => {
  const bits = roomForBits(2, 3);
  maskSlice(Float32Array.from([0.9, 0.7, 0.2, 0.8, 0.7, 0.3]), bits, 2, 0.5, true);
  assert.deepEqual([...bits], [1, 1, 0]);
});

test("a label map shows the inner structure over the one it is part of, whatever their order", () => {
  for (const structures of [[disc, cup], [cup, disc]]) {
    const contract: Pick<Contract, "structures"> = { structures };
    const inner = structures.indexOf(cup);
    const labels = labelsOf(Uint8Array.from([3, 2 ** (1 - inner), 0]), contract);
    assert.deepEqual([...labels], [inner + 1, 2 - inner, 0]);
  }
});

test("thirty structures have a bit each", () => {
  const bits = roomForBits(30, 1);
  maskSlice(new Float32Array(30).fill(1), bits, 30, 0.5, false);
  assert.equal(bits[0], 2 ** 30 - 1);
});
