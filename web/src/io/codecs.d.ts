/** Packages whose declarations are missing, or are named in a way that TypeScript does not follow. */

declare module "jpeg-lossless-decoder-js" {
  export class Decoder {
    decompress(buffer: ArrayBufferLike): ArrayBuffer;
  }
}

declare module "@cornerstonejs/codec-openjpeg/decodewasm" {
  const bytes: Uint8Array; // as esbuild takes it into the bundle
  export default bytes;
}

declare module "@cornerstonejs/codec-openjpeg/decodewasmjs" {
  export interface Codec {
    readonly J2KDecoder: new () => J2KDecoder;
  }
  export interface J2KDecoder {
    getEncodedBuffer(length: number): Uint8Array;
    decode(): void;
    getDecodedBuffer(): Uint8Array;
    getFrameInfo(): { bitsPerSample: number };
    delete(): void;
  }
  interface Options {
    readonly wasmBinary: Uint8Array;
    readonly print: (line: string) => void;
    readonly printErr: (line: string) => void;
  }
  export default function load(options: Options): Promise<Codec>;
}
