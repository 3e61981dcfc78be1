import { rowAt } from '../geometry.js';
import type { OptionFlags } from '../options.js';
import { relativeBiasOf } from '../relative-bias.js';
import { visibleOf } from '../validity.js';

/** What the text of a kernel that stores scores depends on. */
export interface ScoreOptions extends Required<OptionFlags> {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
}

/** Words from one row of scores to the next: whole vectors. */
export function scoreStride(keyLength: number): number {
  return 4 * Math.ceil(keyLength / 4);
}

/** `scores_of(dots, row, first_key, visible)`: the bits of four scores, HIDDEN where a key is hidden. */
export function scoreFunctions(p: ScoreOptions): string {
  const hasOptions = p.mask || p.bias || p.relativeBias;
  return `${rowAt}
${visibleOf(p.causal, p.keyLengths)}

const HIDDEN = 0xff800000u;

${p.relativeBias ? relativeBiasOf : ''}
${hasOptions ? scoreFunction(p) : ''}
fn scores_of(dots: vec4f, row: Row, first_key: u32, visible: u32) -> vec4u {
  let keys = first_key + vec4u(0u, 1u, 2u, 3u);
  ${
    hasOptions
      ? `let bits = vec4u(
    score_of(dots.x, row, keys.x, visible), score_of(dots.y, row, keys.y, visible),
    score_of(dots.z, row, keys.z, visible), score_of(dots.w, row, keys.w, visible),
  );`
      : 'let bits = bitcast<vec4u>(params.scale * dots);'
  }
  return select(vec4u(HIDDEN), bits, keys < vec4u(visible));
}`;
}

/** `score_of(dot, row, key, visible)`: bits of the score of a key, HIDDEN where a mask hides it. */
function scoreFunction({ mask, bias, relativeBias }: ScoreOptions): string {
  const at = (strides: string): string => `dot(${strides}, vec4u(row.batch, row.head, row.query, key))`;
  return `
fn score_of(dot_product: f32, row: Row, key: u32, visible: u32) -> u32 {
  if (key >= visible) { return HIDDEN; }
  ${mask ? `if (mask[${at('params.mask_stride')}] == 0u) { return HIDDEN; }` : ''}
  var added = 0.0;
  ${relativeBias ? 'added += relative_bias(row, key);' : ''}
  ${bias ? `added += bias[${at('params.bias_stride')}];` : ''}
  return bitcast<u32>(${bias || relativeBias ? 'fma(params.scale, dot_product, added)' : 'params.scale * dot_product'});
}`;
}
