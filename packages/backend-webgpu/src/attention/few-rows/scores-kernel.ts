import type { AttentionRequest } from '@topk-attention/core/backend';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, readFrom, write } from '../../wgsl/define-kernel.js';
import { geometryOf, geometryUniforms, keyHeadOf, type Part, visibleKeys } from '../shared/geometry.js';
import { optionBuffers } from '../shared/options.js';
import type { ScoreBuffers } from '../shared/scores/record-scores.js';
import type { ScoreOptions } from '../shared/scores/scores-text.js';
import {
  FEW_INVOCATIONS,
  type FewRowsShape,
  fewRowsDeclarations,
  fewRowsOf,
  fewRowsOperand,
  fewRowsProducts,
  fewRowsScore,
  fewRowsStart,
  keysOfTile,
  rowsPerKeyHead,
  rowTilesOf,
} from './few-rows.js';

/**
 * Scores of few rows with all visible keys: [rows, stride] bits of f32, scale and biases included, -inf where a key is
 * hidden. Keys beyond `visible_of(row)` may be left unwritten. A workgroup takes one tile of keys.
 *
 * Reads k once per tile of rows. Workgroup memory: 9 KiB. Core WebGPU only.
 */
const scoresKernel = kernelFamily('attention few scores', (p: FewRowsShape) => ({
  uniforms: { ...geometryUniforms, rows_per_key_head: 'u32', score_stride: 'u32' },
  buffers: {
    q: readFrom(fewRowsOperand(p.headDim, p.dtype)),
    k: readFrom(fewRowsOperand(p.headDim, p.dtype)),
    scores: write('u32'),
    ...optionBuffers(p),
  },
  workgroup: FEW_INVOCATIONS,
  source: () => source(p),
}));

/** Records the scores of a part; `stride`: words from one row to the next. */
export function recordFewScores(
  stream: Stream,
  request: AttentionRequest,
  part: Part,
  options: ScoreOptions,
  stride: number,
  { extras, ...buffers }: ScoreBuffers,
): void {
  const together = rowsPerKeyHead(request, part);
  const rows = fewRowsOf(together);
  const tiles = Math.ceil(visibleKeys(request, part) / keysOfTile(rows));
  scoresKernel({ ...options, rows }).launch(stream, {
    uniforms: { ...geometryOf(request, part), rows_per_key_head: together, score_stride: stride },
    buffers: { ...buffers, ...extras },
    workgroups: tiles * rowTilesOf(part.heads * part.queries, together, rows),
  });
}

function source(p: FewRowsShape): string {
  const keys = keysOfTile(p.rows);
  return `${keyHeadOf}
${fewRowsDeclarations(p)}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let key_tiles = (params.visible_keys + ${keys - 1}u) / ${keys}u;
  let job = id.x + id.y * groups.x;
  let row_tile = job / key_tiles;
  let first_key = job % key_tiles * ${keys}u;
  let row_tiles = params.heads * params.queries / params.rows_per_key_head
    * ((params.rows_per_key_head + ${p.rows - 1}u) / ${p.rows}u);
  if (row_tile >= row_tiles) { return; }
  ${fewRowsStart(p)}
  ${fewRowsProducts(p)}
  workgroupBarrier();
  if (t < ${keys * p.rows}u) {
      ${fewRowsScore(p)}
      let of_tile = t / ${keys}u;
      if (score_key < visible && first_row + of_tile < params.rows_per_key_head) {
        scores[(row_start + first_row + of_tile) * params.score_stride + score_key] = bits;
      }
  }
}`;
}
