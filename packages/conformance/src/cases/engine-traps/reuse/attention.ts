import type { Tensor } from '@topk-attention/core';
import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../../harness/case.js';
import { type Nd, nd } from '../../../harness/support/nd.js';
import { Random } from '../../../harness/support/random.js';
import { gradientsOf, reuse, type Step, type Tensors } from './in-a-row.js';

const random = new Random('reuse of attention');
const whole = (...shape: number[]): Nd => random.integers(shape, -3, 3);

const attend =
  (options: (xs: Tensors) => ops.AttentionOptions & { readonly k?: number }): Step =>
  (xs) => {
    const own = options(xs);
    const [q, k, v] = [xs.q, xs.k, xs.v] as [Tensor, Tensor, Tensor];
    return own.k === undefined
      ? ops.exactAttention(q, k, v, own)
      : ops.topKAttention(q, k, v, { ...own, k: own.k });
  };

const relative = (
  { table }: Tensors,
  bidirectional: boolean,
  maxDistance: number,
): NonNullable<ops.AttentionOptions['relativeBias']> => ({
  table: table as Tensor,
  bidirectional,
  maxDistance,
});

const heads = { q: whole(1, 2, 7, 4), k: whole(1, 2, 9, 4), v: whole(1, 2, 9, 4) };
const square = { q: whole(1, 1, 8, 8), k: whole(1, 1, 8, 8), v: whole(1, 1, 8, 8) };

export const reuseOfAttention: readonly ConformanceCase[] = [
  reuse(
    'attention of one query, forward and backward, on the same tensors',
    { q: whole(1, 1, 1, 32), k: whole(1, 1, 32, 32), v: whole(1, 1, 32, 32) },
    {
      'top-k': attend(() => ({ k: 8, scale: 0.125 })),
      'gradients of top-k': gradientsOf(attend(() => ({ k: 8, scale: 0.125 }))),
      'gradients of exact': gradientsOf(attend(() => ({ scale: 0.125 }))),
      exact: attend(() => ({ scale: 0.125 })),
    },
  ),
  reuse('one tensor as queries, as keys and as values', square, {
    'in order': attend(() => ({ k: 3, scale: 0.25 })),
    'in other roles': ({ q, k, v }) =>
      ops.topKAttention(v as Tensor, q as Tensor, k as Tensor, { k: 3, scale: 0.25 }),
    'all the same': ({ q }) =>
      ops.topKAttention(q as Tensor, q as Tensor, q as Tensor, { k: 3, scale: 0.25 }),
    'exact, in order': attend(() => ({ scale: 0.25, causal: true })),
    'exact, in other roles': ({ q, k, v }) =>
      ops.exactAttention(k as Tensor, v as Tensor, q as Tensor, { scale: 0.25, causal: true }),
    'gradients, all the same': gradientsOf(({ q, k, v }) =>
      ops.add(
        ops.topKAttention(q as Tensor, q as Tensor, q as Tensor, { k: 3, scale: 0.25 }),
        ops.topKAttention(k as Tensor, v as Tensor, k as Tensor, { k: 3, scale: 0.25 }),
      ),
    ),
  }),
  reuse(
    'the same heads seen as other heads, lengths and widths',
    { q: whole(256), k: whole(256), v: whole(256) },
    Object.fromEntries(
      [
        [1, 2, 8, 16],
        [1, 2, 16, 8],
        [2, 4, 8, 4],
        [4, 1, 4, 16],
        [1, 1, 64, 4],
      ].flatMap((shape) => {
        const seen = ({ q, k, v }: Tensors): Tensors => ({
          q: ops.reshape(q as Tensor, shape),
          k: ops.reshape(k as Tensor, shape),
          v: ops.reshape(v as Tensor, shape),
        });
        return [
          [`top-k, [${shape}]`, (xs: Tensors) => attend(() => ({ k: 3, scale: 0.5 }))(seen(xs))],
          [`exact, [${shape}]`, (xs: Tensors) => attend(() => ({ scale: 0.5, causal: true }))(seen(xs))],
        ];
      }),
    ),
  ),
  reuse('one call in several chunks, with several k', heads, {
    'chunk 2': attend(() => ({ k: 3, scale: 0.5, queryChunk: 2 })),
    'chunk 5': attend(() => ({ k: 3, scale: 0.5, queryChunk: 5 })),
    'chunk 5, k 4': attend(() => ({ k: 4, scale: 0.5, queryChunk: 5 })),
    'all keys, chunk 2': attend(() => ({ scale: 0.5, queryChunk: 2 })),
    'all keys, chunk 5': attend(() => ({ scale: 0.5, queryChunk: 5, causal: true })),
    'gradients, chunk 5': gradientsOf(attend(() => ({ k: 3, scale: 0.5, queryChunk: 5 }))),
    'gradients, chunk 2': gradientsOf(attend(() => ({ k: 3, scale: 0.5, queryChunk: 2 }))),
  }),
  reuse('calls of one structure with other constants', heads, {
    'scale 0.5': attend(() => ({ k: 3, scale: 0.5 })),
    'scale 2': attend(() => ({ k: 3, scale: 2 })),
    'scale 0.3': attend(() => ({ k: 3, scale: 0.3 })),
    'scale -1': attend(() => ({ k: 3, scale: -1 })),
    'exact, scale 0.5': attend(() => ({ scale: 0.5, causal: true })),
    'exact, scale 0.3': attend(() => ({ scale: 0.3, causal: true })),
    'gradients, scale 0.5': gradientsOf(attend(() => ({ k: 3, scale: 0.5 }))),
    'gradients, scale 0.25': gradientsOf(attend(() => ({ k: 3, scale: 0.25 }))),
    'dropout, seed 1': attend(() => ({ k: 3, scale: 0.5, dropout: { rate: 0.5, seed: 1 } })),
    'dropout, seed 2': attend(() => ({ k: 3, scale: 0.5, dropout: { rate: 0.5, seed: 2 } })),
    'dropout, rate 0.25': attend(() => ({ k: 3, scale: 0.5, dropout: { rate: 0.25, seed: 2 } })),
    'a part of the keys': ({ q, k, v }) => {
      const part = (x: Tensor | undefined): Tensor => ops.slice(x as Tensor, [0, 0, 2, 0], [1, 2, 5, 4]);
      return ops.topKAttention(q as Tensor, part(k), part(v), { k: 3, scale: 0.5 });
    },
    'another part of the keys': ({ q, k, v }) => {
      const part = (x: Tensor | undefined): Tensor => ops.slice(x as Tensor, [0, 0, 4, 0], [1, 2, 5, 4]);
      return ops.topKAttention(q as Tensor, part(k), part(v), { k: 3, scale: 0.5 });
    },
  }),
  reuse(
    'one relative table with other windows',
    { ...heads, table: whole(8, 2) },
    {
      'both ways': attend((xs) => ({ k: 3, scale: 0.5, relativeBias: relative(xs, true, 8) })),
      'both ways, further': attend((xs) => ({ k: 3, scale: 0.5, relativeBias: relative(xs, true, 16) })),
      'one way': attend((xs) => ({ k: 3, scale: 0.5, relativeBias: relative(xs, false, 16) })),
      'one way, causal': attend((xs) => ({
        k: 3,
        scale: 0.5,
        causal: true,
        relativeBias: relative(xs, false, 16),
      })),
      ...Object.fromEntries(
        [0, 1, 2, 9].flatMap((queryStart) => {
          const options = { scale: 0.5, causal: true, queryStart };
          return [
            [
              `one way, causal, queries from ${queryStart}`,
              attend((xs) => ({ ...options, k: 3, relativeBias: relative(xs, false, 16) })),
            ],
            [`exact, causal, queries from ${queryStart}`, attend(() => options)],
          ];
        }),
      ),
      'another chunk': attend((xs) => ({
        k: 3,
        scale: 0.5,
        queryChunk: 2,
        relativeBias: relative(xs, true, 8),
      })),
      'another scale': attend((xs) => ({ k: 3, scale: 1, relativeBias: relative(xs, true, 8) })),
      exact: attend((xs) => ({ scale: 0.5, relativeBias: relative(xs, true, 8) })),
      'exact, further': attend((xs) => ({ scale: 0.5, queryChunk: 3, relativeBias: relative(xs, true, 16) })),
      'fewer queries': ({ q, ...xs }) =>
        attend(() => ({ k: 3, scale: 0.5, relativeBias: relative(xs, true, 8) }))({
          ...xs,
          q: ops.slice(q as Tensor, [0, 0, 0, 0], [1, 2, 4, 4]),
        }),
      gradients: gradientsOf(attend((xs) => ({ k: 3, scale: 0.5, relativeBias: relative(xs, true, 8) }))),
      'gradients, further': gradientsOf(
        attend((xs) => ({ k: 3, scale: 0.5, relativeBias: relative(xs, true, 16) })),
      ),
    },
  ),
  reuse(
    'masks, lengths and biases by turns',
    {
      ...heads,
      mask: random.booleans([1, 1, 7, 9], 0.6),
      maskOfKeys: random.booleans([1, 1, 1, 9], 0.6),
      lengths: nd([1], () => 6),
      bias: nd([1, 1, 7, 9], (_, at) => (at % 5 === 0 ? Number.NEGATIVE_INFINITY : (at % 3) - 1)),
    },
    {
      none: attend(() => ({ k: 3, scale: 0.5 })),
      mask: attend(({ mask }) => ({ k: 3, scale: 0.5, mask: mask as Tensor })),
      'mask of keys': attend(({ maskOfKeys }) => ({ k: 3, scale: 0.5, mask: maskOfKeys as Tensor })),
      lengths: attend(({ lengths }) => ({ k: 3, scale: 0.5, keyLengths: lengths as Tensor })),
      bias: attend(({ bias }) => ({ k: 3, scale: 0.5, bias: bias as Tensor })),
      'mask and lengths': attend(({ mask, lengths }) => ({
        k: 3,
        scale: 0.5,
        mask: mask as Tensor,
        keyLengths: lengths as Tensor,
      })),
      'exact, bias': attend(({ bias }) => ({ scale: 0.5, bias: bias as Tensor })),
      'exact, mask': attend(({ mask }) => ({ scale: 0.5, mask: mask as Tensor })),
      'exact, none': attend(() => ({ scale: 0.5 })),
    },
  ),
];
