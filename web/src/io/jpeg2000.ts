/** JPEG 2000 by OpenJPEG, compiled to WebAssembly and taken into the bundle: nothing is fetched. */

import wasm from "@cornerstonejs/codec-openjpeg/decodewasm";
import load from "@cornerstonejs/codec-openjpeg/decodewasmjs";

const QUIET = (): void => undefined; // it tells of every header
const codec = load({ wasmBinary: wasm, print: QUIET, printErr: QUIET });

/** The bytes of one grey slice, as many a value as `bytesEach` says. Throws an Error for a damaged one. */
export async function decodeJpeg2000(packed: Uint8Array, columns: number, rows: number, bytesEach: number): Promise<Uint8Array> {
  const decoder = new (await codec).J2KDecoder();
  try {
    decoder.getEncodedBuffer(packed.length).set(packed);
    decoder.decode();
    const { width, height, bitsPerSample, componentCount } = decoder.getFrameInfo();
    if (width !== columns || height !== rows || componentCount !== 1) throw new Error("another size than its header's");
    const values = decoder.getDecodedBuffer();
    const own = bitsPerSample > 8 ? 2 : 1;
    if (own === bytesEach) return values.slice();
    const widened = new Uint8Array(columns * rows * bytesEach); // little endian
    for (let index = 0; index < columns * rows; index++) {
      for (let byte = 0; byte < Math.min(own, bytesEach); byte++) {
        widened[index * bytesEach + byte] = values[index * own + byte]!;
      }
    }
    return widened;
  } finally {
    decoder.delete();
  }
}
