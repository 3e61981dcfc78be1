import { type AttentionRequest, philoxKey } from '@topk-attention/core/backend';
import { text as philoxWgsl } from '../../wgsl/philox.wgsl.js';

/** The uniforms of dropout: a weight is dropped if its random word is below the threshold. */
export function dropoutOf({ dropout }: AttentionRequest): {
  readonly seed: readonly [number, number];
  readonly threshold: number;
  /** 1 / (1 - rate). */
  readonly keptScale: number;
} {
  const { rate, seed } = dropout ?? { rate: 0, seed: 0 };
  return {
    seed: philoxKey(seed),
    threshold: Math.floor(rate * 2 ** 32),
    keptScale: 1 / (1 - rate),
  };
}

/** `is_kept(batch, head, query, slot)`: whether dropout keeps a weight; `slot` is a key where all are kept. Needs `geometryUniforms`. */
export const dropoutKeeps: string = `${philoxWgsl}

fn is_kept(batch: u32, head: u32, query: u32, slot: u32) -> bool {
  return philox(vec4u(batch, head, query, slot), params.seed) >= params.dropout_threshold;
}`;

/** `dropout_factor(row, slot)`: 0 for a dropped weight, else 1 / (1 - rate). Includes `dropoutKeeps`. */
export const dropoutFactor: string = `${dropoutKeeps}

fn dropout_factor(row: Row, slot: u32) -> f32 {
  return select(0.0, params.kept_scale, is_kept(row.batch, row.head, row.query, slot));
}`;
