import {
  cast,
  custom,
  div,
  dropout,
  eq,
  fill,
  type LinearAttentionOptions,
  linearAttention,
  max,
  mul,
  reshape,
  type Tensor,
  where,
} from '@topk-attention/core';
import type { MechanismCall, MechanismOptions, MechanismState, MechanismStep } from '@topk-attention/nn';

/** Features in f32; those of hidden keys take no part. */
export interface Features {
  /** [B, heads, Lq, F] */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, F] */
  readonly key: Tensor;
}

export interface LinearSettings
  extends Pick<LinearAttentionOptions, 'normalise' | 'leastDenominator' | 'chunk'> {
  /** Drops whole moments, the features' sums, of each example and head; denominators keep all. */
  readonly dropout?: MechanismOptions['dropout'];
}

/** Linear attention with a call's values, causality and lengths: [B, heads, Lq, Dv] in f32. */
export function attendLinearly(call: MechanismCall, features: Features, settings: LinearSettings): Tensor {
  return attended(call, features, settings, optionsOf(call, settings));
}

/** The same for the next tokens of causal decoding. The state holds sums over all keys: its size is constant. */
export function stepLinearly(
  call: MechanismCall,
  before: MechanismState | undefined,
  features: Features,
  settings: LinearSettings,
): MechanismStep {
  const { sums, total } = before?.tensors ?? {};
  const options = {
    ...{ ...optionsOf(call, settings), causal: true },
    ...(sums && total && { state: { sums, total } }),
  };
  const { query, key } = features;
  const value = cast(call.value, 'f32');
  const { output, state } = linearAttention(query, key, value, { ...options, returnState: true });
  const length = (before?.length ?? 0) + (key.shape[2] as number);
  return {
    output: settings.dropout === undefined ? output : attended(call, features, settings, options),
    state: { length, tensors: { sums: state.sums, total: state.total } },
  };
}

type Options = Pick<
  LinearAttentionOptions,
  'normalise' | 'leastDenominator' | 'chunk' | 'causal' | 'keyLengths' | 'state'
>;

function optionsOf(
  { options: { causal = false, keyLengths } }: MechanismCall,
  { dropout: _dropout, ...settings }: LinearSettings,
): Options {
  return { ...settings, causal, ...(keyLengths && { keyLengths }) };
}

function attended(
  call: MechanismCall,
  { query, key }: Features,
  { dropout: drop }: LinearSettings,
  options: Options,
): Tensor {
  const value = cast(call.value, 'f32');
  if (drop === undefined) return linearAttention(query, key, value, options);
  const { leastDenominator, normalise, state, ...rest } = options;
  const plain = { ...rest, normalise: false };
  const kept = withMoments(query, keptMoments(query, drop));
  const sums = linearAttention(kept, key, value, { ...plain, ...(state && { state }) });
  if (normalise === false) return sums;
  const ones = fill(value.backend, 1, [...value.shape.slice(0, 3), 1]);
  const before = state && { ...state, sums: reshape(state.total, [...state.total.shape, 1]) };
  const total = linearAttention(query, key, ones, { ...plain, ...(before && { state: before }) });
  const divisor =
    leastDenominator === undefined ? where(eq(total, 0), 1, total) : max(total, leastDenominator);
  return div(sums, divisor);
}

/** Features times what is kept, which has no gradient: it would take two passes over all features. */
function withMoments(features: Tensor, moments: Tensor): Tensor {
  const [kept] = custom(
    'withMoments',
    [features],
    () => ({ outputs: [mul(features, moments)], saved: [moments] }),
    (ops, [g], [factors]) => [g && ops.mul(g, factors as Tensor)],
  );
  return kept as Tensor;
}

/** [B, heads, 1, F]: 0 for a moment that is dropped. */
function keptMoments(query: Tensor, drop: NonNullable<LinearSettings['dropout']>): Tensor {
  const [batch, heads, , features] = query.shape as readonly [number, number, number, number];
  return dropout(fill(query.backend, 1, [batch, heads, 1, features]), drop);
}
