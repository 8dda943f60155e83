/** Samples of 1, 2 or 4 bits, several in a byte, each row from a byte of its own. */

export function unpackBits(rows: Uint8Array, bits: 1 | 2 | 4, perRow: number, height: number): Uint8Array {
  const values = new Uint8Array(perRow * height);
  const stride = Math.ceil((perRow * bits) / 8);
  const mask = (1 << bits) - 1;
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < perRow; x++) {
      const bit = x * bits;
      values[y * perRow + x] = (rows[y * stride + (bit >> 3)]! >> (8 - bits - (bit & 7))) & mask;
    }
  }
  return values;
}

/** The entries of a palette [n, 3] that the values name, [values, 3]. Throws an Error for one that is not there. */
export function throughPalette(values: Uint8Array, palette: Uint8Array): Uint8Array {
  const colours = new Uint8Array(values.length * 3);
  for (let index = 0; index < values.length; index++) {
    const entry = values[index]! * 3;
    if (entry + 2 >= palette.length) throw new Error("a colour that the palette lacks");
    colours[index * 3] = palette[entry]!;
    colours[index * 3 + 1] = palette[entry + 1]!;
    colours[index * 3 + 2] = palette[entry + 2]!;
  }
  return colours;
}
