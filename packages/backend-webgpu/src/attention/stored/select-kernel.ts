import { wholeOf } from '../../runtime/binding.js';
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

interface SelectVariant extends SelectParameters {
  /** What a row is selected from: all of its scores, one segment of them, or what was selected from its segments. */
  readonly from: 'row' | 'segment' | 'candidates';
}

/**
 * The k best keys of each row of stored scores, exactly. One workgroup per row, or per segment of a row. Writes k indices,
 * ascending, then -1, and k scores, then -inf; a row with a NaN in a valid score gets indices of -1 and scores of NaN.
 *
 * Reads a row of scores six times, writes the lists once. Workgroup memory: 5 KiB. Core WebGPU only.
 */
const selectKernel = kernelFamily('attention stored select', (p: SelectVariant) => ({
  uniforms: {
    ...geometryUniforms,
    k: 'u32',
    score_stride: 'u32',
    list_rows_per_head: 'u32',
    segments: 'u32',
    segment_keys: 'u32',
  },
  buffers: {
    scores: read('u32'),
    keys: optional(p.from === 'candidates', read('u32')),
    indices: writeTo('u32'),
    list_scores: writeTo('u32'),
    key_lengths: optional(p.keyLengths && p.from !== 'candidates', read('i32')),
  },
  workgroup: SELECT_INVOCATIONS,
  source: () => source(p),
}));

/**
 * Keys of a segment are worth a workgroup, and many more than the k that it leaves. Measured with k = 64
 * (docs/kernels/decoding.md); other lengths were not.
 */
const LEAST_SEGMENT = 4096;
/** Rows that keep a large device busy without segments: a choice. */
const MANY_ROWS = 256;

/** How many segments each of so many rows is divided into. */
function selectSegments(rows: number, keys: number, k: number): number {
  if (rows >= MANY_ROWS) return 1;
  return Math.max(1, Math.floor(keys / Math.max(LEAST_SEGMENT, 8 * k)));
}

/** Bytes of what the segments leave. */
export function segmentListBytes(rows: number, keys: number, k: number): number {
  const segments = selectSegments(rows, keys, k);
  return segments === 1 ? 0 : 8 * rows * segments * k;
}

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
  const rows = geometry.heads * geometry.queries;
  const segments = selectSegments(rows, geometry.visible_keys, k);
  const segment_keys = Math.ceil(geometry.visible_keys / segments);
  const into = { k, list_rows_per_head: lists.rowsPerHead, segments, segment_keys };
  const out = { indices: lists.indices, list_scores: lists.scores };
  if (segments === 1) {
    selectKernel({ ...parameters, from: 'row' }).launch(stream, {
      uniforms: { ...geometry, ...into, score_stride: stride },
      buffers: { scores, ...out, key_lengths: keyLengths },
      workgroups: rows,
    });
    return;
  }
  const [keys, best] = [stream.scratch(4 * rows * segments * k), stream.scratch(4 * rows * segments * k)];
  selectKernel({ ...parameters, from: 'segment' }).launch(stream, {
    uniforms: { ...geometry, ...into, score_stride: stride },
    buffers: { scores, indices: wholeOf(keys), list_scores: wholeOf(best), key_lengths: keyLengths },
    workgroups: rows * segments,
  });
  selectKernel({ causal: false, keyLengths: false, from: 'candidates' }).launch(stream, {
    uniforms: { ...geometry, ...into, score_stride: segments * k },
    buffers: { scores: best, keys, ...out },
    workgroups: rows,
  });
  stream.release(keys);
  stream.release(best);
}

function source({ causal, keyLengths, from }: SelectVariant): string {
  const isSegment = from === 'segment';
  const visible = {
    row: 'visible_of(row)',
    segment: 'min(max(visible_of(row), first_key) - first_key, params.segment_keys)',
    candidates: 'params.segments * params.k',
  }[from];
  return `
${rowAt}
${from === 'candidates' ? '' : visibleOf(causal, keyLengths)}

const NONE = 0xffffffffu;
const NAN_BITS = 0x7fc00000u;

var<private> list: u32;
/** Where the row begins among the scores, and the key of its first score. */
var<private> row_start: u32;
var<private> first_key = 0u;

fn score_bits(at: u32) -> u32 {
  return scores[at];
}

fn keep(slot: u32, key: u32, bits: u32) {
  indices[params.indices_base + list + slot] = ${from === 'candidates' ? 'keys[row_start + key]' : 'first_key + key'};
  list_scores[params.list_scores_base + list + slot] = bits;
}
${radixSelect}

@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) id: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) t: u32,
) {
  let job = id.x + id.y * groups.x;
  let index = ${isSegment ? 'job / params.segments' : 'job'};
  if (index >= params.heads * params.queries) { return; }
  let row = row_at(index);
  let k = params.k;
  list = ${isSegment ? 'job' : '(row.local_head * params.list_rows_per_head + row.local_query)'} * k;
  ${isSegment ? 'first_key = job % params.segments * params.segment_keys;' : ''}
  row_start = index * params.score_stride;
  let kept = select_row(t, row_start + first_key, ${visible}, k);
  let empty = select(MINUS_INF_BITS, NAN_BITS, kept == NAN_ROW);
  for (var slot = t + select(kept, 0u, kept == NAN_ROW); slot < k; slot += INVOCATIONS) {
    indices[params.indices_base + list + slot] = NONE;
    list_scores[params.list_scores_base + list + slot] = empty;
  }
}`;
}
