import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { geometryUniforms, rowAt } from '../shared/geometry.js';
import { optionBuffers } from '../shared/options.js';
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
  tileProducts,
  tileRow,
} from '../shared/scores/product.js';
import { visibleOf } from '../shared/validity.js';
import { tileSees } from './row-tile.js';
import type { SweepInputs, SweepParameters } from './sample-kernel.js';
import { scoreQuad } from './score.js';

/**
 * Second sweep: lists every visible key whose score is above its row's threshold, as (key, bits of the score), and
 * counts them, including those that do not fit in a full list. The order of a list is the order in which workgroups
 * arrive.
 *
 * A workgroup takes a tile of rows and a segment of the keys. Hits of a tile first get their places among the row's
 * hits in that tile; then one atomic addition per row moves them behind what is already listed.
 */
const collectKernel = kernelFamily('attention sweeps collect', (p: SweepParameters) => ({
  uniforms: { ...geometryUniforms, capacity: 'u32', first_key: 'u32', end_key: 'u32', segment: 'u32' },
  buffers: {
    q: readFrom(operandType(p)),
    k: readFrom(operandType(p)),
    thresholds: read('f32'),
    counts: write('atomic<u32>'),
    lists: write('vec2u'),
    ...optionBuffers(p),
  },
  workgroup: invocationsOf(p),
  source: () => source(p),
}));

/**
 * Covers keys `first_key` to `end_key`, `segment` of them per workgroup; both are multiples of 128, except at the end.
 */
export function recordCollect(
  stream: Stream,
  parameters: SweepParameters,
  { geometry, rowTiles, q, k, options }: SweepInputs,
  own: Readonly<Record<'capacity' | 'first_key' | 'end_key' | 'segment', number>>,
  buffers: Readonly<Record<'thresholds' | 'counts' | 'lists', Span>>,
): void {
  collectKernel(parameters).launch(stream, {
    uniforms: { ...geometry, ...own },
    buffers: { q, k, ...buffers, ...options },
    workgroups: rowTiles * Math.ceil((own.end_key - own.first_key) / own.segment),
  });
}

function source(p: SweepParameters): string {
  const shape: ProductShape = p;
  const places = (i: number): string => (i < 4 ? 'near_places' : 'far_places');
  const masks = (i: number): string => (i < 4 ? 'near_hits' : 'far_hits');
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(p.rows)}
${p.relativeBias ? relativeBiasOf : ''}
${productDeclarations(shape)}
${scoreQuad(p.relativeBias)}

/** Hits of the tile at hand by row, and where they go in the row's list. */
var<workgroup> tile_counts: array<atomic<u32>, ${p.rows}>;
var<workgroup> tile_starts: array<u32, ${p.rows}>;

/** A bit for each of four scores above the threshold. */
fn above(scores: vec4f, threshold: f32) -> u32 {
  return dot(select(vec4u(), vec4u(1u, 2u, 4u, 8u), scores > vec4f(threshold)), vec4u(1u));
}

/** A bit for each of the keys 4 tx .. and 4 tx + 64 .. of a tile that the row can see. */
fn seen(index: u32, first: u32) -> u32 {
  let visible = vec4u(visible_of(row_at(index)));
  let keys = first + vec4u(0u, 1u, 2u, 3u);
  let bits = vec4u(1u, 2u, 4u, 8u);
  return dot(select(vec4u(), bits, keys < visible), vec4u(1u))
    | (dot(select(vec4u(), bits, keys + 64u < visible), vec4u(1u)) << 4u);
}

fn store_hits(list: u32, first_place: u32, hits: u32, first_key: u32, near: vec4f, far: vec4f) {
  var left = hits;
  var place = first_place;
  while (left != 0u) {
    let bit = firstTrailingBit(left);
    left &= left - 1u;
    if (place < params.capacity) {
      let quad = select(near, far, (bit & 4u) != 0u);
      let pair = select(quad.xy, quad.zw, (bit & 2u) != 0u);
      let score = select(pair.x, pair.y, (bit & 1u) != 0u);
      lists[list * params.capacity + place] = vec2u(first_key + (bit & 3u) + 16u * (bit & 4u), bitcast<u32>(score));
    }
    place++;
  }
}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let rows = params.group * params.queries;
  let row_tiles = (rows + ${p.rows - 1}u) / ${p.rows}u;
  let segments = (params.end_key - params.first_key + params.segment - 1u) / params.segment;
  let job = id.x + id.y * groups.x;
  if (job >= segments * row_tiles * (params.heads / params.group)) { return; }
  let segment = params.first_key + params.segment * (job % segments);
  let first_row = ${p.rows}u * (job / segments % row_tiles);
  let key_head = job / segments / row_tiles;
  let sees = tile_sees(key_head, first_row, rows);
  let end = min(min(segment + params.segment, params.end_key), sees.y);
  if (segment >= end) { return; }
  let index_start = key_head * rows + first_row;
  ${productPlaces}
  if (t < ${p.rows}u) { atomicStore(&tile_counts[t], 0u); }
  // Rows beyond the last list nothing: no score is above infinity, which must not be a constant of the shader. Tests
  // of rows where hits are found made the sweep a third slower.
  let infinity = bitcast<f32>(0x7f800000u + (rows >> 31u));
  ${scoreRows
    .map(
      (i) => `let threshold_${i} = select(
    infinity, thresholds[index_start + ${tileRow(i, shape)}], first_row + ${tileRow(i, shape)} < rows,
  );`,
    )
    .join('\n  ')}
  ${productStart(shape, keyRows('segment'))}
  for (var first = segment; first < end; first += ${TILE_KEYS}u) {
    ${tileProducts(shape, keyRows(`first + ${TILE_KEYS}u`))}
    let first_key = first + 4u * tx;
    let is_whole = first + ${TILE_KEYS}u <= sees.x;
    // Eight bits a row: which of its scores are hits, and the place of the first of them among the tile's.
    var near_hits = 0u;
    var far_hits = 0u;
    var near_places = 0u;
    var far_places = 0u;
    ${scoreRows
      .map(
        (i) => `{
      ${
        p.relativeBias
          ? `let row = row_at(min(index_start + ${tileRow(i, shape)}, params.heads * params.queries - 1u));
      let keys = first_key + vec4u(0u, 1u, 2u, 3u);
      dots_${i}_0 = score_quad(dots_${i}_0, row, keys);
      dots_${i}_1 = score_quad(dots_${i}_1, row, keys + 64u);`
          : `dots_${i}_0 = params.scale * dots_${i}_0;
      dots_${i}_1 = params.scale * dots_${i}_1;`
      }
      var hits = above(dots_${i}_0, threshold_${i}) | (above(dots_${i}_1, threshold_${i}) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + ${tileRow(i, shape)}, first_key); }
        ${masks(i)} |= hits << ${8 * (i % 4)}u;
        ${places(i)} |= atomicAdd(&tile_counts[${tileRow(i, shape)}], countOneBits(hits)) << ${8 * (i % 4)}u;
      }
    }`,
      )
      .join('\n    ')}
    workgroupBarrier();
    if (t < ${p.rows}u) {
      let count = atomicLoad(&tile_counts[t]);
      if (count != 0u) {
        tile_starts[t] = atomicAdd(&counts[index_start + t], count);
        atomicStore(&tile_counts[t], 0u);
      }
    }
    workgroupBarrier();
    ${scoreRows
      .map((i) => {
        const byte = (of: string): string => `((${of} >> ${8 * (i % 4)}u) & 255u)`;
        return `if (${byte(masks(i))} != 0u) {
      store_hits(
        index_start + ${tileRow(i, shape)}, tile_starts[${tileRow(i, shape)}] + ${byte(places(i))},
        ${byte(masks(i))}, first_key, dots_${i}_0, dots_${i}_1,
      );
    }`;
      })
      .join('\n    ')}
  }
}`;
}

/** The keys that the invocation loads of a tile; any key will do beyond the last. */
function keyRows(first: string): string {
  return [0, 1, 2, 3]
    .map(
      (j) => `key_row_${j} = key_head * params.key_length
    + min(${first} + 4u * stage_r + ${j}u, params.key_length - 1u);`,
    )
    .join('\n    ');
}
