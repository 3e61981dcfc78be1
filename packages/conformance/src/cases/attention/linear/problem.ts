import {
  type Backend,
  type LinearAttentionOptions,
  linearAttention,
  type Tensor,
} from '@topk-attention/core';
import { differentiate, type Ran } from '../../../harness/support/differentiate.js';
import { at, type Nd, nd } from '../../../harness/support/nd.js';

/** A call of linear attention with its numbers. */
export interface LinearProblem {
  readonly queryFeatures: Nd;
  readonly keyFeatures: Nd;
  readonly value: Nd;
  /** [B, Lk] or [1, Lk] */
  readonly keyMask?: Nd;
  readonly keyLengths?: Nd;
  /** [B, Hkv, Lk] */
  readonly keyLogScale?: Nd;
  /** The state that the call begins with. */
  readonly sums?: Nd;
  readonly total?: Nd;
  readonly logScale?: Nd;
  readonly options?: Pick<
    LinearAttentionOptions,
    'causal' | 'normalise' | 'epsilon' | 'leastDenominator' | 'chunk'
  >;
}

export const linearRoles = [
  'queryFeatures',
  'keyFeatures',
  'value',
  'keyLogScale',
  'sums',
  'total',
  'logScale',
] as const;
type LinearRole = (typeof linearRoles)[number];
export type LinearAnswer = Ran<LinearRole>;

/** [B, Hq, Lq, Dv] */
export const outputShape = ({ queryFeatures, value }: LinearProblem): number[] => [
  ...queryFeatures.shape.slice(0, 3),
  value.shape[3] ?? 0,
];

/** Core's operation on a backend. */
export function run(
  backend: Backend,
  problem: LinearProblem,
  cotangent?: Nd,
  storage: 'f32' | 'f16' = 'f32',
): Promise<LinearAnswer> {
  const { keyMask, keyLengths, options } = problem;
  const parameters = Object.fromEntries(linearRoles.map((role) => [role, problem[role]]));
  return differentiate<LinearRole>(
    backend,
    parameters,
    (by, up) =>
      linearAttention(by.queryFeatures as Tensor, by.keyFeatures as Tensor, by.value as Tensor, {
        ...options,
        ...(keyMask && { keyMask: up(keyMask, 'bool') }),
        ...(keyLengths && { keyLengths: up(keyLengths, 'i32') }),
        ...(by.keyLogScale && { keyLogScale: by.keyLogScale }),
        ...(by.sums &&
          by.total && {
            state: { sums: by.sums, total: by.total, ...(by.logScale && { logScale: by.logScale }) },
          }),
      }),
    cotangent,
    storage,
    ['keyLogScale', 'sums', 'total', 'logScale'],
  );
}

/** Whether the query sees the key. */
export function sees(
  { queryFeatures, keyFeatures, keyMask, keyLengths, keyLogScale, options }: LinearProblem,
  [b, group, i, key]: readonly [number, number, number, number],
): boolean {
  const [queries, keys] = [queryFeatures.shape[2] as number, keyFeatures.shape[2] as number];
  if (options?.causal && key > i + keys - queries) return false;
  if (keyLengths !== undefined && key >= at(keyLengths, [b])) return false;
  if (keyMask !== undefined && at(keyMask, [b, key]) === 0) return false;
  return keyLogScale === undefined || at(keyLogScale, [b, group, key]) > Number.NEGATIVE_INFINITY;
}

/**
 * The output by the matrix of all weights, in f64. With a state, that of no log scales. Gradients are checked by finite
 * differences of the operation itself.
 */
export function solve(problem: LinearProblem): readonly number[] {
  const { queryFeatures, keyFeatures, value, keyLogScale, sums, total, options = {} } = problem;
  const { normalise = true, epsilon = 0, leastDenominator = Number.NEGATIVE_INFINITY } = options;
  const [, keyHeads = 1, keys = 0, width = 0] = keyFeatures.shape;
  const heads = queryFeatures.shape[1] as number;
  return nd(outputShape(problem), ([b = 0, h = 0, i = 0, d = 0]) => {
    const group = Math.floor((h * keyHeads) / heads);
    const seen = Array.from({ length: keys }, (_, key) => key).filter((key) =>
      sees(problem, [b, group, i, key]),
    );
    const scale = (key: number): number => (keyLogScale ? at(keyLogScale, [b, group, key]) : 0);
    const peak = keyLogScale ? Math.max(...seen.map(scale)) : 0;
    let product = 0;
    let divisor = 0;
    for (const key of seen) {
      let dot = 0;
      for (let f = 0; f < width; f++)
        dot += at(queryFeatures, [b, h, i, f]) * at(keyFeatures, [b, group, key, f]);
      const weight = dot * Math.exp(scale(key) - peak);
      product += weight * at(value, [b, group, key, d]);
      divisor += weight;
    }
    for (let f = 0; f < width && sums && total; f++) {
      product += at(queryFeatures, [b, h, i, f]) * at(sums, [b, group, f, d]);
      divisor += at(queryFeatures, [b, h, i, f]) * at(total, [b, group, f]);
    }
    if (!normalise) return product;
    divisor += epsilon;
    if (divisor < leastDenominator) divisor = leastDenominator;
    return divisor === 0 ? 0 : product / divisor;
  }).data;
}
