import type { AttentionRequest } from '@topk-attention/core';
import type { DeviceFacts } from '../../runtime/facts.js';
import { gridOf, type Kernel, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardViews } from '../forward-path.js';
import { addCounters } from './add-counters.js';
import {
  type Candidates,
  COUNTER_WORDS,
  capacityFor,
  LARGEST_K,
  placesOf,
  type RowBlock,
  rowsOf,
} from './candidates.js';
import { type CombineVariant, combine } from './combine.js';
import { blockWindows, problemWords, recordTables, scoreVariantOf } from './problem.js';
import { selectSubgroup } from './select-subgroup.js';
import { selectWorkgroup } from './select-workgroup.js';

/** Workgroups of the slow path, at most; each has a scratch row of 4 bytes per key. */
const SLOW_WORKGROUPS = 264;
/** Bytes that all scratch rows of the slow path may take together, where one row alone does not take more. */
const SLOW_BYTES = 48 * 2 ** 20;
/** Scores that one launch of the slow path computes at most, so that none runs long: about 0.1 s on an H200. */
const SLOW_SCORES = 2 ** 31;
const MOST_SLICES = 16;

/** Reasons why `recordFinish` does not take a request; pure and cheap. */
export function refusesFinish(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const { k, headDim, valueDim, keyLength } = request;
  const reasons: string[] = [];
  if (k === 'all') reasons.push('all keys are kept: nothing to select');
  else if (k > LARGEST_K) reasons.push(`k = ${k} is above ${LARGEST_K}`);
  if (headDim % 4 !== 0 || headDim > 512) reasons.push(`headDim ${headDim} is not a multiple of 4 up to 512`);
  if (valueDim % 4 !== 0 || valueDim > 512)
    reasons.push(`valueDim ${valueDim} is not a multiple of 4 up to 512`);
  if (typeof k === 'number' && reasons.length === 0) {
    const bytes = workgroupBytesOf(capacityFor(k), headDim);
    if (bytes > facts.workgroupBytes) {
      reasons.push(`k = ${k} takes ${bytes} bytes of workgroup memory, above ${facts.workgroupBytes}`);
    }
  }
  if (request.mask !== undefined) reasons.push('a mask is not looked up when listed keys are scored again');
  if (request.bias !== undefined) reasons.push('a bias is not added when listed keys are scored again');
  const width = request.dtype === 'f16' ? 2 : 4;
  const perHead = width * Math.max(keyLength, request.queryLength) * Math.max(headDim, valueDim) + 256;
  if (perHead > facts.bindingBytes) reasons.push(`one head takes ${perHead} bytes, above one binding`);
  return reasons;
}

/** Of `selectWorkgroup` from 'list', which takes the most. */
function workgroupBytesOf(capacity: number, headDim: number): number {
  return 4 * capacity + 8 * placesOf(capacity) + 4 * headDim + 1024 + 256;
}

function slowWorkgroups({ keyLength }: AttentionRequest): number {
  return Math.max(8, Math.min(SLOW_WORKGROUPS, Math.floor(SLOW_BYTES / (4 * keyLength))));
}

/** Transient bytes of `recordFinish` for a block of that many rows, beside the candidates themselves. */
export function finishScratchBytes(request: AttentionRequest, rows: number): number {
  return 4 * (COUNTER_WORDS + rows) + 16 * Math.ceil(request.keyLength / 4) * slowWorkgroups(request);
}

/**
 * From candidate lists to the output: rescores every listed key in f32, keeps the k best (ties to the lower index),
 * proves that no key outside the list can be among them and sends the rows where it cannot to an exact slow path over
 * all keys, then softmax, dropout and the weighted sum of values. Writes the block's rows of `views.output` and, when
 * the request saves, of `views.indices` and `views.scores`. The bits of the results do not depend on the lists.
 *
 * `counters`, when given: u32 [COUNTER_WORDS], added to.
 */
export function recordFinish(
  stream: Stream,
  facts: DeviceFacts,
  request: AttentionRequest,
  views: ForwardViews,
  block: RowBlock,
  candidates: Candidates,
  counters?: Span,
): void {
  const rows = rowsOf(block);
  const { capacity, lists, heads } = candidates;
  const windows = blockWindows(request, views, block);
  const tables = recordTables(stream, request, views);
  const extras = tables === undefined ? [] : [tables.span];
  const variant = { ...scoreVariantOf(request), capacity };
  const subgroup = facts.subgroupMinSize === 32 && facts.subgroupMaxSize === 32;
  const words = uniformWords(problemWords(request, block, windows, tables));
  const launch = (
    kernel: Kernel,
    buffers: readonly Span[],
    workgroups: readonly [number, number, number],
    uniforms: Uint32Array = words,
  ): void => stream.launch({ kernel, buffers, workgroups, uniforms });
  const { q, k, v, output } = windows;

  const work = stream.scratch(4 * (COUNTER_WORDS + rows));
  stream.clear({ ...work, size: 4 * COUNTER_WORDS });
  const select = subgroup ? selectSubgroup(variant) : selectWorkgroup(variant, 'list', 64);
  launch(select, [q.span, k.span, lists, heads, work, ...extras], gridOf(rows));

  const workgroups = slowWorkgroups(request);
  const orders = stream.scratch(16 * Math.ceil(request.keyLength / 4) * workgroups);
  // Few rows come here as a rule: each is to be done soon.
  const slow = selectWorkgroup(variant, 'all', facts.workgroupInvocations >= 1024 ? 1024 : 256);
  for (const slice of slowSlices(request, rows)) {
    const uniforms = uniformWords(problemWords(request, block, windows, tables, slice));
    const grid = [Math.min(workgroups, slice[1] - slice[0]), 1, 1] as const;
    launch(slow, [q.span, k.span, lists, work, orders, ...extras], grid, uniforms);
  }
  stream.release(orders);

  const combineVariant: CombineVariant = {
    valueDim: request.valueDim,
    half: request.dtype === 'f16',
    capacity,
    dropout: request.dropout !== undefined,
    saves: request.saves,
    subgroup,
  };
  const saved = [windows.indices?.span, windows.scores?.span].filter((span) => span !== undefined);
  launch(combine(combineVariant), [lists, v.span, output.span, ...saved], gridOf(rows));
  if (counters !== undefined) launch(addCounters, [work, counters], [1, 1, 1], uniformWords([rows]));
  if (tables !== undefined) stream.release(tables.span);
  stream.release(work);
}

/** Ranges of the list of flagged rows, one launch each. */
function slowSlices({ keyLength }: AttentionRequest, rows: number): [number, number][] {
  const count = Math.min(MOST_SLICES, Math.max(1, Math.ceil((rows * keyLength) / SLOW_SCORES)));
  const size = Math.ceil(rows / count);
  return Array.from({ length: Math.ceil(rows / size) }, (_, i) => [i * size, Math.min(rows, (i + 1) * size)]);
}
