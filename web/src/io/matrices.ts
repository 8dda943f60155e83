/** Matrices of three rows and three columns, and what NIfTI makes of them. */

export type Vector = readonly [number, number, number];
export type Matrix3 = readonly [Vector, Vector, Vector];

export function norm(v: readonly number[]): number {
  return Math.sqrt(v.reduce((sum, each) => sum + each * each, 0)); // as NumPy adds them: sizes in pixels rest on it
}

export function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

export function cross(a: Vector, b: Vector): Vector {
  return [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]];
}

export function column(m: Matrix3, index: 0 | 1 | 2): Vector {
  return [m[0][index], m[1][index], m[2][index]];
}

export function fromColumns(a: Vector, b: Vector, c: Vector): Matrix3 {
  return [
    [a[0], b[0], c[0]],
    [a[1], b[1], c[1]],
    [a[2], b[2], c[2]],
  ];
}

export function determinant(m: Matrix3): number {
  return dot(m[0], cross(m[1], m[2]));
}

/** The rotation (or reflection) that is nearest to a matrix of columns of length 1: its orthogonal polar factor. */
export function nearestRotation(m: Matrix3): Matrix3 {
  let now = m;
  for (let step = 0; step < 100; step++) {
    // Newton: the mean of a matrix and the inverse of its transpose, which is the cofactors over the determinant.
    const whole = determinant(now);
    const cofactors = [cross(now[1], now[2]), cross(now[2], now[0]), cross(now[0], now[1])];
    const next = now.map((row, r) => row.map((value, c) => (value + cofactors[r]![c]! / whole) / 2));
    const change = Math.max(...next.flatMap((row, r) => row.map((value, c) => Math.abs(value - now[r]![c]!))));
    now = next as unknown as Matrix3;
    if (change < 1e-15) break;
  }
  return now;
}

/** A rotation by the three last numbers of its unit quaternion. Throws an Error where they are too large for one. */
export function rotationOf(b: number, c: number, d: number): Matrix3 {
  const rest = 1 - (b * b + c * c + d * d);
  if (!(rest >= -3 * 2 ** -23)) throw new Error("no unit quaternion"); // single precision, as the header has it
  const a = Math.sqrt(Math.max(0, rest));
  const s = 2 / (a * a + b * b + c * c + d * d);
  return [
    [1 - s * (c * c + d * d), s * (b * c - a * d), s * (b * d + a * c)],
    [s * (b * c + a * d), 1 - s * (b * b + d * d), s * (c * d - a * b)],
    [s * (b * d - a * c), s * (c * d + a * b), 1 - s * (b * b + c * c)],
  ];
}

/** The three last numbers of the unit quaternion of a rotation; the first one is not negative. */
export function quaternionOf(m: Matrix3): Vector {
  const [[xx, xy, xz], [yx, yy, yz], [zx, zy, zz]] = m;
  // Four times the square of each number: the largest is divided by.
  const squares = [1 + xx + yy + zz, 1 + xx - yy - zz, 1 - xx + yy - zz, 1 - xx - yy + zz];
  const largest = squares.indexOf(Math.max(...squares));
  const twice = 2 * Math.sqrt(squares[largest]!);
  let quaternion: number[];
  if (largest === 0) quaternion = [squares[0]!, zy - yz, xz - zx, yx - xy];
  else if (largest === 1) quaternion = [zy - yz, squares[1]!, xy + yx, xz + zx];
  else if (largest === 2) quaternion = [xz - zx, xy + yx, squares[2]!, yz + zy];
  else quaternion = [yx - xy, xz + zx, yz + zy, squares[3]!];
  const sign = quaternion[0]! < 0 ? -1 : 1;
  const [, b, c, d] = quaternion.map((value) => (sign * value) / twice);
  return [b!, c!, d!];
}
