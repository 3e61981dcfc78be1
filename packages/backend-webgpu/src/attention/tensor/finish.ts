import type { AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { COUNTER_WORDS } from '../shared/counters.js';
import type { ForwardViews } from '../shared/forward-path.js';
import { geometryOf, keyWindow, type Part, queryWindow } from '../shared/geometry.js';
import { savedLists } from '../shared/lists.js';
import { recordAddCounters } from './add-counters.js';
import type { Candidates } from './candidates.js';
import { recordCombine } from './combine.js';
import { scoreVariantOf } from './score-text.js';
import { recordSelectSubgroup, type SelectInputs } from './select-subgroup.js';
import { recordSelectFlagged, recordSelectListed } from './select-workgroup.js';
import type { Tables } from './tables.js';

/** Most workgroups of the slow path; each has a scratch row of 4 bytes per key. */
const SLOW_WORKGROUPS = 264;
/** Most bytes of all scratch rows of the slow path together, unless one row alone takes more. */
const SLOW_BYTES = 48 * 2 ** 20;
/** Most scores that one launch of the slow path computes, so that none runs long: about 0.1 s on an H200. */
const SLOW_SCORES = 2 ** 31;
const MOST_SLICES = 16;

function slowWorkgroups({ keyLength }: AttentionRequest): number {
  return Math.max(8, Math.min(SLOW_WORKGROUPS, Math.floor(SLOW_BYTES / (4 * keyLength))));
}

/** Transient bytes of `recordFinish` for a part of that many rows, besides the candidates themselves. */
export function finishScratchBytes(request: AttentionRequest, rows: number): number {
  return 4 * (COUNTER_WORDS + rows) + 16 * Math.ceil(request.keyLength / 4) * slowWorkgroups(request);
}

/** What `recordFinish` works on. */
export interface FinishWork {
  readonly request: AttentionRequest;
  readonly views: ForwardViews;
  readonly part: Part;
  readonly candidates: Candidates;
  readonly tables: Tables | undefined;
  /** u32 [COUNTER_WORDS], added to. */
  readonly counters: Span;
}

/**
 * From candidate lists to the output: rescores every listed key in f32, keeps the k best (ties to the lower index),
 * and proves that no other key can be among them; rows without such a proof go to an exact slow path over all keys.
 * Then softmax, dropout and the weighted sum of values. Writes the part's rows of `views.output` and, when the request
 * saves, of `views.indices` and `views.scores`. The bits of the results do not depend on the lists.
 */
export function recordFinish(stream: Stream, facts: DeviceFacts, work: FinishWork): void {
  const { request, views, part, candidates, tables, counters } = work;
  const { capacity, lists, heads } = candidates;
  const rows = part.heads * part.queries;
  const q = queryWindow(views.q, request, part);
  const k = keyWindow(views.k, request, part);
  const v = keyWindow(views.v, request, part);
  const out = queryWindow(views.output, request, part);
  const geometry = geometryOf(request, part);
  const kept = request.k === 'all' ? 0 : request.k;
  const inputs: SelectInputs = { geometry, kept, q, k, lists, tables };
  const variant = { ...scoreVariantOf(request), capacity };
  const subgroup = facts.subgroupMinSize === 32 && facts.subgroupMaxSize === 32;

  const flagged = stream.scratch(4 * (COUNTER_WORDS + rows));
  stream.clear({ ...flagged, size: 4 * COUNTER_WORDS });
  const recordSelect = subgroup ? recordSelectSubgroup : recordSelectListed;
  recordSelect(stream, variant, inputs, { heads, work: flagged });

  const workgroups = slowWorkgroups(request);
  const orders = stream.scratch(16 * Math.ceil(request.keyLength / 4) * workgroups);
  // Usually few rows come here: each should be done soon.
  const slow = { ...variant, invocations: facts.workgroupInvocations >= 1024 ? 1024 : 256 };
  for (const [first, end] of slowSlices(request, rows)) {
    const slice = { first, end, workgroups: Math.min(workgroups, end - first) };
    recordSelectFlagged(stream, slow, inputs, slice, { flagged, orders });
  }
  stream.release(orders);

  const { valueDim, dtype, dropout } = request;
  recordCombine(
    stream,
    { valueDim, half: dtype === 'f16', capacity, dropout: dropout !== undefined, subgroup },
    geometry,
    kept,
    { lists, v, out, saved: savedLists(views, request, part) },
  );
  recordAddCounters(stream, rows, flagged, counters);
  stream.release(flagged);
}

/** Ranges of the list of flagged rows, one launch each. */
function slowSlices({ keyLength }: AttentionRequest, rows: number): [number, number][] {
  const count = Math.min(MOST_SLICES, Math.max(1, Math.ceil((rows * keyLength) / SLOW_SCORES)));
  const size = Math.ceil(rows / count);
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => [i * size, Math.min(rows, (i + 1) * size)]);
}
