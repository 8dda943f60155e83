/** What is said of a file that is not what it should be. */

import { UserMessage } from "./types.ts";

export const WHOLE_COPY = "replace it by a whole copy";

export function damaged(name: string, why: string): UserMessage {
  return new UserMessage(`'${name}' cannot be read: ${why}`, WHOLE_COPY);
}

/** Runs a reader, and says of whatever it stumbles over in a damaged file that the file is damaged. */
export function reading<T>(name: string, read: () => T): T {
  try {
    return read();
  } catch (error) {
    throw asMessage(name, error);
  }
}

export function asMessage(name: string, error: unknown): UserMessage {
  if (error instanceof UserMessage) return error;
  if (error instanceof RangeError && /allocation|array length|buffer size/i.test(error.message)) {
    return new UserMessage(`'${name}' is larger than the memory of this page`, "use a machine with more, or reduce it");
  }
  return damaged(name, "truncated, damaged or of another format");
}
