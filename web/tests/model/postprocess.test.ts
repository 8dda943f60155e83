import assert from "node:assert/strict";
import test from "node:test";

import { fillHoles, largestComponent, postprocess } from "../../src/model/postprocess.ts";

/** A mask from lines of text, one slice after the other. */
function drawn(...slices: string[][]) {
  const grid = { count: slices.length, rows: slices[0]!.length, columns: slices[0]![0]!.length };
  const mask = Uint8Array.from(slices.flat().join(""), (letter) => (letter === "#" ? 1 : 0));
  return { grid, mask };
}

test("the largest part is kept, joined over corners; of equal ones the first", () => {
  const { grid, mask } = drawn(["##...", "..#..", "....#"]);
  assert.deepEqual(largestComponent(mask, grid), drawn(["##...", "..#..", "....."]).mask);
  const equal = drawn(["#.#"]);
  assert.deepEqual(largestComponent(equal.mask, equal.grid), drawn(["#.."]).mask);
});

test("a hole is what no way over edges leads out of", () => {
  const { grid, mask } = drawn([".###.", "#.#.#", "###..", "....."]);
  assert.deepEqual(fillHoles(mask, grid), drawn([".###.", "###.#", "###..", "....."]).mask);
});

test("in a volume a hole is closed in all three directions", () => {
  const ring = ["###", "#.#", "###"];
  const lid = ["###", "###", "###"];
  const open = drawn(ring, ring, lid);
  assert.deepEqual(fillHoles(open.mask, open.grid), open.mask);
  const closed = drawn(lid, ring, lid);
  assert.deepEqual(fillHoles(closed.mask, closed.grid), drawn(lid, lid, lid).mask);
});

test("in a volume a ring within one slice is no hole", () => {
  const empty = ["...", "...", "..."];
  const { grid, mask } = drawn(empty, ["###", "#.#", "###"], empty);
  const bits = mask.slice();
  postprocess(bits, 1, grid, { largest: true, holes: true, exclusive: false });
  assert.deepEqual(bits, mask);
});

test("structures that exclude each other stay apart when holes are filled", () => {
  const { grid, mask } = drawn(["###", "#.#", "###"]);
  const bits = Uint8Array.from(mask, (value, index) => (index === 4 ? 2 : value));
  postprocess(bits, 2, grid, { largest: false, holes: true, exclusive: true });
  assert.deepEqual([...bits], [1, 1, 1, 1, 2, 1, 1, 1, 1]);
  postprocess(bits, 2, grid, { largest: false, holes: true, exclusive: false });
  assert.equal(bits[4], 3);
});

test("an empty mask stays empty", () => {
  const bits = new Uint8Array(9);
  postprocess(bits, 1, { count: 1, rows: 3, columns: 3 }, { largest: true, holes: true, exclusive: false });
  assert.deepEqual([...bits], Array(9).fill(0));
});
