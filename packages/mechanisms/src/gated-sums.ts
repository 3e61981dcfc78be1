import {
  add,
  concat,
  div,
  exp,
  fill,
  matmul,
  max,
  mul,
  narrow,
  reshape,
  scope,
  sub,
  type Tensor,
  TopKError,
  transpose,
  zeros,
} from '@topk-attention/core';
import { byFours } from './by-fours.js';
import { fadedPairs, fadesBetween } from './gates.js';
import { piecesOf } from './pieces.js';
import { runningSums } from './running-sums.js';

/** Features of queries and keys, and values. Hidden keys have a weight of 0 and gates of 1, and no number is NaN. */
export interface GatedInputs {
  /** [B, heads, Lq, F] */
  readonly query: Tensor;
  /** [B, keyValueHeads, Lk, F] */
  readonly key: Tensor;
  /** [B, keyValueHeads, Lk, D] */
  readonly value: Tensor;
  /** Weights of keys [B, keyValueHeads, Lk, 1]. */
  readonly weights: Tensor;
  /** Logarithms of gates [B, keyValueHeads, Lk, 1], at most 0: each token's gate multiplies all sums before it. */
  readonly logGates: Tensor;
}

export interface GatedOptions {
  /** Most tokens per chunk. */
  readonly chunk: number;
  /** Smallest denominator. */
  readonly floor: number;
  /** Bytes that the sums of all chunks, and their pairs, may take; else chunks go in several spans. Default 256 MiB. */
  readonly spanBytes?: number;
}

export interface GatedResult {
  /** [B, heads, Lq, D] */
  readonly output: Tensor;
  /** Sums over all keys [B keyValueHeads, F, byFours(D + 1)]: of values, of weights, and zeros. */
  readonly state: Tensor;
}

/**
 * Causal linear attention whose sums are gated, by chunks: phi(q) (sum of gates phi(k) v^T) over phi(q) . sum of gates phi(k).
 * The last query is at the last key. All chunks are computed at once: pairs within them, sums of each, and sums before each
 * by a product with the gates between chunks. Core's `linearAttention` could have gates as log scales, by one running sum
 * over all tokens: in f32 that loses digits with the length, where sums of a chunk do not.
 *
 * @param state sums over the keys before the given ones, as returned
 * @throws TopKError SHAPE_MISMATCH for more queries than keys.
 */
export function gatedAttention(inputs: GatedInputs, options: GatedOptions, state?: Tensor): GatedResult {
  const { query, key, value, weights, logGates } = inputs;
  const [batch, heads, queries, features] = query.shape as readonly [number, number, number, number];
  const [, keyHeads, keys, width] = value.shape as readonly [number, number, number, number];
  if (queries > keys) {
    throw new TopKError('SHAPE_MISMATCH', 'gated linear attention: more queries than keys', {
      expected: `at most ${keys} queries`,
      got: String(queries),
    });
  }
  return scope(() => {
    const groups = batch * keyHeads;
    const constants = (one: number, count: number): Tensor =>
      fill(value.backend, one, [batch, keyHeads, keys, count], value.dtype);
    const columns = byFours(width + 1);
    const counted = concat([value, constants(1, 1), constants(0, columns - width - 1)], 3);
    const all: Tokens = {
      key: reshape(key, [groups, keys, features]),
      value: reshape(mul(counted, weights), [groups, keys, columns]),
      logGates: reshape(logGates, [groups, keys, 1]),
    };
    const rows = reshape(query, [groups, heads / keyHeads, queries, features]);
    const first = keys - queries;
    const before = first === 0 ? state : gatedSums(part(all, 0, first), options, { before: state }).state;
    const made = gatedSums(part(all, first, queries), options, { before, query: rows });
    const sums = reshape(made.output as Tensor, [batch, heads, queries, columns]);
    const total = narrow(sums, 3, width, 1);
    return { output: div(narrow(sums, 3, 0, width), max(total, options.floor)), state: made.state };
  });
}

interface Tokens {
  /** [N, L, F] */
  readonly key: Tensor;
  /** [N, L, W] */
  readonly value: Tensor;
  /** [N, L, 1] */
  readonly logGates: Tensor;
}

/** `length` tokens from `start` on. */
function part({ key, value, logGates }: Tokens, start: number, length: number): Tokens {
  const of = (x: Tensor): Tensor => narrow(x, 1, start, length);
  return { key: of(key), value: of(value), logGates: of(logGates) };
}

interface Asked {
  /** Sums over earlier tokens [N, F, W]. */
  readonly before: Tensor | undefined;
  /** [N, g, L, F], of the same tokens. */
  readonly query?: Tensor;
}

interface Sums {
  /** [N, g, L, W], if there are queries. */
  readonly output?: Tensor;
  /** [N, F, W] */
  readonly state: Tensor;
}

/** Outputs of the tokens, and the sums after them, chunk by chunk. */
function gatedSums(tokens: Tokens, { chunk, spanBytes = 2 ** 28 }: GatedOptions, asked: Asked): Sums {
  const { key, value } = tokens;
  const [groups, length, features] = key.shape as readonly [number, number, number];
  const { size, count } = evenChunks(length, chunk);
  const heads = groups * (asked.query?.shape[1] ?? 0);
  const bytes = 4 * Math.max(groups * features * (value.shape[2] as number), heads * size * size);
  const span = Math.max(1, Math.min(MOST_CHUNKS, Math.floor(spanBytes / bytes)));
  const full: Tokens = {
    key: padded(key, 1, size * count),
    value: padded(value, 1, size * count),
    logGates: padded(tokens.logGates, 1, size * count),
  };
  const query = asked.query && padded(asked.query, 2, size * count);
  const cut = (x: Tensor, axis: number): readonly Tensor[] => piecesOf(x, axis, span * size);
  const [keys, values, gates] = [cut(full.key, 1), cut(full.value, 1), cut(full.logGates, 1)];
  const queries = query && cut(query, 2);
  const outputs: Tensor[] = [];
  let state = asked.before;
  for (const [at, own] of keys.entries()) {
    const content = { key: own, value: values[at] as Tensor, logGates: gates[at] as Tensor };
    const made = sumsOfSpan(content, size, {
      before: state,
      ...(queries && { query: queries[at] as Tensor }),
    });
    if (made.output !== undefined) outputs.push(made.output);
    state = made.state;
  }
  return {
    ...(outputs.length > 0 && { output: narrow(concat(outputs, 2), 2, 0, length) }),
    // There is at least one token.
    state: state as Tensor,
  };
}

/** Gates between all chunks of a span are a matrix: so many chunks make it smaller than what they hold. */
const MOST_CHUNKS = 256;

/** Chunks of equal size, a multiple of 4 where there are several; the last one is padded. */
function evenChunks(length: number, most: number): { readonly size: number; readonly count: number } {
  const even = Math.ceil(length / Math.ceil(length / most));
  const size = even < length && byFours(even) <= most ? byFours(even) : even;
  return { size, count: Math.ceil(length / size) };
}

/** x with zeros at the end of an axis. Features and values of 0 add nothing, and logarithms of 0 are gates of 1. */
function padded(x: Tensor, axis: number, extent: number): Tensor {
  const own = x.shape[axis] as number;
  if (own === extent) return x;
  const shape = x.shape.map((one, at) => (at === axis ? extent - own : one));
  return concat([x, zeros(x.backend, shape, x.dtype)], axis);
}

/** The same for a whole number of chunks, all at once. */
function sumsOfSpan({ key, value, logGates }: Tokens, size: number, { before, query }: Asked): Sums {
  const [groups, length, features] = key.shape as readonly [number, number, number];
  const width = value.shape[2] as number;
  const count = length / size;
  const chunks = groups * count;
  const own = {
    key: reshape(key, [chunks, size, features]),
    value: reshape(value, [chunks, size, width]),
  };
  // Logarithms of gates from the start of a chunk to each of its tokens, and to its end.
  const total = runningSums(reshape(logGates, [chunks, size]));
  const end = narrow(total, 1, size - 1, 1);

  const fading = reshape(exp(sub(end, total)), [chunks, size, 1]);
  const sums = reshape(matmul(own.key, mul(own.value, fading), { transposeA: true }), [
    groups,
    count,
    features * width,
  ]);
  // A state is a chunk before the first one.
  const ends = reshape(end, [groups, count]);
  const isContinued = before !== undefined;
  const entries = isContinued ? concat([reshape(before, [groups, 1, features * width]), sums], 1) : sums;
  const gates = isContinued ? concat([zeros(key.backend, [groups, 1], end.dtype), ends], 1) : ends;
  const fades = fadesBetween(gates, isContinued ? 1 : 0);
  const last = matmul(narrow(fades, 1, count, 1), entries);
  const state = reshape(last, [groups, features, width]);
  if (query === undefined) return { state };

  const perGroup = query.shape[1] as number;
  const rows = reshape(
    transpose(reshape(query, [groups, perGroup, count, size, features]), [0, 2, 1, 3, 4]),
    [chunks, perGroup * size, features],
  );
  const pairs = reshape(matmul(rows, own.key, { transposeB: true }), [chunks, perGroup, size, size]);
  const seen = reshape(fadedPairs(pairs, total), [chunks, perGroup * size, size]);
  const within = reshape(matmul(seen, own.value), [chunks, perGroup, size, width]);
  const outputOf = (made: Tensor): Tensor =>
    reshape(transpose(reshape(made, [groups, count, perGroup, size, width]), [0, 2, 1, 3, 4]), [
      groups,
      perGroup,
      length,
      width,
    ]);
  // The only chunk of a text.
  if (count === 1 && !isContinued) return { output: outputOf(within), state };
  const earlier = reshape(matmul(narrow(fades, 1, 0, count), entries), [chunks, features, width]);
  const across = reshape(matmul(rows, earlier), [chunks, perGroup, size, width]);
  const gated = mul(across, exp(reshape(total, [chunks, 1, size, 1])));
  return { output: outputOf(add(within, gated)), state };
}
