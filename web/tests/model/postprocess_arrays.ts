/** Mends masks as the page does, for tests in Python: of [{bits, structures, grid, mending}] the bits, as JSON. */

import { readFile, writeFile } from "node:fs/promises";

import type { Grid, Mending } from "../../src/model/postprocess.ts";
import { postprocess } from "../../src/model/postprocess.ts";

interface Case {
  readonly bits: readonly number[]; // [count, rows, columns]
  readonly structures: number;
  readonly grid: Grid;
  readonly mending: Mending;
}

const [cases, output] = process.argv.slice(2) as [string, string];
const results = (JSON.parse(await readFile(cases, "utf8")) as Case[]).map(({ bits, structures, grid, mending }) => {
  const mended = Uint8Array.from(bits);
  postprocess(mended, structures, grid, mending);
  return [...mended];
});
await writeFile(output, JSON.stringify(results));
