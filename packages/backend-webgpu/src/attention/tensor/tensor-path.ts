import type { AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import { gridOf, type Span, uniformWords } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { COUNTER_WORDS } from '../shared/counters.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { geometryWords, keyHeadsOf, keyWindow, type Part, queryWindow } from '../shared/geometry.js';
import { relativeReach } from '../shared/relative-bias.js';
import { type FilterVariant, filter, rowsPerWorkgroup } from './filter.js';
import { recordFinish } from './finish.js';
import { bytesOf, capacityOf, H200_TUNING, type TensorTuning, tensorParts, tilesOf } from './parts.js';
import { centreKeys, LARGEST_KEYS_ROWS, largestKeys, packKeys, prepareQueries } from './prepare.js';
import { tensorRefusals } from './refusals.js';
import { ROWS } from './score-tile.js';
import { recordTables, type Tables } from './tables.js';

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
    refuses: tensorRefusals,
    describe: (request) =>
      `lists of ${capacityOf(request, tuning)}, threshold from every ${ordinal(tuning.stride(request.keyLength))} tile`,
    // It divides a call itself, and larger parts are faster.
    preferredChunk: ({ queryLength }) => queryLength,
    scratchBytes: (request, chunk, facts) => {
      const [largest] = tensorParts(request, chunk, facts, tuning);
      return largest === undefined ? 0 : bytesOf(request, largest, tuning).reduce((a, b) => a + b, 0);
    },
    largestBytes: (request, chunk, facts) => {
      const [largest] = tensorParts(request, chunk, facts, tuning);
      return largest === undefined ? 0 : Math.max(...bytesOf(request, largest, tuning));
    },
    record: (stream, request, views, chunk) => record(stream, request, views, chunk, tuning, counters),
  };
}

function ordinal(n: number): string {
  return n === 2 ? 'second' : `${n}th`;
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
  const tables = recordTables(stream, request, views);
  let keys: PackedKeys | undefined;
  for (const part of tensorParts(request, chunk, facts, tuning)) {
    if (keys?.firstHead !== part.firstHead) {
      keys?.release();
      keys = recordPacking(stream, request, views, part);
    }
    recordPart(stream, facts, { request, views, part, keys, tables, counters }, tuning);
    stream.flush();
  }
  keys?.release();
  if (tables !== undefined) stream.release(tables.span);
}

interface PackedKeys {
  readonly firstHead: number;
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
  part: Part,
): PackedKeys {
  const { keyLength, headDim } = request;
  const heads = keyHeadsOf(request, part).count;
  const tiles = tilesOf(request);
  const variant = { headDim, half: request.dtype === 'f16' };
  const largest = stream.scratch(8 * heads);
  const centres = stream.scratch(4 * heads * headDim);
  const packed = stream.scratch(2 * 16 * heads * tiles * headDim);
  const bounds = stream.scratch(4 * heads * tiles);
  const { span, base } = keyWindow(views.k, request, part);
  stream.clear(largest);
  stream.launch({
    kernel: centreKeys(variant),
    buffers: [span, centres],
    uniforms: uniformWords([keyLength, base / 4]),
    workgroups: [heads, 1, 1],
  });
  stream.launch({
    kernel: largestKeys(variant),
    buffers: [span, centres, largest],
    uniforms: uniformWords([keyLength, base / 4]),
    workgroups: [Math.ceil(keyLength / LARGEST_KEYS_ROWS), heads, 1],
  });
  stream.launch({
    kernel: packKeys(variant),
    buffers: [span, centres, largest, packed, bounds],
    uniforms: uniformWords([keyLength, base / 4, tiles, tiles * heads]),
    workgroups: gridOf(tiles * heads),
  });
  return {
    firstHead: part.firstHead,
    packed,
    bounds,
    largest,
    centres,
    release: () => {
      for (const scratch of [largest, centres, packed, bounds]) stream.release(scratch);
    },
  };
}

interface PartWork {
  readonly request: AttentionRequest;
  readonly views: ForwardViews;
  readonly part: Part;
  readonly keys: PackedKeys;
  readonly tables: Tables | undefined;
  readonly counters: Span;
}

function recordPart(stream: Stream, facts: DeviceFacts, work: PartWork, tuning: TensorTuning): void {
  const { request, views, part, keys, tables, counters } = work;
  const { keyLength, headDim } = request;
  const rows = part.heads * part.queries;
  const capacity = capacityOf(request, tuning);
  const k = request.k === 'all' ? 0 : request.k;
  const q = queryWindow(views.q, request, part);
  const queries = stream.scratch(2 * rows * headDim);
  const units = stream.scratch(16 * rows);
  const lists = stream.scratch(4 * rows * capacity);
  const heads = stream.scratch(8 * rows);
  stream.launch({
    kernel: prepareQueries({ headDim, half: request.dtype === 'f16' }),
    buffers: [q.span, keys.centres, keys.largest, queries, units],
    uniforms: geometryWords({ request, part, bases: { q: q.base } }),
    workgroups: gridOf(rows / ROWS),
  });
  const variant: FilterVariant = {
    headDim,
    causal: request.causal,
    keyLengths: request.keyLengths,
    ...(request.relativeBias && { relativeReach: relativeReach(request) }),
    capacity,
    subgroups: tuning.subgroups,
    emulated: tuning.emulated ?? false,
  };
  const stride = tuning.stride(keyLength);
  const sampledFrom = Math.max(tuning.strideFrom, 2 * stride * capacity);
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
    uniforms: geometryWords({
      request,
      part,
      own: [
        ...[tilesOf(request), k, rankOf(k, stride, tuning), stride],
        ...[sampledFrom, tables?.bucketsAt ?? 0, tables?.tableAt ?? 0],
      ],
    }),
    workgroups: gridOf(rows / rowsPerWorkgroup(variant)),
  });
  stream.release(queries);
  stream.release(units);
  recordFinish(stream, facts, {
    request,
    views,
    part,
    candidates: { lists, heads, capacity },
    tables,
    counters,
  });
  stream.release(lists);
  stream.release(heads);
}

/** The rank in a sample of every stride-th tile above which the k best are found, but for a rare row. */
function rankOf(k: number, stride: number, { rankSlack }: TensorTuning): number {
  const mean = k / stride;
  return Math.ceil(mean + rankSlack * Math.sqrt(mean * (1 - 1 / stride)));
}
