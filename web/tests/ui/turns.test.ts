import assert from "node:assert/strict";
import test from "node:test";

import type { Asked } from "../../src/messages.ts";
import { Turns } from "../../src/ui/turns.ts";

const own: Asked = { threshold: 0.5, hypothesis: 0 };

/** A page whose sliders a test moves, and the masks that it computed. */
function page(compute: (asked: Asked) => Promise<boolean> = () => Promise.resolve(true)) {
  const computed: Asked[] = [];
  const failures: unknown[] = [];
  const state = { asked: own as Asked | null, computed, failures };
  const turns = new Turns({
    asked: () => state.asked,
    remask: (asked) => (computed.push(asked), compute(asked)),
    failed: (error) => failures.push(error),
    wait: () => 1,
  });
  return { state, turns };
}

const aWhile = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

test("a slider that is moved during work is heeded after it", async () => {
  const { state, turns } = page();
  await turns.work(async () => {
    await turns.remask(true);
    state.asked = { ...own, threshold: 0.9 };
    turns.refresh();
    await aWhile();
    assert.equal(state.computed.length, 1);
  });
  assert.equal(turns.idle, false);
  await aWhile();
  assert.deepEqual(state.computed, [own, { ...own, threshold: 0.9 }]);
  assert.equal(turns.idle, true);
});

test("where the sliders stand as before nothing is computed anew", async () => {
  const { state, turns } = page();
  await turns.remask();
  await turns.work(aWhile);
  await aWhile();
  assert.equal(state.computed.length, 1);
});

test("masks that were given up for a task are computed after it, those of another input as well", async () => {
  let gaveUp = true;
  const { state, turns } = page(async () => !gaveUp);
  await turns.remask();
  gaveUp = false;
  await turns.work(aWhile);
  await aWhile();
  assert.equal(state.computed.length, 2);
  turns.forget();
  assert.equal(turns.idle, false);
});

test("masks that fail are said once, and not tried again before a slider moves", async () => {
  const { state, turns } = page(() => Promise.reject(new Error("no memory")));
  turns.refresh();
  await aWhile();
  assert.equal(state.failures.length, 1);
  await turns.work(aWhile);
  await aWhile();
  assert.equal(state.computed.length, 1);
});

test("one work at a time, and after one that failed the next", async () => {
  const { turns } = page();
  const failing = turns.work(() => aWhile().then(() => Promise.reject(new Error("no file"))));
  assert.equal(await turns.work(aWhile), false);
  await assert.rejects(failing, /no file/);
  assert.equal(await turns.work(aWhile), true);
});
