import type { Kernel } from '../../runtime/kernel.js';
import { bindings, geometryStruct, relativeBiasOf, visibleOf } from '../options-geometry.js';
import {
  invocationsOf,
  operandType,
  type ProductShape,
  productBytes,
  productDeclarations,
  productPlaces,
  productStart,
  scoreRows,
  TILE_KEYS,
  tileProducts,
  tileRow,
} from '../sweeps/product.js';

/** What the text of the kernel depends on. */
export interface ScoresParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly mask: boolean;
  readonly bias: boolean;
  readonly relativeBias: boolean;
  /** See `ProductShape`. */
  readonly rows: 64 | 128;
  readonly steps: 4 | 16;
}

/** Scores of a row lie this many words apart: whole vectors. */
export function scoreStride(keyLength: number): number {
  return 4 * Math.ceil(keyLength / 4);
}

/**
 * Scores of all queries of a part with all visible keys: [rows, stride] bits of f32, scale and biases included, -inf
 * where a key is hidden. Keys beyond `visible_of(row)` may be left unwritten.
 *
 * Reads q once per 128 keys, k once per tile of rows; writes the scores once. Workgroup memory: 12 or 16 KiB. Core WebGPU only.
 */
export function scoresKernel(p: ScoresParameters): Kernel {
  const has = (on: boolean): 'read'[] => (on ? ['read'] : []);
  return {
    key: `attention stored scores ${JSON.stringify(p)}`,
    buffers: [
      'read',
      'read',
      'write',
      ...has(p.keyLengths),
      ...has(p.mask),
      ...has(p.bias),
      ...has(p.relativeBias),
    ],
    source: () => source(p),
  };
}

/** Workgroups for the rows of a part. */
export function scoresGroups(
  keyHeads: number,
  rowsPerKeyHead: number,
  keys: number,
  tileRows: number,
): number {
  return keyHeads * Math.ceil(rowsPerKeyHead / tileRows) * Math.ceil(keys / TILE_KEYS);
}

function source(p: ScoresParameters): string {
  const shape: ProductShape = p;
  const type = operandType(shape);
  const finite = p.mask || p.bias || p.relativeBias;
  return `// workgroup memory: ${productBytes(shape)} bytes
${geometryStruct}
${bindings([
  `read> q: array<${type}>`,
  `read> k: array<${type}>`,
  'read_write> scores: array<vec4u>',
  ...(p.keyLengths ? ['read> key_lengths: array<i32>'] : []),
  ...(p.mask ? ['read> mask: array<u32>'] : []),
  ...(p.bias ? ['read> bias: array<f32>'] : []),
  ...(p.relativeBias ? ['read> relative: array<f32>'] : []),
])}
${visibleOf(p.causal, p.keyLengths)}
${productDeclarations(shape)}

const HIDDEN = 0xff800000u;

${p.relativeBias ? relativeBiasOf : ''}
${finite ? scoreFunction(p) : ''}
fn scores_of(dots: vec4f, row: Row, first_key: u32, visible: u32) -> vec4u {
  let keys = first_key + vec4u(0u, 1u, 2u, 3u);
  ${
    finite
      ? `let bits = vec4u(
    score_of(dots.x, row, keys.x, visible), score_of(dots.y, row, keys.y, visible),
    score_of(dots.z, row, keys.z, visible), score_of(dots.w, row, keys.w, visible),
  );`
      : 'let bits = bitcast<vec4u>(geometry.scale * dots);'
  }
  return select(vec4u(HIDDEN), bits, keys < vec4u(visible));
}

fn store_row(row_index: u32, rows: u32, key_head: u32, first_key: u32, near: vec4f, far: vec4f) {
  if (row_index >= rows) { return; }
  let row = row_at(key_head * rows + row_index);
  let visible = visible_of(row);
  let stride = (geometry.key_length + 3u) / 4u;
  let at = (key_head * rows + row_index) * stride + first_key / 4u;
  if (first_key < visible) { scores[at] = scores_of(near, row, first_key, visible); }
  if (first_key + 64u < visible) { scores[at + 16u] = scores_of(far, row, first_key + 64u, visible); }
}

@compute @workgroup_size(${invocationsOf(p)})
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = geometry.group * geometry.queries;
  let key_tiles = (geometry.visible_keys + ${TILE_KEYS - 1}u) / ${TILE_KEYS}u;
  let row_tiles = (rows + ${p.rows - 1}u) / ${p.rows}u;
  let job = id.x + id.y * groups.x;
  if (job >= key_tiles * row_tiles * (geometry.heads / geometry.group)) { return; }
  let first_key = ${TILE_KEYS}u * (job % key_tiles);
  let first_row = ${p.rows}u * (job / key_tiles % row_tiles);
  let key_head = job / key_tiles / row_tiles;
  ${productPlaces(shape)}
  ${productStart(
    shape,
    [0, 1, 2, 3]
      .map(
        (j) => `key_row_${j} = key_head * geometry.key_length
    + min(first_key + 4u * stage_r + ${j}u, geometry.key_length - 1u);`,
      )
      .join('\n  '),
  )}
  ${tileProducts(shape, '')}
  ${scoreRows
    .map(
      (i) =>
        `store_row(first_row + ${tileRow(i, shape)}, rows, key_head, first_key + 4u * tx, dots_${i}_0, dots_${i}_1);`,
    )
    .join('\n  ')}
}`;
}

/** `score_of(dot, row, key, visible)`: bits of the score of a key, HIDDEN for what a mask hides. */
function scoreFunction({ mask, bias, relativeBias }: ScoresParameters): string {
  const at = (strides: string): string => `dot(${strides}, vec4u(row.batch, row.head, row.query, key))`;
  return `
fn score_of(dot_product: f32, row: Row, key: u32, visible: u32) -> u32 {
  if (key >= visible) { return HIDDEN; }
  ${mask ? `if (mask[${at('geometry.mask_stride')}] == 0u) { return HIDDEN; }` : ''}
  var added = 0.0;
  ${relativeBias ? 'added += relative_bias(row, key);' : ''}
  ${bias ? `added += bias[${at('geometry.bias_stride')}];` : ''}
  return bitcast<u32>(${bias || relativeBias ? 'fma(geometry.scale, dot_product, added)' : 'geometry.scale * dot_product'});
}`;
}
