import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, read, readFrom, write } from '../../wgsl/define-kernel.js';
import { fill } from '../../wgsl/fill.js';
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
import { text } from './collect.wgsl.js';
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
  return `
${rowAt}
${visibleOf(p.causal, p.keyLengths)}
${tileSees(p.rows)}
${p.relativeBias ? relativeBiasOf : ''}
${productDeclarations(shape)}
${scoreQuad(p.relativeBias)}

${fill(text, {
  ...{ rows: p.rows, last_row: p.rows - 1, tile_keys: TILE_KEYS },
  places: productPlaces,
  thresholds: scoreRows.map((i) => threshold(i, p)).join('\n  '),
  start: productStart(shape, keyRows('segment')),
  products: tileProducts(shape, keyRows(`first + ${TILE_KEYS}u`)),
  find_hits: scoreRows.map((i) => findHits(i, p)).join('\n    '),
  store_hits: scoreRows.map((i) => storeHits(i, p)).join('\n    '),
})}`;
}

/** Variables with the hits of score row i, and the place of the first: in byte i % 4. */
const hitsOf = (i: number): string => (i < 4 ? 'near_hits' : 'far_hits');
const placesOf = (i: number): string => (i < 4 ? 'near_places' : 'far_places');

function threshold(i: number, p: SweepParameters): string {
  const row = tileRow(i, p);
  return `let threshold_${i} = select(
    infinity, thresholds[index_start + ${row}], first_row + ${row} < rows,
  );`;
}

/** Turns the products of a row into scores and notes which of them are hits. */
function findHits(i: number, p: SweepParameters): string {
  const row = tileRow(i, p);
  const byte = 8 * (i % 4);
  const score = p.relativeBias
    ? `let row = row_at(min(index_start + ${row}, params.heads * params.queries - 1u));
      let keys = first_key + vec4u(0u, 1u, 2u, 3u);
      dots_${i}_0 = score_quad(dots_${i}_0, row, keys);
      dots_${i}_1 = score_quad(dots_${i}_1, row, keys + 64u);`
    : `dots_${i}_0 = params.scale * dots_${i}_0;
      dots_${i}_1 = params.scale * dots_${i}_1;`;
  return `{
      ${score}
      var hits = above(dots_${i}_0, threshold_${i}) | (above(dots_${i}_1, threshold_${i}) << 4u);
      if (hits != 0u) {
        if (!is_whole) { hits &= seen(index_start + ${row}, first_key); }
        ${hitsOf(i)} |= hits << ${byte}u;
        ${placesOf(i)} |= atomicAdd(&tile_counts[${row}], countOneBits(hits)) << ${byte}u;
      }
    }`;
}

function storeHits(i: number, p: SweepParameters): string {
  const row = tileRow(i, p);
  const byte = (of: string): string => `((${of} >> ${8 * (i % 4)}u) & 255u)`;
  return `if (${byte(hitsOf(i))} != 0u) {
      store_hits(
        index_start + ${row}, tile_starts[${row}] + ${byte(placesOf(i))},
        ${byte(hitsOf(i))}, first_key, dots_${i}_0, dots_${i}_1,
      );
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
