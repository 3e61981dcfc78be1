import { text as philoxWgsl } from '../../wgsl/philox.wgsl.js';

/**
 * For a (batch, head, query, slot), where `slot` is a key if all are kept: `is_kept(place)`, whether dropout keeps the
 * weight, and `are_kept(place)`, the same for four slots from a multiple of 4 on, at a quarter of the cost. Needs
 * `geometryUniforms`.
 */
export const dropoutKeeps: string = `${philoxWgsl}

fn is_kept(place: vec4u) -> bool {
  return random_word(place, params.seed) >= params.dropout_threshold;
}
fn are_kept(place: vec4u) -> vec4<bool> {
  return random_words(place, params.seed) >= vec4u(params.dropout_threshold);
}`;

/** `dropout_factor(row, slot)`: 0 for a dropped weight, else 1 / (1 - rate). Includes `dropoutKeeps`. */
export const dropoutFactor: string = `${dropoutKeeps}

fn dropout_factor(row: Row, slot: u32) -> f32 {
  return select(0.0, params.kept_scale, is_kept(vec4u(row.batch, row.head, row.query, slot)));
}`;
