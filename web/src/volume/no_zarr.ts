/** In place of what NiiVue reads Zarr with, 1.4 MB of codecs: files are read by the page itself, and it reads no Zarr. */

function refuse(): never {
  throw new Error("this page reads no Zarr");
}

export class FetchStore {
  constructor() {
    refuse();
  }
}

export const open = refuse;
export const get = refuse;
export const root = refuse;
export const slice = refuse;
