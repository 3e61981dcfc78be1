import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import type { OutputSpec } from '../tensor/apply.js';

/** i32 [B], if given. */
export function checkKeyLengths(where: string, keyLengths: OutputSpec | undefined, batch: number): void {
  if (keyLengths === undefined) return;
  const { dtype, shape } = keyLengths;
  if (dtype === 'i32' && shape.length === 1 && shape[0] === batch) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: keyLengths has the wrong dtype or shape`, {
    expected: `i32 [${batch}]`,
    got: `${dtype} ${formatShape(shape)}`,
  });
}

/** bool [B, Lk] or [1, Lk], if given. */
export function checkKeyMask(
  where: string,
  keyMask: OutputSpec | undefined,
  batch: number,
  keyLength: number,
): void {
  if (keyMask === undefined) return;
  const { dtype, shape } = keyMask;
  if (dtype !== 'bool') {
    throw new TopKError('DTYPE_MISMATCH', `${where}: keyMask has the wrong dtype`, {
      expected: 'bool',
      got: dtype,
    });
  }
  const [rows, keys] = shape;
  if (shape.length === 2 && (rows === batch || rows === 1) && keys === keyLength) return;
  throw new TopKError('SHAPE_MISMATCH', `${where}: keyMask has the wrong shape`, {
    expected: `[${batch}, ${keyLength}] or [1, ${keyLength}]`,
    got: formatShape(shape),
  });
}

/** A tensor of that dtype whose every dim is 1 or that of `full`, if given. `fixed` last dims must be full. */
export function checkBroadcast(
  where: string,
  name: string,
  one: OutputSpec | undefined,
  dtype: OutputSpec['dtype'],
  full: readonly number[],
  fixed = 0,
): void {
  if (one === undefined) return;
  const isFit = (extent: number, axis: number): boolean =>
    extent === full[axis] || (extent === 1 && axis < full.length - fixed);
  if (one.shape.length !== full.length || !one.shape.every(isFit)) {
    const free = fixed === 0 ? 'each dim' : `each of the first ${full.length - fixed} dims`;
    throw new TopKError('SHAPE_MISMATCH', `${where}: ${name} has the wrong shape`, {
      expected: `${free} to be 1 or that of ${formatShape(full)}`,
      got: formatShape(one.shape),
    });
  }
  if (one.dtype === dtype) return;
  throw new TopKError('DTYPE_MISMATCH', `${where}: ${name} has the wrong dtype`, {
    expected: dtype,
    got: one.dtype,
    // Additive masks are floats elsewhere, PyTorch's attn_mask for one.
    ...(name === 'mask' && { fix: 'Pass additive masks as bias' }),
  });
}
