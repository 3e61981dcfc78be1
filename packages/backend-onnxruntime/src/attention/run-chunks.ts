import {
  type ChosenAttention,
  dropoutWords,
  philoxBits,
  queryStartOf,
  relativeBuckets,
} from '@topk-attention/core/backend';
import { compileChunk } from '../emit/attention/chunk-graph.js';
import {
  type AttentionVariant,
  CHUNKS_WORTH_A_TRANSPOSE,
  foldsCausality,
  graphInputs,
  keyOf,
  keyRangesOf,
  windowLength,
  windowStart,
} from '../emit/attention/variant.js';
import {
  areAllFinite,
  floatsOf,
  type Magnitude,
  type Magnitudes,
  transposeRows,
} from '../runtime/inspect.js';
import { JoinedRows } from '../runtime/joined-rows.js';
import type { OrtArray, OrtModule, OrtTensor } from '../runtime/ort.js';
import type { Sessions } from '../runtime/sessions.js';
import { arenaBytes } from './bytes.js';
import type { RelativeWindows } from './relative-window.js';
import { areScoresTame } from './tame-scores.js';

/** Engine tensors of a call by role: q, k, v, mask, keyLengths, bias, table. */
export type AttentionFeeds = ReadonlyMap<string, OrtTensor>;

/** Shared by all calls. */
export interface AttentionRuntime {
  readonly ort: OrtModule;
  readonly sessions: Sessions;
  readonly magnitudes: Magnitudes;
  readonly windows: RelativeWindows;
  /** Relative-bias windows larger than this are not built; each chunk's graph then makes its part itself. */
  readonly largestWindowBytes: number;
  /** True for tensors that belong to the caller, whose values may change between calls. */
  isBorrowed(tensor: OrtTensor): boolean;
}

/** Runs a call chunk by chunk through one session and joins the rows. */
export async function runAttention(
  runtime: AttentionRuntime,
  asked: ChosenAttention,
  feeds: AttentionFeeds,
  queryChunk: number,
): Promise<readonly OrtTensor[]> {
  const { ort, sessions } = runtime;
  const request = withoutIdleMasks(asked, feeds);
  const { batch, queryHeads, queryLength } = request;
  const chunk = Math.min(queryChunk, queryLength);
  const chunks = Math.ceil(queryLength / chunk);
  const variant = variantOf(runtime, request, feeds, chunk, chunks);
  const fixed = new Map(feeds);
  addPrepared(runtime, variant, fixed);
  const names = graphInputs(variant).map(({ name }) => name);
  const session = {
    key: keyOf(variant),
    compile: () => compileChunk(variant),
    arenaBytes: arenaBytes(request, chunk),
  };
  const joined: JoinedRows[] = [];
  for (let index = 0; index < chunks; index++) {
    // The last chunk overlaps the one before it, so that all have one size and share one session.
    const start = Math.min(index * chunk, queryLength - chunk);
    const moving = chunkInputs(ort, variant, start);
    const inputs = names.map((name) => moving.get(name) ?? (fixed.get(name) as OrtTensor));
    const results = await sessions.run(session, inputs);
    if (chunks === 1) return results;
    for (const [at, result] of results.entries()) {
      const width = result.dims.at(-1) as number;
      joined[at] ??= new JoinedRows(result, batch * queryHeads, queryLength, width);
      joined[at].put(result, start, chunk);
    }
  }
  return joined.map((one) => one.tensor(ort, [batch, queryHeads, queryLength, one.width]));
}

function variantOf(
  runtime: AttentionRuntime,
  request: ChosenAttention,
  feeds: AttentionFeeds,
  chunk: number,
  chunks: number,
): AttentionVariant {
  const hasKeys = floatsOf(feeds.get('k') as OrtTensor) !== undefined;
  const table = feeds.get('table');
  const variant: AttentionVariant = {
    request,
    chunk,
    keys: hasKeys && chunks >= CHUNKS_WORTH_A_TRANSPOSE ? 'columns' : 'rows',
    positions: table !== undefined && floatsOf(table) !== undefined ? 'window' : 'buckets',
    ...rangesOf(runtime, request, feeds),
  };
  const windowBytes = 4 * request.queryHeads * chunk * windowLength(variant);
  return windowBytes <= runtime.largestWindowBytes ? variant : { ...variant, positions: 'buckets' };
}

/** Drops key lengths that hide nothing (those of a single text): they would cost a pass over the scores. */
function withoutIdleMasks(request: ChosenAttention, feeds: AttentionFeeds): ChosenAttention {
  const lengths = feeds.get('keyLengths');
  if (lengths?.location !== 'cpu' || !(lengths.data instanceof Int32Array)) return request;
  const hides = lengths.data.some((length) => length < request.keyLength);
  return hides ? request : { ...request, keyLengths: false };
}

/** Which checks a call's values allow its graph to leave out. */
function rangesOf(
  { magnitudes, isBorrowed }: AttentionRuntime,
  request: ChosenAttention,
  feeds: AttentionFeeds,
): Pick<AttentionVariant, 'isCareful' | 'areValuesFinite'> {
  const of = (role: string): Magnitude | undefined => {
    const tensor = feeds.get(role);
    return tensor && magnitudes.of(tensor, isBorrowed(tensor));
  };
  const areValuesFinite = areAllFinite(of('v') as Magnitude);
  const isTame = areScoresTame(request, of('q') as Magnitude, of('k') as Magnitude, of('bias'), of('table'));
  return { isCareful: !(isTame && areValuesFinite), areValuesFinite };
}

/** Inputs made once per call: transposed keys, the window of relative biases. */
function addPrepared(
  runtime: AttentionRuntime,
  variant: AttentionVariant,
  into: Map<string, OrtTensor>,
): void {
  const { batch, keyHeads, keyLength, headDim } = variant.request;
  const heads = batch * keyHeads;
  const keys = floatsOf(into.get('k') as OrtTensor);
  if (variant.keys === 'columns' && keys !== undefined) {
    for (const [index, { from, to }] of keyRangesOf(variant).entries()) {
      const columns = transposeRows(keys, heads, keyLength, headDim, from, to);
      into.set(`k${index}`, new runtime.ort.Tensor('float32', columns, [heads, headDim, to - from]));
    }
  }
  const table = into.get('table');
  if (table !== undefined && variant.positions === 'window') {
    into.set('window', runtime.windows.windowOf(variant, table, runtime.isBorrowed(table)));
  }
}

/** Inputs that differ from chunk to chunk. */
function chunkInputs(ort: OrtModule, variant: AttentionVariant, start: number): Map<string, OrtTensor> {
  const { request, chunk } = variant;
  const { batch, queryHeads, keyLength, causal, relativeBias, dropout, k } = request;
  const index = (value: number): OrtTensor => new ort.Tensor('int64', BigInt64Array.of(BigInt(value)), [1]);
  const inputs = new Map([
    ['start', index(start)],
    ['end', index(start + chunk)],
  ]);
  if (relativeBias !== undefined && variant.positions === 'window') {
    inputs.set('shift', index(windowStart(variant) - queryStartOf(request) - start));
  } else if (relativeBias !== undefined) {
    const buckets = bucketsOf(variant, start);
    inputs.set('buckets', new ort.Tensor('int32', buckets, [buckets.length]));
  }
  if (causal && !foldsCausality(variant)) {
    // Beyond the last key nothing changes, and the clamped sum fits an i32.
    const last = Math.min(start + queryStartOf(request), keyLength);
    inputs.set('last', new ort.Tensor('int32', Int32Array.of(last), [1]));
  }
  if (dropout !== undefined && k !== 'all') {
    const factors = dropoutFactors(dropout, [batch, queryHeads, chunk, k], start);
    inputs.set('dropout', new ort.Tensor('float32', factors, [batch * queryHeads * chunk, k]));
  }
  return inputs;
}

/**
 * Bucket of every relative position in the chunk: entry r belongs to key minus query = r - (chunk - 1) - start -
 * queryStart. Where causality is folded in, keys after the query take the bucket after the last.
 */
function bucketsOf(variant: AttentionVariant, start: number): Int32Array {
  const { relativeBias, keyLength } = variant.request;
  const length = keyLength + variant.chunk;
  if (relativeBias === undefined) return new Int32Array(length);
  const offset = start + variant.chunk - 1 + queryStartOf(variant.request);
  const buckets = relativeBuckets(relativeBias, -offset, length);
  return foldsCausality(variant) ? buckets.fill(relativeBias.buckets, Math.max(0, offset + 1)) : buckets;
}

/** 0 or 1 / (1 - rate) for each slot, keyed by (seed, batch, head, query, slot). */
function dropoutFactors(
  dropout: { readonly rate: number; readonly seed: number },
  shape: readonly number[],
  start: number,
): OrtArray {
  const bits = philoxBits(dropout.seed, [0, 0, start, 0], shape);
  const { threshold, keptScale } = dropoutWords(dropout);
  return Float32Array.from(bits, (word) => (word >>> 0 >= threshold ? keptScale : 0));
}
