import assert from "node:assert/strict";
import test from "node:test";
import { gzipSync } from "node:zlib";

import { unpack } from "../../src/model/packed.ts";

test("what lies in the page is unpacked; where it is damaged a whole copy is asked for", async () => {
  const text = gzipSync(Buffer.from("a model".repeat(50))).toString("base64");
  assert.equal(new TextDecoder().decode(await unpack(text)), "a model".repeat(50));
  const other = text[20] === "A" ? "B" : "A";
  for (const damaged of [text.slice(0, 24), `${text.slice(0, 20)}${other}${text.slice(21)}`, `${text}%`]) {
    await assert.rejects(unpack(damaged), /page is damaged: get a whole copy/);
  }
});
