import { type Backend, scope, type Tensor, tensor } from '@topk-attention/core';

/** Token ids on a backend, with padding on the left where rows differ in length. */
export interface PaddedTokens {
  /** i32 [B, L] */
  readonly ids: Tensor;
  /** i32 [B, L]: positions of the tokens in their rows, 0 in the padding. */
  readonly positions: Tensor;
  /** bool [B, 1, 1, L]: false for keys in the padding; absent where there is none. */
  readonly mask: Tensor | undefined;
}

/**
 * Uploads rows of equal length.
 *
 * @param padding how many tokens at the left of each row are padding
 * @param places how many positions there are: those that only padding on the right would reach count as the last
 */
export function uploadPadded(
  backend: Backend,
  rows: readonly (readonly number[])[],
  padding: readonly number[],
  places: number,
): PaddedTokens {
  const length = (rows[0] as readonly number[]).length;
  const shape = [rows.length, length];
  const columns = [...Array(length).keys()];
  const perToken = (of: (column: number, padding: number) => number): Int32Array =>
    Int32Array.from(padding.flatMap((own) => columns.map((column) => of(column, own))));
  const isPadded = padding.some((own) => own > 0);
  return scope(() => ({
    ids: tensor(backend, Int32Array.from(rows.flatMap((row) => Array.from(row))), shape, 'i32'),
    positions: tensor(
      backend,
      perToken((column, own) => Math.min(Math.max(0, column - own), places - 1)),
      shape,
      'i32',
    ),
    mask: isPadded
      ? tensor(
          backend,
          Uint8Array.from(perToken((column, own) => Number(column >= own))),
          [rows.length, 1, 1, length],
          'bool',
        )
      : undefined,
  }));
}
