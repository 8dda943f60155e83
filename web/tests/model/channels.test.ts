import assert from "node:assert/strict";
import test from "node:test";

import type { Input, Picture } from "../../src/io/types.ts";
import { UserMessage } from "../../src/io/types.ts";
import { casesOf, sharedNotes, stemOf } from "../../src/model/channels.ts";

function picture(name: string, width = 4): Picture {
  return { kind: "image", name, width, height: 3, channels: 1, data: new Uint8Array(3 * width), format: "png", notes: [] };
}

function cases(inputs: readonly Input[], channelNames: readonly string[] = ["T1", "T1c"]): [string, ...string[]][] {
  return casesOf(inputs, { channelNames }).map((one) => [one.name, ...one.channels.map((each) => each.name), ...one.notes]);
}

function refusal(...names: string[]): string {
  try {
    return cases(names.map((name) => picture(name))).join();
  } catch (error) {
    assert.ok(error instanceof UserMessage);
    return error.what;
  }
}

test("a model of one file per case has a case for each", () => {
  assert.deepEqual(cases([picture("a.png"), picture("b.png")], []), [["a.png", "a.png"], ["b.png", "b.png"]]);
});

test("channels are told by number, by the end of a name, or by a whole name, in the model's order", () => {
  const files = ["p_0001.png", "q-t1.png", "T1c.png", "p_0000.png", "q.T1C.png", "t1.png", "r_7_T1.png", "r_7_T1c.png"];
  assert.deepEqual(cases(files.map((name) => picture(name))), [
    ["p", "p_0000.png", "p_0001.png"],
    ["q", "q-t1.png", "q.T1C.png"],
    ["case", "t1.png", "T1c.png"],
    ["r_7", "r_7_T1.png", "r_7_T1c.png"],
  ]);
});

test("what is amiss is said, and left out beside whole cases", () => {
  assert.equal(refusal("scan.png"), "the name of 'scan.png' tells no channel, and the model sees T1, T1c");
  assert.equal(refusal("a_0000.png"), "'a': its file of T1c is missing; the model sees T1, T1c");
  assert.equal(refusal("a_0002.png"), "'a_0002.png' is channel 2, counted from 0, of a model that sees T1, T1c");
  assert.match(refusal("a_0000.png", "a_T1.png"), /^'a_0000.png' and 'a_T1.png' are both the channel T1 of 'a'/);
  assert.match(refusal("a_0000.png", "a_0001.png", "b_T1.png"), /a_0001.png,left out: 'b': its file of T1c is missing/);
});

test("channels of other sizes are no case", () => {
  assert.throws(() => cases([picture("a_0000.png"), picture("a_0001.png", 5)]), /4 × 3 and 5 × 3 pixels/);
});

test("what every channel says is said once", () => {
  assert.deepEqual(sharedNotes([["x", "y"], ["x"]], ["T1", "T2"]), ["x", "T1: y"]);
  assert.deepEqual(sharedNotes([["x"]], []), ["x"]);
});

test("a stem is a name without folders and kind", () => {
  assert.deepEqual(["a/b.nii.gz", "c.PNG", "d.e"].map(stemOf), ["b", "c", "d.e"]);
});
