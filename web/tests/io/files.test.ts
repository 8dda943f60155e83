import assert from "node:assert/strict";
import test from "node:test";

import { gzipSync, zipSync, zlibSync } from "fflate";

import { inflate } from "../../src/io/inflate.ts";
import { openFiles } from "../../src/io/open.ts";
import { turned } from "../../src/io/orientation.ts";
import { readPng } from "../../src/io/png.ts";
import { encodePng } from "../../src/io/save.ts";
import { UserMessage } from "../../src/io/types.ts";

const PIXELS = Uint8Array.from({ length: 2 * 3 * 3 }, (_, index) => index * 14);
const PNG = encodePng(PIXELS, { width: 3, height: 2 }, 3);

test("no more is unpacked than was asked for", () => {
  const bomb = new Uint8Array(5_000_000);
  for (const [packing, data] of [["gzip", gzipSync(bomb)], ["zlib", zlibSync(bomb)]] as const) {
    assert.equal(inflate(data, packing, 1000).length, 1000);
    assert.throws(() => inflate(data, packing, 6_000_000), /ends too early/);
  }
});

test("a saved picture is read again as it was", () => {
  const { width, height, channels, data } = readPng(PNG, "a.png");
  assert.deepEqual([width, height, channels, ...data], [3, 2, 3, ...PIXELS]);
});

test("a picture on its side is turned", () => {
  assert.deepEqual([...turned(Uint8Array.of(1, 2, 3, 4, 5, 6), 3, 2, 1, 6).data], [4, 1, 5, 2, 6, 3]);
});

test("a zip is looked into, hidden and foreign files in it are passed over", async () => {
  const zip = zipSync({ "a/b.png": PNG, "a/.hidden.png": PNG, "__MACOSX/a/b.png": PNG, "a/readme.txt": new Uint8Array(9) });
  const inputs = await openFiles([new File([zip.slice()], "all.zip")]);
  assert.deepEqual(inputs.map((input) => input.name), ["b.png"]);
});

test("the name of a file is said as it is", async () => {
  const name = "<img src=x onerror=alert(1)>.txt";
  await assert.rejects(openFiles([new File(["text"], name)]), (error) => {
    assert.ok(error instanceof UserMessage);
    return error.what.includes(name);
  });
});

test("what is neither picture nor volume is passed over beside one that is", async () => {
  const inputs = await openFiles([new File([PNG.slice()], "a.png"), new File(["text"], "notes.txt")]);
  assert.equal(inputs.length, 1);
});
