import {
  add,
  aNumber,
  cast,
  concat,
  formatShape,
  mul,
  narrow,
  type OptionKinds,
  readOptions,
  scope,
  sub,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import { requireTensor, requireWhole } from '../require.js';
import { rotaryTables } from './rotary-tables.js';

export interface RotaryOptions {
  /** Position of the first token. Default 0. */
  readonly offset?: number;
  /** Default 10000. */
  readonly base?: number;
}

const kinds: OptionKinds<RotaryOptions> = { offset: aNumber, base: aNumber };

/**
 * Queries or keys x [B, heads, L, D], rotated by their positions: element i of the first half of D with element i of
 * the second half, as in LLaMA, by the angle position * base^(-2 i / D). Scores then depend only on distances.
 *
 * @throws TopKError RANK_MISMATCH, SHAPE_MISMATCH for an odd D, INVALID_OPTION.
 */
export function rotary(x: Tensor, options?: RotaryOptions): Tensor {
  const { offset = 0, base = 10_000 } = readOptions('rotary', options, kinds);
  requireTensor('rotary', 'x', x, { rank: 4 });
  requireWhole('rotary', 'offset', offset, 0);
  const length = x.shape[2] as number;
  const width = requireEven('rotary', x);
  const half = width / 2;
  const tables = rotaryTables(offset, length, width, base);
  return scope(() => {
    const [cosines, sines] = [tables.cosines, tables.sines].map((table) =>
      cast(tensor(x.backend, table, [length, half]), x.dtype),
    ) as [Tensor, Tensor];
    return rotated(x, cosines, sines);
  });
}

/**
 * Queries or keys x [B, heads, L, D] turned by given angles: element i of the first half of D with element i of the second.
 *
 * @param cosines of the angles, broadcast to [B, heads, L, D / 2]
 * @param sines in the same form
 * @throws TopKError RANK_MISMATCH, SHAPE_MISMATCH
 */
export function rotated(x: Tensor, cosines: Tensor, sines: Tensor): Tensor {
  requireTensor('rotated', 'x', x, { rank: 4 });
  const half = requireEven('rotated', x) / 2;
  return scope(() => {
    const first = narrow(x, 3, 0, half);
    const second = narrow(x, 3, half, half);
    return concat(
      [sub(mul(first, cosines), mul(second, sines)), add(mul(second, cosines), mul(first, sines))],
      3,
    );
  });
}

/** The width of x. */
function requireEven(where: string, x: Tensor): number {
  const width = x.shape[3] as number;
  if (width % 2 === 0) return width;
  throw new TopKError('SHAPE_MISMATCH', `${where}: an odd width cannot be rotated`, {
    expected: 'an even last extent',
    got: formatShape(x.shape),
  });
}
