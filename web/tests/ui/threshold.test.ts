import assert from "node:assert/strict";
import test from "node:test";

import { Threshold } from "../../src/ui/threshold.ts";

test("the model's own threshold is kept to its last digit until the slider moves", () => {
  const threshold = new Threshold(0.4473);
  assert.equal(threshold.value, 0.4473);
  assert.equal(threshold.text, "0.4473 (the model's own)");
  threshold.move(0.45);
  assert.equal(threshold.value, 0.45);
  assert.equal(threshold.text, "0.45");
});

test("a threshold on a step of the slider is the model's own again where the slider returns to it", () => {
  const threshold = new Threshold(0.5);
  assert.equal(threshold.text, "0.50 (the model's own)");
  threshold.move(0.7);
  threshold.move(0.5);
  assert.equal(threshold.text, "0.50 (the model's own)");
});
