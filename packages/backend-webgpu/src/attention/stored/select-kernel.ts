import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { kernelFamily, optional, read, writeTo } from '../../wgsl/define-kernel.js';
import { geometryUniforms, type PartGeometry, rowAt } from '../shared/geometry.js';
import type { Lists } from '../shared/lists.js';
import { radixSelect, SELECT_INVOCATIONS } from '../shared/radix-select.js';
import { visibleOf } from '../shared/validity.js';

/** What the text of the kernel depends on. */
interface SelectParameters {
  readonly causal: boolean;
  readonly keyLengths: boolean;
}

/**
 * The k best keys of each row of stored scores, exactly. One workgroup per row. Writes k indices, ascending, then -1,
 * and k scores, then -inf; a row with a NaN in a valid score gets indices of -1 and scores of NaN.
 *
 * Reads a row of scores six times, writes the lists once. Workgroup memory: 5 KiB. Core WebGPU only.
 */
const selectKernel = kernelFamily('attention stored select', ({ causal, keyLengths }: SelectParameters) => ({
  uniforms: { ...geometryUniforms, k: 'u32', score_stride: 'u32', list_rows_per_head: 'u32' },
  buffers: {
    scores: read('u32'),
    indices: writeTo('u32'),
    list_scores: writeTo('u32'),
    key_lengths: optional(keyLengths, read('i32')),
  },
  workgroup: SELECT_INVOCATIONS,
  source: () => source(causal, keyLengths),
}));

/** `stride`: words from one row of the scores to the next. */
export function recordSelect(
  stream: Stream,
  parameters: SelectParameters,
  geometry: PartGeometry,
  { k, stride }: { readonly k: number; readonly stride: number },
  {
    scores,
    lists,
    keyLengths,
  }: {
    readonly scores: Span;
    readonly lists: Lists;
    readonly keyLengths: Span | undefined;
  },
): void {
  selectKernel(parameters).launch(stream, {
    uniforms: { ...geometry, k, score_stride: stride, list_rows_per_head: lists.rowsPerHead },
    buffers: { scores, indices: lists.indices, list_scores: lists.scores, key_lengths: keyLengths },
    workgroups: geometry.heads * geometry.queries,
  });
}

function source(causal: boolean, keyLengths: boolean): string {
  return `
${rowAt}
${visibleOf(causal, keyLengths)}

const NONE = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;

var<private> list: u32;

fn score_bits(at: u32) -> u32 {
  return scores[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  indices[params.indices_base + list + slot] = key;
  list_scores[params.list_scores_base + list + slot] = bits;
}
${radixSelect}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let k = params.k;
  list = (row.local_head * params.list_rows_per_head + row.local_query) * k;
  let kept = select_row(t, index * params.score_stride, visible_of(row), k);
  let empty = select(MINUS_INF_BITS, NAN_BITS, kept == NAN_ROW);
  for (var slot = t + select(kept, 0u, kept == NAN_ROW); slot < k; slot += INVOCATIONS) {
    keep(slot, NONE, empty);
  }
}`;
}
