import type { Binding } from '../../runtime/binding.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../wgsl/define-kernel.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import { type OptionSpans, optionBuffers } from '../shared/options.js';
import { relativeBiasOf } from '../shared/relative-bias.js';
import {
  invocationsOf,
  operandType,
  type ProductShape,
  productDeclarations,
  productPlaces,
  productStart,
  scoreRows,
  TILE_KEYS,
  type TileRows,
  tileProducts,
  tileRow,
} from '../shared/scores/product.js';
import { visibleOf } from '../shared/validity.js';
import { sampledKey, tileSees } from './row-tile.js';
import { scoreQuad } from './score.js';

/** What the text of the sweeps' kernels depends on. */
export interface SweepParameters {
  readonly headDim: number;
  readonly dtype: 'f32' | 'f16';
  readonly causal: boolean;
  readonly keyLengths: boolean;
  readonly relativeBias: boolean;
  /** See `ProductShape`. */
  readonly rows: TileRows;
}

/** What both sweeps read. */
export interface SweepInputs {
  readonly geometry: PartGeometry;
  /** Number of row tiles in the part. */
  readonly rowTiles: number;
  readonly q: Binding;
  readonly k: Binding;
  readonly options: Pick<OptionSpans, 'key_lengths' | 'relative'>;
}

/**
 * First sweep: scores of a sample of the keys of every row, keeping the maximum of each group of the sample. Groups
 * are single keys while there is room for them, then four neighbours of the sample, then four from tiles at a fixed
 * distance: keys that lie together fall into different groups. Hidden keys count as the lowest finite number.
 *
 * A launch with a first tile above 0 continues where the previous one stopped.
 */
const sampleKernel = kernelFamily('attention sweeps sample', (p: SweepParameters) => ({
  uniforms: {
    ...geometryUniforms,
    shift: 'u32',
    groups: 'u32',
    first_tile: 'u32',
    end_tile: 'u32',
    shares: 'u32',
  },
  buffers: {
    q: readFrom(operandType(p)),
    k: readFrom(operandType(p)),
    maxima: write('f32'),
    ...optionBuffers(p),
  },
  workgroup: invocationsOf(p),
  source: () => source(p),
}));

/**
 * `maxima`: f32 [rows, groups]. One key in 2^shift; `groups`: a multiple of 128; `shares`: workgroups that share the
 * groups of a tile of rows, a power of two.
 */
export function recordSample(
  stream: Stream,
  parameters: SweepParameters,
  { geometry, rowTiles, q, k, options }: SweepInputs,
  own: Readonly<Record<'shift' | 'groups' | 'first_tile' | 'end_tile' | 'shares', number>>,
  maxima: Span,
): void {
  sampleKernel(parameters).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers: { q, k, maxima, ...options },
    workgroups: rowTiles * own.shares,
  });
}

function source(p: SweepParameters): string {
  const shape: ProductShape = p;
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(p.rows)}
${p.relativeBias ? relativeBiasOf : ''}
${sampledKey}
${productDeclarations(shape)}
${scoreQuad(p.relativeBias)}

const LOWEST = -3.4028234e38f;

fn largest(x: vec4f) -> f32 {
  let pair = max(x.xy, x.zw);
  return max(pair.x, pair.y);
}

/** Number of the group in which a quad of a tile of the sample falls. */
fn group_at(tile: u32, quad: u32) -> u32 {
  return (tile % (params.groups / 32u)) * 32u + quad;
}

/** The first tile from \`tile\` on that belongs to the share. */
fn next_tile(tile: u32, cycle: u32, run: u32, share: u32) -> u32 {
  let own = tile % cycle / run;
  if (own == share) { return tile; }
  let start = tile - tile % cycle + share * run;
  return select(start, start + cycle, own > share);
}

fn store_quad(index: u32, row: Row, visible: u32, tile: u32, quad: u32, is_single: bool, keys: vec4u, dots: vec4f) {
  let scores = select(vec4f(LOWEST), score_quad(dots, row, keys), keys < vec4u(visible));
  let start = index * params.groups;
  if (is_single) {
    let at = start + tile * ${TILE_KEYS}u + 4u * quad;
    maxima[at] = scores.x;
    maxima[at + 1u] = scores.y;
    maxima[at + 2u] = scores.z;
    maxima[at + 3u] = scores.w;
    return;
  }
  let at = start + group_at(tile, quad);
  var most = largest(scores);
  if (tile >= params.groups / 32u) { most = max(most, maxima[at]); }
  maxima[at] = most;
}

fn store_row(
  index: u32, is_row: bool, tile: u32, tx: u32, is_single: bool,
  near_keys: vec4u, far_keys: vec4u, near: vec4f, far: vec4f,
) {
  if (!is_row) { return; }
  let row = row_at(index);
  let visible = visible_of(row);
  store_quad(index, row, visible, tile, tx, is_single, near_keys, near);
  store_quad(index, row, visible, tile, tx + 16u, is_single, far_keys, far);
}

/** The four samples of a quad: a quarter of the row's sample apart, so that neighbours fall into different groups. */
fn quad_keys(tile: u32, quad: u32, tiles: u32, shift: u32) -> vec4u {
  let j = 32u * tile + quad;
  let quarter = 32u * tiles;
  return vec4u(
    sampled_key(j, shift), sampled_key(j + quarter, shift),
    sampled_key(j + 2u * quarter, shift), sampled_key(j + 3u * quarter, shift),
  );
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let shares = params.shares;
  let shift = params.shift;
  let rows = params.group * params.queries;
  let row_tiles = (rows + ${p.rows - 1}u) / ${p.rows}u;
  let job = id.x + id.y * groups.x;
  if (job >= shares * row_tiles * (params.heads / params.group)) { return; }
  let share = job % shares;
  let first_row = ${p.rows}u * (job / shares % row_tiles);
  let key_head = job / shares / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let count = (sees.y + (1u << shift) - 1u) >> shift;
  let tiles = (count + ${TILE_KEYS - 1}u) / ${TILE_KEYS}u;
  let is_single = count <= params.groups;
  // Tiles of one share fall into the same groups, so that no two workgroups meet in one.
  let cycle = params.groups / 32u;
  let run = cycle / shares;
  let end = min(params.end_tile, tiles);
  var tile = next_tile(params.first_tile, cycle, run, share);
  if (tile >= end) { return; }
  ${productPlaces}
  ${productStart(shape, keyRows('tile'))}
  while (tile < end) {
    let next = next_tile(tile + 1u, cycle, run, share);
    ${tileProducts(shape, keyRows('next'))}
    let near_keys = quad_keys(tile, tx, tiles, shift);
    let far_keys = quad_keys(tile, tx + 16u, tiles, shift);
    ${scoreRows
      .map(
        (i) => `store_row(
      key_head * rows + first_row + ${tileRow(i, shape)}, first_row + ${tileRow(i, shape)} < rows, tile, tx, is_single,
      near_keys, far_keys, dots_${i}_0, dots_${i}_1,
    );`,
      )
      .join('\n    ')}
    tile = next;
  }
}`;
}

/** The keys that the invocation loads of a tile; any key will do beyond the last. */
function keyRows(tile: string): string {
  const rows = [0, 1, 2, 3].map(
    (j) => `key_row_${j} = key_head * params.key_length + min(brought[${j}], params.key_length - 1u);`,
  );
  return `{
      let brought = quad_keys(${tile}, stage_r, tiles, shift);
      ${rows.join('\n      ')}
    }`;
}
