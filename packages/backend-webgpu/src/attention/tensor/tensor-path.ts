import type { AttentionRequest } from '@topk-attention/core';
import { windowOf } from '../../primitives/windows.js';
import type { DeviceFacts } from '../../runtime/facts.js';
import { f32Bits, gridOf, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { COUNTER_WORDS, type RowBlock, rowsOf } from './candidates.js';
import { finishScratchBytes, recordFinish, refusesFinish } from './finish.js';
import { keyHeadsOf, recordTables } from './problem.js';
import type { ForwardPath, ForwardViews } from '../forward-path.js';
import { type FilterVariant, filter, rowsPerWorkgroup } from './filter.js';
import { centreKeys, LARGEST_KEYS_ROWS, largestKeys, packKeys, prepareQueries } from './prepare.js';

/** What was measured best on an H200; see docs/kernels/forward-tensor.md. */
export interface TensorTuning {
  readonly subgroups: number;
  /** For tests, see `FilterVariant`. */
  readonly emulated?: boolean;
  /** Bytes of candidate lists of a block, at most. */
  readonly listBytes: number;
  /** Bytes of packed keys of a head group, at most (one head may take more). */
  readonly packedBytes: number;
  /** Sweep 1 looks at every stride-th tile in rows of at least `strideFrom` visible keys. */
  readonly stride: (keyLength: number) => number;
  readonly strideFrom: number;
  /** Deviations of the estimated rank above its mean. */
  readonly rankSlack: number;
  readonly capacity: (k: number, stride: number) => number;
}

export const H200_TUNING: TensorTuning = {
  subgroups: 4,
  listBytes: 240 * 2 ** 20,
  packedBytes: 96 * 2 ** 20,
  stride: (keyLength) => (keyLength >= 65_536 ? 4 : 2),
  strideFrom: 4096,
  rankSlack: 3.6,
  capacity: (k, stride) => Math.max(128, Math.min(1024, 64 * Math.ceil(((stride > 2 ? 3 : 2.5) * k) / 64))),
};

const LARGEST_REACH = 512;
const FEWEST_QUERIES = 64;
const FEWEST_KEYS = 1024;

/** Counters of each device and size of call, by which the filter adapts to the data of the calls before. */
const adaptation = new WeakMap<Stream, Map<string, Span>>();

function countersOf(stream: Stream, { queryHeads, keyLength, headDim, k }: AttentionRequest): Span {
  const ofStream = adaptation.get(stream) ?? new Map<string, Span>();
  adaptation.set(stream, ofStream);
  const size = [queryHeads, Math.ceil(Math.log2(keyLength)), headDim, k].join();
  let counters = ofStream.get(size);
  if (counters === undefined) {
    counters = stream.scratch(4 * COUNTER_WORDS);
    stream.clear(counters);
    ofStream.set(size, counters);
  }
  return counters;
}

/**
 * Forward pass through f16 products in subgroup matrices, rescored in f32: exact; see `filter` and `recordFinish`.
 * `counters`: u32 [COUNTER_WORDS], read and added to; default: buffers kept with the stream.
 */
export function tensorPath(tuning: TensorTuning = H200_TUNING, counters?: Span): ForwardPath {
  return {
    name: 'tensor',
    refuses,
    describe: (request) =>
      `lists of ${capacityOf(request, tuning)}, threshold from every ${ordinal(tuning.stride(request.keyLength))} tile`,
    // It divides a call itself, and larger parts are faster.
    preferredChunk: ({ queryLength }) => queryLength,
    scratchBytes: (request, chunk, facts) => {
      const [largest] = blocksOf(request, chunk, facts, tuning);
      return largest === undefined ? 0 : bytesOf(request, largest, tuning).reduce((a, b) => a + b, 0);
    },
    largestBytes: (request, chunk, facts) => {
      const [largest] = blocksOf(request, chunk, facts, tuning);
      return largest === undefined ? 0 : Math.max(...bytesOf(request, largest, tuning));
    },
    record: (stream, request, views, chunk) => record(stream, request, views, chunk, tuning, counters),
  };
}

function refuses(request: AttentionRequest, facts: DeviceFacts): readonly string[] {
  const reasons: string[] = [];
  for (const feature of ['subgroups', 'shader-f16', 'chromium-experimental-subgroup-matrix']) {
    if (!facts.features.has(feature)) reasons.push(`the device lacks ${feature}`);
  }
  if (facts.subgroupMinSize !== 32 || facts.subgroupMaxSize !== 32)
    reasons.push('subgroups are not all of 32');
  // Other vendors' matrices have other sizes, and the bound on their sums was not derived.
  if (facts.vendor !== 'nvidia')
    reasons.push('subgroup matrices of 16 x 16 x 16 are known of NVIDIA devices only');
  const { headDim, scale, queryLength, keyLength } = request;
  if (headDim % 16 !== 0 || headDim > 128)
    reasons.push(`headDim ${headDim} is not a multiple of 16 up to 128`);
  if ((request.relativeBias?.maxDistance ?? 0) > LARGEST_REACH) {
    reasons.push(`maxDistance is above ${LARGEST_REACH}`);
  }
  if (!(Math.abs(scale) > 1e-30 && Math.abs(scale) < 1e30)) reasons.push(`scale ${scale} is zero or extreme`);
  if (queryLength < FEWEST_QUERIES)
    reasons.push(`fewer than ${FEWEST_QUERIES} queries do not pay for packed keys`);
  if (keyLength < FEWEST_KEYS) reasons.push(`fewer than ${FEWEST_KEYS} keys do not pay for two sweeps`);
  return [...reasons, ...refusesFinish(request, facts)];
}

function ordinal(n: number): string {
  return n === 1 ? 'single' : n === 2 ? 'second' : `${n}th`;
}

/** Keys are packed in whole steps of 32. */
function tilesOf({ keyLength }: AttentionRequest): number {
  return 2 * Math.ceil(keyLength / 32);
}

function capacityOf({ k, keyLength }: AttentionRequest, tuning: TensorTuning): number {
  return tuning.capacity(k === 'all' ? 1 : k, tuning.stride(keyLength));
}

/** The call as blocks, the largest first. */
function blocksOf(
  request: AttentionRequest,
  chunk: number,
  facts: DeviceFacts,
  tuning: TensorTuning,
): RowBlock[] {
  const { batch, queryHeads, keyHeads, queryLength, keyLength, headDim, valueDim, dtype } = request;
  const group = queryHeads / keyHeads;
  const packed = 2 * 16 * tilesOf(request) * headDim;
  const slots = request.saves && request.k !== 'all' ? request.k : 0;
  const queryWidth = Math.max((dtype === 'f16' ? 2 : 4) * Math.max(headDim, valueDim), 4 * slots);
  const bound = Math.max(
    group * queryLength * queryWidth,
    keyLength * (dtype === 'f16' ? 2 : 4) * Math.max(headDim, valueDim),
  );
  const fitting = Math.min(
    Math.floor(tuning.packedBytes / packed),
    Math.floor((facts.bindingBytes - 512) / bound),
    batch * keyHeads,
  );
  // Less than one key head: its query heads one by one, the keys packed again for each.
  const heads = fitting < 1 && group > 1 ? 1 : Math.max(1, fitting) * group;
  const unit = 32 * tuning.subgroups;
  const most = Math.max(1, Math.floor(tuning.listBytes / (4 * capacityOf(request, tuning)) / (heads * unit)));
  const tiles = Math.ceil(queryLength / unit);
  const wanted = Math.min(most, Math.max(1, Math.ceil(chunk / unit)), tiles);
  // Blocks of about one size: a small one at the end would leave the device idle.
  const perBlock = Math.ceil(tiles / Math.ceil(tiles / wanted));
  const blocks: RowBlock[] = [];
  for (let headStart = 0; headStart < batch * queryHeads; headStart += heads) {
    const headCount = Math.min(heads, batch * queryHeads - headStart);
    for (let tile = 0; tile < tiles; tile += perBlock) {
      const queryCount = unit * Math.min(perBlock, tiles - tile);
      blocks.push({ headStart, headCount, queryStart: unit * tile, queryCount });
    }
  }
  return blocks;
}

/** Bytes of the buffers that live while a block runs. */
function bytesOf(request: AttentionRequest, block: RowBlock, tuning: TensorTuning): number[] {
  const rows = rowsOf(block);
  const keyHeads = keyHeadsOf(request, block).count;
  const tiles = tilesOf(request);
  return [
    4 * rows * capacityOf(request, tuning),
    8 * rows,
    16 * rows,
    2 * rows * request.headDim,
    2 * 16 * keyHeads * tiles * request.headDim,
    4 * keyHeads * tiles,
    finishScratchBytes(request, rows),
  ];
}

function record(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  chunk: number,
  tuning: TensorTuning,
  counters: Span = countersOf(stream, request),
): void {
  const { facts } = stream;
  let keys: PackedKeys | undefined;
  for (const block of blocksOf(request, chunk, facts, tuning)) {
    if (keys?.headStart !== block.headStart) {
      keys?.release();
      keys = recordPacking(stream, request, views, block);
    }
    recordBlock(stream, facts, request, views, block, keys, tuning, counters);
    stream.flush();
  }
  keys?.release();
}

interface PackedKeys {
  readonly headStart: number;
  readonly packed: Span;
  readonly bounds: Span;
  readonly largest: Span;
  readonly centres: Span;
  release(): void;
}

function recordPacking(
  stream: Stream,
  request: AttentionRequest,
  views: ForwardViews,
  block: RowBlock,
): PackedKeys {
  const { keyLength, headDim } = request;
  const heads = keyHeadsOf(request, block);
  const tiles = tilesOf(request);
  const variant = { headDim, half: request.dtype === 'f16' };
  const largest = stream.scratch(8 * heads.count);
  const centres = stream.scratch(4 * heads.count * headDim);
  const packed = stream.scratch(2 * 16 * heads.count * tiles * headDim);
  const bounds = stream.scratch(4 * heads.count * tiles);
  const { span, base } = windowOf(
    views.k,
    heads.start * keyLength * headDim,
    heads.count * keyLength * headDim,
  );
  stream.clear(largest);
  stream.launch({
    kernel: centreKeys(variant),
    buffers: [span, centres],
    uniforms: uniformWords([keyLength, base / 4]),
    workgroups: [heads.count, 1, 1],
  });
  stream.launch({
    kernel: largestKeys(variant),
    buffers: [span, centres, largest],
    uniforms: uniformWords([keyLength, base / 4]),
    workgroups: [Math.ceil(keyLength / LARGEST_KEYS_ROWS), heads.count, 1],
  });
  const grid = gridOf(tiles * heads.count);
  stream.launch({
    kernel: packKeys(variant),
    buffers: [span, centres, largest, packed, bounds],
    uniforms: uniformWords([keyLength, base / 4, tiles, tiles * heads.count]),
    workgroups: grid,
  });
  return {
    headStart: block.headStart,
    packed,
    bounds,
    largest,
    centres,
    release: () => {
      for (const span of [largest, centres, packed, bounds]) stream.release(span);
    },
  };
}

function recordBlock(
  stream: Stream,
  facts: DeviceFacts,
  request: AttentionRequest,
  views: ForwardViews,
  block: RowBlock,
  keys: PackedKeys,
  tuning: TensorTuning,
  counters: Span,
): void {
  const { queryLength, keyLength, queryHeads, headDim } = request;
  const rows = rowsOf(block);
  const capacity = capacityOf(request, tuning);
  const perKeyHead = queryHeads / request.keyHeads;
  const keyHeadStart = keyHeadsOf(request, block).start;
  const k = request.k === 'all' ? 0 : request.k;
  const q = windowOf(
    views.q,
    block.headStart * queryLength * headDim,
    block.headCount * queryLength * headDim,
  );
  const tables = recordTables(stream, request, views);
  const queries = stream.scratch(2 * rows * headDim);
  const units = stream.scratch(16 * rows);
  const lists = stream.scratch(4 * rows * capacity);
  const heads = stream.scratch(8 * rows);
  stream.launch({
    kernel: prepareQueries({ headDim, half: request.dtype === 'f16' }),
    buffers: [q.span, keys.centres, keys.largest, queries, units],
    uniforms: uniformWords([
      rows,
      block.queryStart,
      block.queryCount,
      queryLength,
      q.base / 4,
      block.headStart,
      perKeyHead,
      keyHeadStart,
      f32Bits(request.scale),
      block.headCount,
    ]),
    workgroups: gridOf(rows / 32),
  });
  const variant: FilterVariant = {
    headDim,
    causal: request.causal,
    keyLengths: request.keyLengths,
    ...(tables && request.relativeBias && { relativeReach: tables.reach }),
    capacity,
    subgroups: tuning.subgroups,
    emulated: tuning.emulated ?? false,
  };
  const stride = tuning.stride(keyLength);
  stream.launch({
    kernel: filter(variant),
    buffers: [
      queries,
      units,
      keys.packed,
      keys.bounds,
      lists,
      heads,
      counters,
      ...(tables ? [tables.span] : []),
    ],
    uniforms: uniformWords([
      block.headCount,
      block.headStart,
      block.queryStart,
      block.queryCount,
      queryLength,
      keyLength,
      queryHeads,
      perKeyHead,
      keyHeadStart,
      tilesOf(request),
      k,
      rankOf(k, stride, tuning),
      stride,
      stride === 1 ? 0xffffffff : Math.max(tuning.strideFrom, 2 * stride * capacity),
      tables?.bucketsAt ?? 0,
      tables?.tableAt ?? 0,
    ]),
    workgroups: gridOf(rows / rowsPerWorkgroup(variant)),
  });
  stream.release(queries);
  stream.release(units);
  if (tables !== undefined) stream.release(tables.span);
  recordFinish(stream, facts, request, views, block, { lists, heads, capacity }, counters);
  stream.release(lists);
  stream.release(heads);
}

/** The rank in a sample of every stride-th tile above which the k best are found, but for a rare row. */
function rankOf(k: number, stride: number, { rankSlack }: TensorTuning): number {
  if (stride === 1) return k;
  const mean = k / stride;
  return Math.ceil(mean + rankSlack * Math.sqrt(mean * (1 - 1 / stride)));
}
