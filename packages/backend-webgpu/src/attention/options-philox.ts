import { philoxWgsl } from '../runtime/philox-wgsl.js';

/** `dropout_factor(row, slot)`: 0 for a dropped weight, else 1 / (1 - rate). Needs `geometryStruct`. */
export const dropoutFactor: string = `${philoxWgsl}

fn dropout_factor(row: Row, slot: u32) -> f32 {
  let random = philox(vec4u(row.batch, row.head, row.query, slot), geometry.seed);
  return select(geometry.kept_scale, 0.0, random < geometry.dropout_threshold);
}`;
