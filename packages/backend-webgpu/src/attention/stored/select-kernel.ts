import type { Kernel } from '../../runtime/kernel.js';
import { bindings } from '../shared/bindings.js';
import { geometryStruct } from '../shared/geometry.js';
import { optionAccess, optionBindings } from '../shared/options.js';
import { radixSelect, SELECT_INVOCATIONS } from '../shared/radix-select.js';
import { visibleOf } from '../shared/validity.js';

/** What the text of the kernel depends on. */
export interface SelectParameters {
  readonly causal: boolean;
  readonly keyLengths: boolean;
}

/**
 * The k best keys of each row of stored scores, exactly. One workgroup a row. Writes k indices, ascending, then -1, and k
 * scores, then -inf; a row with a NaN in a valid score gets indices of -1 and scores of NaN. `own`: k, words from row to
 * row of the scores.
 *
 * Reads a row of scores six times, writes the lists once. Workgroup memory: 5 KiB. Core WebGPU only.
 */
export function selectKernel({ causal, keyLengths }: SelectParameters): Kernel {
  return {
    key: `attention stored select ${JSON.stringify({ causal, keyLengths })}`,
    buffers: ['read', 'write', 'write', ...optionAccess({ keyLengths })],
    source: () => source({ causal, keyLengths }),
  };
}

function source({ causal, keyLengths }: SelectParameters): string {
  return `
${geometryStruct}
${bindings([
  'read> scores: array<u32>',
  'read_write> list_indices: array<u32>',
  'read_write> list_scores: array<u32>',
  ...optionBindings({ keyLengths }),
])}
${visibleOf(causal, keyLengths)}

const NONE = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;

var<private> list: u32;

fn score_bits(at: u32) -> u32 {
  return scores[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  list_indices[params.indices_base + list + slot] = key;
  list_scores[params.scores_base + list + slot] = bits;
}
${radixSelect}

@compute @workgroup_size(${SELECT_INVOCATIONS})
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let index = id.x + id.y * groups.x;
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let k = params.own.x;
  list = (row.local_head * params.list_rows_per_head + row.local_query) * k;
  let kept = select_row(t, index * params.own.y, visible_of(row), k);
  let empty = select(MINUS_INF_BITS, NAN_BITS, kept == NAN_ROW);
  for (var slot = t + select(kept, 0u, kept == NAN_ROW); slot < k; slot += ${SELECT_INVOCATIONS}u) {
    keep(slot, NONE, empty);
  }
}`;
}
