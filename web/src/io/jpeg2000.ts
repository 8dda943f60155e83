/** JPEG 2000 by OpenJPEG, compiled to WebAssembly and taken into the bundle: nothing is fetched. */

import wasm from "@cornerstonejs/codec-openjpeg/decodewasm";
import load from "@cornerstonejs/codec-openjpeg/decodewasmjs";

const QUIET = (): void => undefined; // it tells of every header
const START = 0xff4fff51; // of a codestream, and of its sizes
const SEARCHED = 4096; // bytes: some files have boxes before the codestream
const codec = load({ wasmBinary: wasm, print: QUIET, printErr: QUIET });

/** The bytes of one grey slice, as many a value as `bytesEach` says. Throws an Error for a damaged one. */
export async function decodeJpeg2000(packed: Uint8Array, columns: number, rows: number, bytesEach: number): Promise<Uint8Array> {
  if (!promises(packed, columns, rows)) throw new Error("another size than its header's");
  const decoder = new (await codec).J2KDecoder();
  try {
    decoder.getEncodedBuffer(packed.length).set(packed);
    decoder.decode();
    const { bitsPerSample } = decoder.getFrameInfo();
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

/** Whether the codestream says that it holds one component of this size, before memory is taken for it. */
function promises(packed: Uint8Array, columns: number, rows: number): boolean {
  const view = new DataView(packed.buffer, packed.byteOffset, packed.byteLength);
  for (let place = 0; place + 42 <= Math.min(packed.length, SEARCHED); place++) {
    if (view.getUint32(place) !== START) continue;
    const along = (size: number, offset: number): number => view.getUint32(place + size) - view.getUint32(place + offset);
    return along(8, 16) === columns && along(12, 20) === rows && view.getUint16(place + 40) === 1;
  }
  return false;
}
