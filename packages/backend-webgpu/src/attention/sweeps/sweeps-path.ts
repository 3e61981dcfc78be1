import { type AttentionRequest, bytesPerElement } from '@topk-attention/core';
import type { DeviceFacts } from '../../runtime/facts.js';
import { deviceFacts } from '../../runtime/facts.js';
import { f32Bits, gridOf, type Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import type { ForwardPath, ForwardViews } from '../forward-path.js';
import {
  geometryWords,
  groupOf,
  keyWindow,
  type Part,
  partsOf,
  queryWindow,
  visibleKeys,
} from '../options-geometry.js';
import { recordRelativeVectors, relativeBytes } from '../options-relative.js';
import { collectKernel } from './collect-kernel.js';
import { COUNTER_WORDS, FLAG_INVOCATIONS, flagKernel } from './flag-kernel.js';
import { largestSafe, recordGuard } from './guard-kernel.js';
import { keepBytes, keepKernel } from './keep-kernel.js';
import { productTuning, TILE_KEYS } from './product.js';
import { type SweepParameters, sampleKernel } from './sample-kernel.js';
import { capacityOf, groupsOf, LARGEST_K, rankOf, shiftOf } from './sizes.js';
import { slowBytes, slowKernel } from './slow-kernel.js';
import { thresholdKernel } from './threshold-kernel.js';

/** Lists of one part of the work stay below this, scratch rows of the slow path below the other. */
const LIST_BYTES = 2 ** 27;
const SLOW_BYTES = 2 ** 25 + 2 ** 24;
/** Fewer keys than this are faster stored. */
const FEWEST_KEYS = 1024;
const LARGEST_DIM = 256;
/** Workgroups that keep a large device busy, and the fewest keys that are worth one. */
const WORKGROUPS = 4096;
const LEAST_SEGMENT = 8 * TILE_KEYS;
/** Pairs of a query and a key in one dispatch: some milliseconds of a large device, below a second of a small one. */
const PAIRS_PER_DISPATCH = 2 ** 30;
const SLOW_WORKGROUPS = 128;
const ALIGNMENT = 256;
/** Queries of a part are a multiple of this where there are enough: whole tiles of rows. */
const QUERY_STEP = 128;

/** Other than what follows from the request and the device; for tests and measurements. */
export interface SweepsTuning {
  readonly fewestKeys?: number;
  readonly capacity?: number;
  readonly shift?: number;
  readonly rank?: number;
  readonly subgroups?: boolean;
  readonly rows?: 64 | 128;
  readonly steps?: 4 | 16;
  readonly listBytes?: number;
  readonly segment?: number;
  readonly shares?: number;
  readonly slowRows?: number;
  /** u32 [8], added to: rows of the slow path, of these too long lists, rows sampled, keys in their lists, longest. */
  readonly counters?: Span;
}

/** The path with what it would choose replaced. */
export function sweepsPathWith(tuning: SweepsTuning): ForwardPath {
  return {
    name: 'sweeps',
    refuses: (request, facts) => refuses(request, facts, tuning),
    describe: (request) => `k ${request.k}, lists of ${sizesOf(request, tuning).capacity}`,
    scratchBytes: (request, chunk, facts) => scratchBytes(request, chunk, facts, tuning),
    largestBytes: (request, chunk, facts) => {
      const { heads, queries } = partSize(request, chunk, facts, tuning);
      return heads * queries * rowBytes(request, tuning);
    },
    record: (stream, request, views, chunk) => record(stream, request, views, chunk, tuning),
  };
}

/**
 * Two sweeps over the keys in f32, nothing of size Lq x Lk stored: the first looks at a sample of the keys and takes a
 * threshold for each row from it, the second lists the keys above it with their scores; the k best of the list are the k
 * best of all, whatever the threshold, if the list has k keys and is whole. Rows of which that is not true are selected
 * again from all of their scores. Runs on core WebGPU; subgroups of 32 make the selection faster.
 */
export const sweepsPath: ForwardPath = sweepsPathWith({});

interface Sizes {
  readonly k: number;
  readonly capacity: number;
  readonly groups: number;
}

function sizesOf({ k }: AttentionRequest, { capacity }: SweepsTuning): Sizes {
  const kept = k === 'all' ? LARGEST_K : k;
  return { k: kept, capacity: capacity ?? capacityOf(kept), groups: groupsOf(kept) };
}

function refuses(request: AttentionRequest, facts: DeviceFacts, tuning: SweepsTuning): readonly string[] {
  const { k, dtype, headDim, valueDim, keyLength, mask, bias, scale } = request;
  const { fewestKeys = FEWEST_KEYS } = tuning;
  const reasons: string[] = [];
  if (k === 'all') return ['it keeps k keys, not all of them'];
  if (k > LARGEST_K) reasons.push(`k ${k} exceeds ${LARGEST_K}`);
  if (keyLength < fewestKeys) reasons.push(`${keyLength} keys are below ${fewestKeys}`);
  if (8 * k > keyLength && fewestKeys > 0) reasons.push(`k ${k} is more than an eighth of ${keyLength} keys`);
  if (mask !== undefined) reasons.push('there is a mask');
  if (bias !== undefined) reasons.push('there is a bias for each query and key');
  if (headDim > LARGEST_DIM) reasons.push(`headDim ${headDim} exceeds ${LARGEST_DIM}`);
  if (valueDim > LARGEST_DIM || valueDim % 4 !== 0) {
    reasons.push(`valueDim ${valueDim} is not a multiple of 4 up to ${LARGEST_DIM}`);
  }
  if (!(Math.abs(scale) <= 2 ** 60)) reasons.push(`scale ${scale} is too large`);
  const element = bytesPerElement(dtype);
  for (const [name, width] of Object.entries({ headDim, valueDim })) {
    const group = groupOf(request);
    const rows = Math.max(keyLength, (group - 1) * request.queryLength + QUERY_STEP);
    if (rows * width * element > facts.bindingBytes - ALIGNMENT) {
      reasons.push(`one key head's rows of ${name} ${width} exceed a binding of ${facts.bindingBytes} bytes`);
    }
  }
  if (keepBytes(k) > facts.workgroupBytes) reasons.push(`k ${k} needs more workgroup memory than there is`);
  if (slowBytes({ headDim, rows: 1 }) > facts.workgroupBytes) reasons.push('too little workgroup memory');
  return reasons;
}

/** Bytes of a row in the list; the maxima of its groups lie there before. */
function rowBytes(request: AttentionRequest, tuning: SweepsTuning): number {
  const { capacity, groups } = sizesOf(request, tuning);
  return Math.max(8 * capacity, 4 * groups);
}

/** Heads and queries at a time. */
function partSize(
  request: AttentionRequest,
  chunk: number,
  facts: Pick<DeviceFacts, 'bindingBytes'>,
  tuning: SweepsTuning,
): { readonly heads: number; readonly queries: number } {
  const { batch, queryHeads, queryLength, keyLength, headDim, valueDim, saves, k } = request;
  const group = groupOf(request);
  const limit = facts.bindingBytes - ALIGNMENT;
  const budget = Math.min(tuning.listBytes ?? LIST_BYTES, limit);
  const rows = Math.max(group, Math.floor(budget / rowBytes(request, tuning)));
  const width = Math.max(
    Math.max(headDim, valueDim) * bytesPerElement(request.dtype),
    saves && k !== 'all' ? 4 * k : 0,
  );
  const total = (batch * queryHeads) / group;
  const fits = (groups: number): boolean =>
    groups * keyLength * width <= limit && groups * group * queryLength * width <= limit;
  // All heads at once where at least a tile of queries is left for each.
  let groups = total;
  while (groups > 1 && !(fits(groups) && rows / (groups * group) >= Math.min(QUERY_STEP, queryLength))) {
    groups = Math.ceil(groups / 2);
  }
  const most = Math.max(1, Math.floor(rows / (groups * group)));
  const whole = most >= QUERY_STEP ? QUERY_STEP * Math.floor(most / QUERY_STEP) : most;
  return { heads: groups * group, queries: Math.min(whole, chunk, queryLength) };
}

/** Rows of scores that a workgroup of the slow path has, and how many workgroups. */
function slowSize(
  request: AttentionRequest,
  workgroupBytes: number,
  tuning: SweepsTuning,
): { readonly rows: number; readonly workgroups: number } {
  const bytes = 4 * request.keyLength;
  let rows = tuning.slowRows ?? 8;
  while (
    rows > 1 &&
    (rows * bytes * SLOW_WORKGROUPS > SLOW_BYTES ||
      slowBytes({ headDim: request.headDim, rows }) > workgroupBytes)
  ) {
    rows /= 2;
  }
  const workgroups = Math.max(1, Math.min(SLOW_WORKGROUPS, Math.floor(SLOW_BYTES / (rows * bytes))));
  return { rows, workgroups };
}

function scratchBytes(
  request: AttentionRequest,
  chunk: number,
  facts: DeviceFacts,
  tuning: SweepsTuning,
): number {
  const { heads, queries } = partSize(request, chunk, facts, tuning);
  const slow = slowSize(request, facts.workgroupBytes, tuning);
  const rows = heads * queries;
  const small = 4 * (request.batch * request.keyHeads + heads) + relativeBytes(request);
  return (
    rows * (rowBytes(request, tuning) + 12) + 4 * slow.rows * slow.workgroups * request.keyLength + small
  );
}

function record(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  chunk: number,
  tuning: SweepsTuning,
): void {
  const facts = deviceFacts(stream.device);
  const { heads, queries } = partSize(request, chunk, facts, tuning);
  const relative = recordRelativeVectors(stream, request, views.relativeTable);
  const unsafe = recordUnsafe(stream, request, views, heads, relative);
  const counters = tuning.counters ?? stream.scratch(4 * COUNTER_WORDS);
  for (const part of partsOf(request, heads, queries)) {
    recordPart(stream, facts, { request, views, part, relative, unsafe, counters, tuning });
    stream.flush();
  }
  stream.release(unsafe);
  if (tuning.counters === undefined) stream.release(counters);
  if (relative !== undefined) stream.release(relative);
}

/** u32 [B * Hkv]: the first key of each head that makes scores unsafe. */
function recordUnsafe(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  heads: number,
  relative: Span | undefined,
): Span {
  const { batch, queryHeads, queryLength, keyHeads, keyLength, headDim, dtype, scale } = request;
  const unsafe = stream.scratch(4 * batch * keyHeads);
  stream.write(unsafe, new Uint8Array(4 * batch * keyHeads).fill(0xff));
  const group = groupOf(request);
  const largest = largestSafe(headDim, scale);
  for (let firstHead = 0; firstHead < batch * queryHeads; firstHead += heads) {
    const part = {
      firstHead,
      heads: Math.min(heads, batch * queryHeads - firstHead),
      firstQuery: 0,
      queries: queryLength,
    };
    recordGuard(
      stream,
      keyWindow(views.k, request, part),
      {
        half: dtype === 'f16',
        firstHead: firstHead / group,
        heads: part.heads / group,
        keyLength,
        headDim,
        largest,
      },
      unsafe,
    );
  }
  if (relative !== undefined) {
    // One unsafe bias makes every key of every head unsafe: it is the same for all of them.
    for (let head = 0; head < batch * keyHeads; head++) {
      recordGuard(
        stream,
        { span: relative, base: 0 },
        {
          half: false,
          firstHead: head,
          heads: 1,
          keyLength: 1,
          headDim: relative.size / 4,
          largest: 2 ** 120,
        },
        unsafe,
      );
    }
  }
  return unsafe;
}

interface PartWork {
  readonly request: AttentionRequest;
  readonly views: ForwardViews;
  readonly part: Part;
  readonly relative: Span | undefined;
  readonly unsafe: Span;
  readonly counters: Span;
  readonly tuning: SweepsTuning;
}

function recordPart(stream: Stream, facts: DeviceFacts, work: PartWork): void {
  const { request, views, part, relative, unsafe, counters, tuning } = work;
  const { headDim, valueDim, dtype, causal, keyLengths, keyLength, scale } = request;
  const { k, capacity, groups } = sizesOf(request, tuning);
  const rows = part.heads * part.queries;
  const keyHeads = part.heads / groupOf(request);

  const visible = visibleKeys(request, part);
  const shift = tuning.shift ?? shiftOf(k, visible);
  const { rows: tileRows, steps } = { ...productTuning(facts), ...tuning };
  const subgroups = tuning.subgroups ?? (facts.subgroupMinSize === 32 && facts.subgroupMaxSize === 32);
  const rowTiles = keyHeads * Math.ceil(rows / keyHeads / tileRows);
  const sweep: SweepParameters = {
    headDim,
    dtype,
    causal,
    keyLengths,
    relativeBias: request.relativeBias !== undefined,
    rows: tileRows,
    steps,
  };
  const lists = stream.scratch(rows * rowBytes(request, tuning));
  const thresholds = stream.scratch(4 * rows);
  const counts = stream.scratch(4 * rows);
  const q = queryWindow(views.q, request, part);
  const keys = keyWindow(views.k, request, part);
  const lengths = views.keyLengths === undefined ? [] : [views.keyLengths.span];
  const extras = [...lengths, ...(relative === undefined ? [] : [relative])];
  const bases = { q: q.base, k: keys.base };
  const words = (own: readonly number[]): Uint32Array => geometryWords({ request, part, bases, own });

  const tiles = Math.ceil(visible / 2 ** shift / TILE_KEYS);
  const cycle = groups / 32;
  const shares = tuning.shares ?? sharesOf(rowTiles, Math.min(cycle, tiles));
  const tileStep = stepOf(rows, TILE_KEYS);
  for (let tile = 0; tile < tiles; tile += tileStep) {
    stream.launch({
      kernel: sampleKernel(sweep),
      buffers: [q.span, keys.span, lists, ...extras],
      uniforms: words([shift, groups, tile, Math.min(tiles, tile + tileStep), shares]),
      workgroups: gridOf(rowTiles * shares),
    });
  }
  const rank = tuning.rank ?? rankOf(k, shift);
  stream.launch({
    kernel: thresholdKernel({ headDim, dtype, causal, keyLengths, groups, rows: tileRows, subgroups }),
    buffers: [q.span, lists, unsafe, thresholds, counts, ...lengths],
    uniforms: words([shift, rank, capacity, f32Bits(largestSafe(headDim, scale))]),
    workgroups: gridOf(rows),
  });
  const segment = tuning.segment ?? segmentOf(rowTiles, visible);
  const keyStep = segment * Math.max(1, Math.floor(stepOf(rows, segment)));
  for (let key = 0; key < visible; key += keyStep) {
    const end = Math.min(visible, key + keyStep);
    stream.launch({
      kernel: collectKernel(sweep),
      buffers: [q.span, keys.span, thresholds, counts, lists, ...extras],
      uniforms: words([capacity, key, end, segment]),
      workgroups: gridOf(rowTiles * Math.ceil((end - key) / segment)),
    });
  }
  const slow = stream.scratch(4 * (keyHeads + rows));
  stream.clear({ ...slow, size: 4 * keyHeads });
  stream.launch({
    kernel: flagKernel,
    buffers: [thresholds, counts, slow, counters],
    uniforms: words([capacity, k]),
    workgroups: gridOf(Math.ceil(rows / FLAG_INVOCATIONS)),
  });
  stream.release(thresholds);
  const slowly = slowSize(request, facts.workgroupBytes, tuning);
  const scratch = stream.scratch(4 * slowly.rows * slowly.workgroups * keyLength);
  stream.launch({
    kernel: slowKernel({
      headDim,
      dtype,
      causal,
      keyLengths,
      relativeBias: sweep.relativeBias,
      rows: slowly.rows,
    }),
    buffers: [q.span, keys.span, slow, counts, lists, scratch, ...extras],
    uniforms: words([capacity, k, keyLength]),
    workgroups: [slowly.workgroups, 1, 1],
  });
  stream.release(scratch);
  stream.release(slow);

  const v = keyWindow(views.v, request, part);
  const output = queryWindow(views.output, request, part);
  const saved =
    views.indices === undefined || views.scores === undefined
      ? undefined
      : {
          indices: queryWindow(views.indices, request, part),
          scores: queryWindow(views.scores, request, part),
        };
  stream.launch({
    kernel: keepKernel({
      capacity,
      k,
      valueDim,
      dtype,
      dropout: request.dropout !== undefined,
      saves: saved !== undefined,
      subgroups,
    }),
    buffers: [
      counts,
      lists,
      v.span,
      output.span,
      ...(saved === undefined ? [] : [saved.indices.span, saved.scores.span]),
    ],
    uniforms: geometryWords({
      request,
      part,
      bases: { v: v.base, output: output.base },
      ...(saved && {
        lists: {
          rowsPerHead: request.queryLength,
          indicesBase: saved.indices.base,
          scoresBase: saved.scores.base,
        },
      }),
      own: [k],
    }),
    workgroups: gridOf(rows),
  });
  stream.release(counts);
  stream.release(lists);
}

/** Workgroups that share the tiles of the sample of one tile of rows: a power of two up to `most`. */
function sharesOf(rowTiles: number, most: number): number {
  let shares = 1;
  while (2 * shares <= most && rowTiles * shares < WORKGROUPS / 4) shares *= 2;
  return shares;
}

/** Keys of one workgroup of the second sweep. */
function segmentOf(rowTiles: number, visible: number): number {
  const segments = Math.max(1, Math.ceil(WORKGROUPS / rowTiles));
  const keys = Math.max(LEAST_SEGMENT, Math.ceil(visible / segments));
  return TILE_KEYS * Math.ceil(keys / TILE_KEYS);
}

/** How many pieces of that many keys a dispatch of all rows may take. */
function stepOf(rows: number, keys: number): number {
  return Math.max(1, Math.floor(PAIRS_PER_DISPATCH / (rows * keys)));
}
