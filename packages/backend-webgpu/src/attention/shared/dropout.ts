import { text as philoxWgsl } from '../../wgsl/philox.wgsl.js';

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
