import { type Shape, TopKError } from '@topk-attention/core';

/** Largest allowed distance: absolute + relative * |expected|. */
export interface Tolerance {
  readonly absolute: number;
  readonly relative: number;
}

/** Gradients go through more roundings than outputs do. */
export function gradientTolerance({ absolute, relative }: Tolerance): Tolerance {
  return { absolute: 5 * absolute, relative: 5 * relative };
}

/** What a case throws when the backend gave a wrong answer. */
export class ConformanceFailure extends Error {
  override readonly name = 'ConformanceFailure';
}

export function check(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConformanceFailure(message);
}

export function checkShape(what: string, got: Shape, expected: Shape): void {
  const same = got.length === expected.length && got.every((extent, axis) => extent === expected[axis]);
  check(same, `${what}: shape [${got}] where [${expected}] was expected`);
}

function isClose(got: number, expected: number, tolerance: Tolerance): boolean {
  if (Number.isNaN(expected)) return Number.isNaN(got);
  if (!Number.isFinite(expected)) return got === expected;
  return Math.abs(got - expected) <= tolerance.absolute + tolerance.relative * Math.abs(expected);
}

/** Element by element; NaN equals NaN and an infinity only itself. */
export function checkClose(
  what: string,
  got: ArrayLike<number>,
  expected: ArrayLike<number>,
  tolerance: Tolerance,
): void {
  check(
    got.length === expected.length,
    `${what}: ${got.length} values where ${expected.length} were expected`,
  );
  let wrong = 0;
  let worst = -1;
  let worstDistance = -1;
  for (let i = 0; i < expected.length; i++) {
    const mine = got[i] as number;
    const wanted = expected[i] as number;
    if (isClose(mine, wanted, tolerance)) continue;
    wrong++;
    const distance = Number.isFinite(mine - wanted) ? Math.abs(mine - wanted) : Number.POSITIVE_INFINITY;
    if (distance > worstDistance) {
      worst = i;
      worstDistance = distance;
    }
  }
  check(
    wrong === 0,
    `${what}: ${wrong} of ${expected.length} values are off, the worst at ${worst}: ` +
      `got ${got[worst]}, expected ${expected[worst]} (absolute ${tolerance.absolute}, relative ${tolerance.relative})`,
  );
}

/** Equal numbers; NaN equals NaN, and 0 equals -0. */
export function checkEqual(what: string, got: ArrayLike<number>, expected: ArrayLike<number>): void {
  checkClose(what, got, expected, { absolute: 0, relative: 0 });
}

/** Equal bits: 0 and -0 differ, and so do different kinds of NaN. */
export function checkSameBits(what: string, a: ArrayBufferView, b: ArrayBufferView): void {
  const bytesA = new Uint8Array(a.buffer, a.byteOffset, a.byteLength);
  const bytesB = new Uint8Array(b.buffer, b.byteOffset, b.byteLength);
  check(bytesA.length === bytesB.length, `${what}: ${bytesA.length} and ${bytesB.length} bytes`);
  const at = bytesA.findIndex((byte, index) => byte !== bytesB[index]);
  check(at < 0, `${what}: the bits differ from byte ${at} of ${bytesA.length} on`);
}

function checkError(what: string, error: unknown, codes: readonly string[]): void {
  check(error instanceof TopKError, `${what}: ${String(error)} is no TopKError`);
  check(
    codes.includes(error.code),
    `${what}: code ${error.code} where ${codes.join(' or ')} was expected: ${error.message}`,
  );
  check(error.message.length > 0, `${what}: the error has no message`);
}

/** The call throws a TopKError with one of the codes, at once. */
export function checkThrows(what: string, call: () => unknown, ...codes: readonly string[]): void {
  let error: unknown;
  try {
    call();
  } catch (caught) {
    error = caught;
  }
  check(error !== undefined, `${what}: nothing was thrown, ${codes.join(' or ')} was expected`);
  checkError(what, error, codes);
}

/** The promise rejects with a TopKError with one of the codes. */
export async function checkRejects(
  what: string,
  promise: Promise<unknown>,
  ...codes: readonly string[]
): Promise<void> {
  const error: unknown = await promise.then(
    () => undefined,
    (caught: unknown) => caught,
  );
  check(error !== undefined, `${what}: the promise was fulfilled, ${codes.join(' or ')} was expected`);
  checkError(what, error, codes);
}
