import type { AttentionRequest } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../../runtime/facts.js';
import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { COUNTER_WORDS } from '../shared/counters.js';
import type { ForwardPath, ForwardViews } from '../shared/forward-path.js';
import { geometryOf, type Part, queryWindow } from '../shared/geometry.js';
import { relativeReach } from '../shared/relative-bias.js';
import { type FilterVariant, recordFilter } from './filter.js';
import { recordFinish } from './finish.js';
import { type PackedKeys, recordPacking } from './packing.js';
import { bytesOf, capacityOf, H200_TUNING, type TensorTuning, tensorParts, tilesOf } from './parts.js';
import { recordPrepareQueries } from './prepare-queries.js';
import { tensorRefusals } from './refusals.js';
import { recordTables, type Tables } from './tables.js';

/** Counters per device and size of call, by which the filter adapts to the data of previous calls. */
const adaptation = new WeakMap<Stream, Map<string, Span>>();

function countersOf(stream: Stream, { queryHeads, keyLength, headDim, k }: AttentionRequest): Span {
  const ofStream = adaptation.get(stream) ?? new Map<string, Span>();
  adaptation.set(stream, ofStream);
  const size = [queryHeads, Math.ceil(Math.log2(keyLength)), headDim, k].join();
  let counters = ofStream.get(size);
  if (counters === undefined) {
    counters = stream.zeros(4 * COUNTER_WORDS);
    ofStream.set(size, counters);
  }
  return counters;
}

/**
 * Forward pass through f16 products in subgroup matrices, rescored in f32: exact; see `recordFilter` and
 * `recordFinish`. `counters`: u32 [COUNTER_WORDS], read and added to; default: buffers kept with the stream.
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
  const geometry = geometryOf(request, part);
  const shape = { headDim, half: request.dtype === 'f16' };
  recordPrepareQueries(stream, shape, geometry, keys, { q, prepared: queries, units });
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
  const sampling = {
    stride,
    sampled_from: Math.max(tuning.strideFrom, 2 * stride * capacity),
    rank: rankOf(k, stride, tuning),
  };
  recordFilter(
    stream,
    variant,
    geometry,
    { tiles: tilesOf(request), k, ...sampling },
    { queries, units, keys: keys.packed, bounds: keys.bounds, lists, heads, counters },
    tables,
  );
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

/** The rank in a sample of every stride-th tile above which the k best are found, except in rare rows. */
function rankOf(k: number, stride: number, { rankSlack }: TensorTuning): number {
  const mean = k / stride;
  return Math.ceil(mean + rankSlack * Math.sqrt(mean * (1 - 1 / stride)));
}
