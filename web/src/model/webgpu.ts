/** A graphics processor to compute with, where the browser has one: whether it may be trusted, page by page. */

import type { Contract } from "../contract.ts";

const STEP = 37; // of the values that a trial image goes through: it shares no divisor with 256

/** Why nothing is computed by WebGPU here, in words; null where there is an adapter for it. */
export async function whyNoAdapter(softwareToo: boolean): Promise<string | null> {
  // By it the runtime waits for the GPU. Without it that takes code that computes five times as slowly by itself.
  if (!("Suspending" in WebAssembly)) return "this browser has no WebAssembly that waits (JSPI)";
  const adapter = await (navigator as Partial<Navigator>).gpu?.requestAdapter().catch(() => null);
  if (adapter === undefined) return "this browser has no WebGPU";
  if (adapter === null) return "the browser offers no graphics processor";
  // The same processor by a detour: slower than WebAssembly, and only good for a check.
  if (adapter.info.isFallbackAdapter && !softwareToo) return "the browser's graphics processor is software";
  return null;
}

/** Raw values [height, width, channels] from one end of the window to the other: what both processors must agree on. */
export function trialImage(contract: Contract): Uint8Array | Float32Array {
  const [low, high] = contract.window;
  const length = contract.width * contract.height * contract.channels * (2 * contract.neighbours + 1);
  const values = contract.modality === "rgb" ? new Uint8Array(length) : new Float32Array(length);
  for (let index = 0; index < length; index++) {
    const patch = Math.floor(index / (8 * contract.channels)); // as wide as structures are, not noise alone
    values[index] = low + ((high - low) * ((index + STEP * patch) % 256)) / 255;
  }
  return values;
}

/** The largest difference between two answers; infinite where one of them has no number. */
export function farthest(one: Float32Array, other: Float32Array): number {
  let most = 0;
  for (let index = 0; index < one.length; index++) {
    const apart = Math.abs(one[index]! - other[index]!);
    if (!(apart <= most)) most = Number.isNaN(apart) ? Infinity : apart;
  }
  return most;
}
