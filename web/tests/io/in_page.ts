/** The readers as a page has them, for tests in Python that run a browser: `readRgb(name, base64)`. */

import { openFiles } from "../../src/io/open.ts";
import { toRgb8 } from "../../src/io/window.ts";

Object.assign(globalThis, {
  async readRgb(name: string, content: string): Promise<[number, number, string]> {
    const file = new File([Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0))], name);
    const [input] = await openFiles([file]);
    if (input?.kind !== "image") throw new Error("no picture");
    let text = "";
    for (const value of toRgb8(input)) text += String.fromCharCode(value);
    return [input.width, input.height, btoa(text)];
  },
});
