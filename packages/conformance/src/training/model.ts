// The language model of tooling/goldens/training.py: the same names, formulas and sizes.
import {
  add,
  type Backend,
  crossEntropy,
  exactAttention,
  gatherRows,
  layerNorm,
  matmul,
  type NamedTensors,
  reshape,
  type Shape,
  scope,
  sizeOf,
  type Tensor,
  tensor,
  topKAttention,
  topKFeedForward,
  transpose,
} from '@topk-attention/core';

const VOCABULARY = 13;
const LENGTH = 8;
const BATCH = 2;
const DIM = 16;
const HEADS = 2;
const HIDDEN = 16;
const KEPT_KEYS = 3;
const KEPT_UNITS = 5;

export type Mechanism = 'top-k' | 'exact';

/** Shape, size of the elements, and what is added to them. */
const formulas: Readonly<Record<string, readonly [shape: Shape, size: number, shift: number]>> = {
  'token.weight': [[VOCABULARY, DIM], 0.3, 0],
  'position.weight': [[LENGTH, DIM], 0.5, 0],
  'norm1.weight': [[DIM], 0.2, 1],
  'norm1.bias': [[DIM], 0.1, 0],
  'q.weight': [[DIM, DIM], 0.4, 0],
  'k.weight': [[DIM, DIM], 0.4, 0],
  'v.weight': [[DIM, DIM], 0.3, 0],
  'out.weight': [[DIM, DIM], 0.3, 0],
  'norm2.weight': [[DIM], 0.2, 1],
  'norm2.bias': [[DIM], 0.1, 0],
  'wIn.weight': [[DIM, HIDDEN], 0.4, 0],
  'wIn.bias': [[HIDDEN], 0.2, 0],
  'wOut.weight': [[HIDDEN, DIM], 0.3, 0],
  'wOut.bias': [[DIM], 0.1, 0],
};

/** The caller disposes of them. */
export function initialParameters(backend: Backend): NamedTensors {
  return Object.fromEntries(
    Object.entries(formulas).map(([name, [shape, size, shift]], index) => {
      const valueAt = (_: unknown, i: number): number => shift + size * Math.sin(1 + 3 * index + 2.3 * i);
      return [name, tensor(backend, Float32Array.from({ length: sizeOf(shape) }, valueAt), shape)];
    }),
  );
}

/** Mean loss of a step's batch, shape []: token t + 1 from the tokens up to t; the last one of the batch does not count. */
export function lossOf(p: NamedTensors, step: number, mechanism: Mechanism): Tensor {
  const weight = (name: string): Tensor => p[name] as Tensor;
  const { backend } = weight('token.weight');
  const tokensAt = (from: number): Int32Array =>
    Int32Array.from({ length: BATCH * LENGTH }, (_, i) => {
      const [b, t] = [Math.floor(i / LENGTH), (i % LENGTH) + from];
      return (7 * step + 5 * b + 3 * t + t * t) % VOCABULARY;
    });
  const targets = tokensAt(1).fill(-1, -1);
  return scope(() => {
    const table = weight('token.weight');
    const ids = tensor(backend, tokensAt(0), [1, BATCH * LENGTH], 'i32');
    const embedded = reshape(gatherRows(reshape(table, [1, VOCABULARY, DIM]), ids), [BATCH, LENGTH, DIM]);
    const x = reshape(add(embedded, weight('position.weight')), [BATCH * LENGTH, DIM]);
    const mixed = add(x, attention(weight, x, mechanism));
    const logits = matmul(add(mixed, feedForward(weight, mixed)), table, { transposeB: true });
    return crossEntropy(logits, tensor(backend, targets, [BATCH * LENGTH], 'i32'));
  });
}

type Weights = (name: string) => Tensor;

function attention(weight: Weights, x: Tensor, mechanism: Mechanism): Tensor {
  const h = layerNorm(x, weight('norm1.weight'), weight('norm1.bias'));
  const [q, k, v] = ['q', 'k', 'v'].map((name) => {
    const projected = matmul(h, weight(`${name}.weight`));
    return transpose(reshape(projected, [BATCH, LENGTH, HEADS, DIM / HEADS]), [0, 2, 1, 3]);
  }) as [Tensor, Tensor, Tensor];
  const options = { causal: true } as const;
  const heads =
    mechanism === 'top-k'
      ? topKAttention(q, k, v, { ...options, k: KEPT_KEYS })
      : exactAttention(q, k, v, options);
  const mixed = reshape(transpose(heads, [0, 2, 1, 3]), [BATCH * LENGTH, DIM]);
  return matmul(mixed, weight('out.weight'));
}

function feedForward(weight: Weights, x: Tensor): Tensor {
  const h = layerNorm(x, weight('norm2.weight'), weight('norm2.bias'));
  return topKFeedForward(
    h,
    {
      wIn: weight('wIn.weight'),
      bIn: weight('wIn.bias'),
      wOut: weight('wOut.weight'),
      bOut: weight('wOut.bias'),
    },
    { k: KEPT_UNITS, activation: 'gelu' },
  );
}
