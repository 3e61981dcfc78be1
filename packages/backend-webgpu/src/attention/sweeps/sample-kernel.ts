import type { Kernel } from '../../runtime/kernel.js';
import { bindings, geometryStruct, relativeBiasOf, visibleOf } from '../options-geometry.js';
import {
  operandType,
  type ProductShape,
  productDeclarations,
  productPlaces,
  scoreRows,
  stageResident,
  TILE_INVOCATIONS,
  TILE_KEYS,
  TILE_ROWS,
  tileProducts,
  tileRow,
} from './product.js';
import { sampledKey, tileSees } from './row-tile.js';
import { scoreQuad } from './score.js';

/** What the text of the sweeps' kernels depends on. */
export interface SweepParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly relativeBias: boolean;
  /** Rows of queries stay in workgroup memory: see `ProductShape`. */
  readonly resident: boolean;
  readonly steps: number;
}

/**
 * First sweep: scores of a sample of the keys of every row; of each group of the sample the maximum is kept. Groups are
 * single keys while there is room for them, then four neighbours of the sample, then four of every so many tiles: keys
 * that lie together fall into different groups. Hidden keys count as the lowest finite number.
 *
 * `own`: shift of the sample, groups of a row (a multiple of 128), first tile, end of the tiles; `more.x`: workgroups
 * that share the groups of a tile of rows, a power of two. A launch with a first tile above 0 goes on where the one
 * before it stopped.
 */
export function sampleKernel(p: SweepParameters): Kernel {
  return {
    key: `attention sweeps sample ${JSON.stringify(p)}`,
    buffers: [
      'read',
      'read',
      'write',
      ...(p.keyLengths ? (['read'] as const) : []),
      ...(p.relativeBias ? (['read'] as const) : []),
    ],
    source: () => source(p),
  };
}

function source(p: SweepParameters): string {
  const shape: ProductShape = p;
  const type = operandType(shape);
  return `
${geometryStruct}
${bindings([
  `read> q: array<${type}>`,
  `read> k: array<${type}>`,
  'read_write> maxima: array<f32>',
  ...(p.keyLengths ? ['read> key_lengths: array<i32>'] : []),
  ...(p.relativeBias ? ['read> relative: array<f32>'] : []),
])}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(TILE_ROWS)}
${p.relativeBias ? relativeBiasOf : ''}
${sampledKey}
${productDeclarations(shape)}
${scoreQuad(p.relativeBias)}

const LOWEST = -3.4028234e38f;

fn largest(x: vec4f) -> f32 {
  let pair = max(x.xy, x.zw);
  return max(pair.x, pair.y);
}

fn store_row(
  index: u32, tile: u32, tx: u32, row_index: u32, rows: u32, is_whole: bool, is_single: bool,
  near_keys: vec4u, far_keys: vec4u, near_dots: vec4f, far_dots: vec4f,
) {
  if (row_index >= rows) { return; }
  let row = row_at(index);
  var near = score_quad(near_dots, row, near_keys);
  var far = score_quad(far_dots, row, far_keys);
  if (!is_whole) {
    let visible = vec4u(visible_of(row));
    near = select(vec4f(LOWEST), near, near_keys < visible);
    far = select(vec4f(LOWEST), far, far_keys < visible);
  }
  let groups = geometry.own.y;
  if (is_single) {
    let at = index * groups + tile * ${TILE_KEYS}u + 4u * tx;
    for (var e = 0u; e < 4u; e++) {
      maxima[at + e] = near[e];
      maxima[at + 64u + e] = far[e];
    }
    return;
  }
  let tiles = groups / 32u;
  let at = index * groups + (tile % tiles) * 32u + tx;
  if (tile < tiles) {
    maxima[at] = largest(near);
    maxima[at + 16u] = largest(far);
  } else {
    maxima[at] = max(maxima[at], largest(near));
    maxima[at + 16u] = max(maxima[at + 16u], largest(far));
  }
}

@compute @workgroup_size(${TILE_INVOCATIONS})
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let shares = geometry.more.x;
  let shift = geometry.own.x;
  let rows = geometry.group * geometry.queries;
  let row_tiles = (rows + ${TILE_ROWS - 1}u) / ${TILE_ROWS}u;
  let job = id.x + id.y * groups.x;
  if (job >= shares * row_tiles * (geometry.heads / geometry.group)) { return; }
  let share = job % shares;
  let first_row = ${TILE_ROWS}u * (job / shares % row_tiles);
  let key_head = job / shares / row_tiles;
  ${productPlaces}
  let sees = tile_sees(key_head, first_row, rows);
  let count = (sees.y + (1u << shift) - 1u) >> shift;
  let is_single = count <= geometry.own.y;
  // Tiles of one share fall into the same groups, so that no two workgroups meet in one.
  let cycle = geometry.own.y / 32u;
  let run = cycle / shares;
  let end = min(geometry.own.w, (count + ${TILE_KEYS - 1}u) / ${TILE_KEYS}u);
  let last_key = geometry.key_length - 1u;
  let key_start = key_head * geometry.key_length;
  ${stageResident(shape)}
  for (var tile = geometry.own.z; tile < end; tile++) {
    if ((tile % cycle) / run != share) { continue; }
    let first = ${TILE_KEYS}u * tile;
    ${[0, 1, 2, 3]
      .map((j) => `let key_row_${j} = key_start + min(sampled_key(first + 4u * stage_r + ${j}u, shift), last_key);`)
      .join('\n    ')}
    ${tileProducts(shape)}
    let is_whole = ((first + ${TILE_KEYS}u) << shift) <= sees.x;
    let j = first + 4u * tx;
    let near_keys = vec4u(
      sampled_key(j, shift), sampled_key(j + 1u, shift), sampled_key(j + 2u, shift), sampled_key(j + 3u, shift),
    );
    let far_keys = vec4u(
      sampled_key(j + 64u, shift), sampled_key(j + 65u, shift),
      sampled_key(j + 66u, shift), sampled_key(j + 67u, shift),
    );
    ${scoreRows
      .map(
        (i) => `store_row(
      key_head * rows + first_row + ${tileRow(i)}, tile, tx, first_row + ${tileRow(i)}, rows, is_whole, is_single,
      near_keys, far_keys, dots_${i}_0, dots_${i}_1,
    );`,
      )
      .join('\n    ')}
  }
}`;
}
