import assert from "node:assert/strict";
import test from "node:test";

import { UserMessage } from "../../src/io/types.ts";

test("a message for the user says what is wrong and what to do", () => {
  const message = new UserMessage("'a.png' is cut short", "copy it again");
  assert.equal(message.message, "'a.png' is cut short: copy it again");
  assert.ok(message instanceof Error);
});
