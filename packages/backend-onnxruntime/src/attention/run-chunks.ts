import { type AttentionRequest, relativePositionBucket } from '@topk-attention/core';
import { philoxBits } from '../primitives/random.js';
import { floatsOf, type RangeChecks, transposeRows } from '../runtime/inspect.js';
import { JoinedRows } from '../runtime/joined-rows.js';
import type { OrtArray, OrtModule, OrtTensor } from '../runtime/ort.js';
import type { Sessions } from '../runtime/sessions.js';
import { compileChunk } from './chunk-graph.js';
import { type AttentionVariant, foldsCausality, graphInputs, keyOf, keyRangesOf } from './variant.js';

/** Engine tensors of a call by role: q, k, v, mask, keyLengths, bias, table. */
export type AttentionFeeds = ReadonlyMap<string, OrtTensor>;

/** Elements up to this size cannot overflow a sum of products of them; an f32 reaches 3.4e38. */
const LARGEST_FACTOR = 1e15;
const LARGEST_BIAS = 1e30;
const LARGEST_VALUE = 3.4028234663852886e38;
/** Transposing the keys costs about one chunk's product, and every chunk then saves a third of one. */
const CHUNKS_WORTH_A_TRANSPOSE = 4;

/** Runs a call chunk by chunk, with one session for all of them, and joins the chunks' rows. */
export async function runAttention(
  ort: OrtModule,
  sessions: Sessions,
  checks: RangeChecks,
  request: AttentionRequest,
  feeds: AttentionFeeds,
  queryChunk: number,
  isBorrowed: (tensor: OrtTensor) => boolean,
): Promise<readonly OrtTensor[]> {
  const chunk = Math.min(queryChunk, request.queryLength);
  const chunks = Math.ceil(request.queryLength / chunk);
  const keys = floatsOf(feeds.get('k') as OrtTensor);
  const variant: AttentionVariant = {
    request,
    chunk,
    keys: keys !== undefined && chunks >= CHUNKS_WORTH_A_TRANSPOSE ? 'columns' : 'rows',
    isCareful: !isTame(checks, feeds, isBorrowed),
  };
  const fixed = new Map(feeds);
  if (variant.keys === 'columns' && keys !== undefined) {
    addColumns(ort, variant, keys, fixed);
  }
  const names = graphInputs(variant).map(({ name }) => name);
  const key = keyOf(variant);
  const compile = () => compileChunk(variant);
  const joined: JoinedRows[] = [];
  for (let index = 0; index < chunks; index++) {
    // The last chunk overlaps the one before it, so that all have one size and share one session.
    const start = Math.min(index * chunk, request.queryLength - chunk);
    const moving = chunkInputs(ort, variant, start);
    const inputs = names.map((name) => moving.get(name) ?? (fixed.get(name) as OrtTensor));
    const results = await sessions.run(key, compile, inputs);
    if (chunks === 1) return results;
    for (const [at, result] of results.entries()) {
      joined[at] ??= new JoinedRows(
        result,
        request.batch * request.queryHeads,
        request.queryLength,
        result.dims.at(-1) as number,
      );
      joined[at].put(result, start, chunk);
    }
  }
  const { batch, queryHeads, queryLength } = request;
  return joined.map((one) => one.tensor(ort, [batch, queryHeads, queryLength, one.width]));
}

/** True when no score can be NaN or overflow, so that the quick graph is exact. */
function isTame(
  checks: RangeChecks,
  feeds: AttentionFeeds,
  isBorrowed: (tensor: OrtTensor) => boolean,
): boolean {
  const within = (role: string, largest: number, orMinusInfinity = false): boolean => {
    const tensor = feeds.get(role);
    if (tensor === undefined) return true;
    return checks.isWithin(tensor, largest, { orMinusInfinity, isBorrowed: isBorrowed(tensor) });
  };
  return (
    within('q', LARGEST_FACTOR) &&
    within('k', LARGEST_FACTOR) &&
    within('v', LARGEST_VALUE) &&
    within('bias', LARGEST_BIAS, true) &&
    within('table', LARGEST_BIAS)
  );
}

function addColumns(
  ort: OrtModule,
  variant: AttentionVariant,
  keys: Float32Array,
  into: Map<string, OrtTensor>,
): void {
  const { batch, keyHeads, keyLength, headDim } = variant.request;
  const heads = batch * keyHeads;
  for (const [index, { from, to }] of keyRangesOf(variant).entries()) {
    const columns = transposeRows(keys, heads, keyLength, headDim, from, to);
    into.set(`k${index}`, new ort.Tensor('float32', columns, [heads, headDim, to - from]));
  }
}

/** Inputs that differ from chunk to chunk. */
function chunkInputs(ort: OrtModule, variant: AttentionVariant, start: number): Map<string, OrtTensor> {
  const { request, chunk } = variant;
  const { batch, queryHeads, queryLength, keyLength, causal, relativeBias, dropout, k } = request;
  const index = (value: number): OrtTensor => new ort.Tensor('int64', BigInt64Array.of(BigInt(value)), [1]);
  const inputs = new Map([
    ['start', index(start)],
    ['end', index(start + chunk)],
  ]);
  if (relativeBias !== undefined) {
    const buckets = bucketsOf(variant, start);
    inputs.set('buckets', new ort.Tensor('int32', buckets, [buckets.length]));
  }
  if (causal && !foldsCausality(variant)) {
    inputs.set('last', new ort.Tensor('int32', Int32Array.of(start + keyLength - queryLength), [1]));
  }
  if (dropout !== undefined && k !== 'all') {
    const factors = dropoutFactors(dropout, [batch, queryHeads, chunk, k], start);
    inputs.set('dropout', new ort.Tensor('float32', factors, [batch * queryHeads * chunk, k]));
  }
  return inputs;
}

/**
 * Bucket of every relative position that the chunk meets: entry r belongs to key minus query = r - (chunk - 1) -
 * start - Lk + Lq. Where causality is folded in, keys after the query take the bucket behind the last.
 */
function bucketsOf(variant: AttentionVariant, start: number): Int32Array {
  const { relativeBias, keyLength, queryLength } = variant.request;
  const buckets = new Int32Array(keyLength + variant.chunk);
  if (relativeBias === undefined) return buckets;
  const offset = start + variant.chunk - 1 + keyLength - queryLength;
  const hidesFuture = foldsCausality(variant);
  for (let entry = 0; entry < buckets.length; entry++) {
    const position = entry - offset;
    buckets[entry] =
      hidesFuture && position > 0 ? relativeBias.buckets : relativePositionBucket(position, relativeBias);
  }
  return buckets;
}

/** 0 or 1 / (1 - rate) for each slot, keyed by (seed, batch, head, query, slot). */
function dropoutFactors(
  { rate, seed }: { readonly rate: number; readonly seed: number },
  shape: readonly number[],
  start: number,
): OrtArray {
  const bits = philoxBits(seed, [0, 0, start, 0], shape);
  const threshold = Math.floor(rate * 2 ** 32);
  const kept = 1 / (1 - rate);
  return Float32Array.from(bits, (word) => (word >>> 0 >= threshold ? kept : 0));
}
