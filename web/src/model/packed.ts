/** Data that lie in the page as text: gzip in base64. */

import { UserMessage } from "../io/types.ts";

/** Throws UserMessage where the text was cut or changed. */
export function fromBase64(text: string): Uint8Array<ArrayBuffer> {
  const binary = whole(text);
  const bytes = new Uint8Array(binary.length);
  for (let index = 0; index < binary.length; index++) bytes[index] = binary.charCodeAt(index);
  return bytes;
}

/** Throws UserMessage where the text was cut or changed. */
export async function unpack(text: string): Promise<Uint8Array<ArrayBuffer>> {
  const packed = fromBase64(text);
  try {
    const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch (error) {
    throw error instanceof RangeError ? error : damaged(); // no memory: the text may be whole
  }
}

function whole(text: string): string {
  try {
    return atob(text);
  } catch {
    throw damaged();
  }
}

function damaged(): UserMessage {
  return new UserMessage("the file of this page is damaged", "get a whole copy of the page");
}
