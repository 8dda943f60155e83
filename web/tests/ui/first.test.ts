import assert from "node:assert/strict";
import test from "node:test";

import type { InputSummary } from "../../src/messages.ts";
import { UserMessage } from "../../src/io/types.ts";
import { firstThatWorks } from "../../src/ui/first.ts";

const inputs: InputSummary[] = [
  { name: "v.nii", kind: "volume", about: "" },
  { name: "bad.png", kind: "image", about: "" },
  { name: "good.png", kind: "image", about: "" },
];

async function attempt(index: number): Promise<string> {
  const { name } = inputs[index]!;
  if (name !== "good.png") throw new UserMessage(`'${name}' is refused`, "choose another");
  return name;
}

test("the first input that can be worked on is shown, and what was left out is said", async () => {
  assert.deepEqual(await firstThatWorks(inputs, "image", attempt), {
    index: 2,
    result: "good.png",
    notes: ["left out: 'v.nii' is a volume", "left out: 'bad.png' is refused"],
  });
});

test("where none can be, the first one of the kind says why, else the first of all", async () => {
  await assert.rejects(firstThatWorks(inputs.slice(0, 2), "image", attempt), /'bad.png' is refused/);
  await assert.rejects(firstThatWorks(inputs.slice(0, 1), "image", attempt), /'v.nii' is refused/);
});

test("what is no refusal of an input ends it", async () => {
  const broken = (): Promise<never> => Promise.reject(new Error("the worker died"));
  await assert.rejects(firstThatWorks(inputs, "image", broken), /the worker died/);
});
