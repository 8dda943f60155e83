/** Which of several inputs is shown first. */

import type { InputSummary } from "../messages.ts";
import { UserMessage } from "../io/types.ts";

export interface First<Result> {
  readonly index: number;
  readonly result: Result;
  readonly notes: readonly string[]; // what was left out before it, and why
}

/**
 * The first input of a kind that can be worked on; where there is none of that kind, the first one's refusal is thrown.
 *
 * Rejects as the first try does where every one fails; what is no UserMessage ends it at once.
 */
export async function firstThatWorks<Result>(
  inputs: readonly InputSummary[],
  kind: InputSummary["kind"],
  attempt: (index: number) => Promise<Result>,
): Promise<First<Result>> {
  const wanted = [...inputs.keys()].filter((index) => inputs[index]!.kind === kind);
  const notes = wanted.length === 0 ? [] : inputs.filter((input) => input.kind !== kind).map((input) =>
    `left out: '${input.name}' is ${input.kind === "image" ? "an image" : "a volume"}`);
  let refused: UserMessage | null = null;
  for (const index of wanted.length === 0 ? [0] : wanted) {
    try {
      return { index, result: await attempt(index), notes };
    } catch (error) {
      if (!(error instanceof UserMessage)) throw error;
      refused ??= error;
      notes.push(`left out: ${error.what}`);
    }
  }
  throw refused ?? new Error("no input");
}
