import {
  aBoolean,
  aNumber,
  aValue,
  checkedLater,
  type OptionKind,
  type OptionKinds,
  oneOf,
  readOptions,
  TopKError,
} from '@topk-attention/core';
import type { BuildOptions } from './build/build-attention.js';
import type { FeedForwardOptions } from './build/build-feed-forward.js';
import type { Selection } from './build/selected-units.js';
import type { LearnedAxes } from './extents/lengths.js';

/** How a model is rewritten. */
export interface RewriteOptions {
  /**
   * `'exact'` computes the same function in chunks of queries; `{ k }` keeps the k best keys of each query as well.
   * Default: `'exact'`.
   */
  readonly attention?: 'exact' | { readonly k: number };
  /**
   * `'chunked'` computes feed-forward layers in chunks of tokens, so that their wide middle is never whole; the function stays the
   * same. `{ k }` keeps k units of each token as well: with `select: 'magnitude'` those furthest from zero, with `'signed'` the
   * largest, by default the largest after ReLU and those furthest from zero after anything else. That costs time on a CPU,
   * except for one token with k of at most a quarter of the units. Default: they are left as they are.
   */
  readonly feedForward?: 'chunked' | { readonly k: number; readonly select?: Selection };
  /**
   * Keys of the longest input that the file is for, which leaves out what only longer ones need. Beyond, attention with
   * k may be slower; it stays exact if this is not more than k. Default: any length.
   */
  readonly maxLength?: number;
  /**
   * What runs the file. ONNX Runtime's WebGPU engine returns to the CPU for every chunk, so for `'webgpu'` chunks are larger: up to
   * 1,024 queries. Default: `'cpu'`, which is also right for wasm.
   */
  readonly target?: 'cpu' | 'webgpu';
  /**
   * Copies of each chunk instead of a loop, for engines without control flow. Lengths that the file leaves open must be named in
   * `fixed`. Default: false.
   */
  readonly unrolled?: boolean;
  /**
   * Whether blocks are written as ONNX Runtime's own `MultiHeadAttention` where its kernel for CPUs takes memory that grows with the
   * length alone: those that stay exact, in float32, without a mask, a bias or causality, on keys that are computed. The report says
   * of the others why they are in standard operators. Such a file is for ONNX Runtime on CPUs: other engines lack the operator,
   * and in wasm it makes all scores at once. `'webgpu'` is refused with it. Default: false.
   */
  readonly contrib?: boolean;
  /** Bytes of one chunk's scores, which decide how many queries it has. Default: 32 MiB; 128 MiB for `'webgpu'`. */
  readonly chunkBytes?: number;
  /**
   * Extents of inputs that the file leaves open, by its names, but that the model takes at one value only, such as
   * `{ height: 224, width: 224 }`. The rewritten file may hold for these alone.
   */
  readonly fixed?: { readonly [name: string]: number };
  /** What `learnAxes` noted of the same model, with the same `fixed`, for values whose extents cannot be told without a run. */
  readonly learned?: LearnedAxes;
  /** Extents that the report's bytes are for. Default: 1 for names with "batch", 1,024 for others. */
  readonly at?: { readonly [name: string]: number };
  /** Fail if any attention block is left as it is, or anything that grows with the square of the length. Default: false. */
  readonly strict?: boolean;
}

export const anObject: OptionKind<{ readonly [name: string]: number }> = aValue<{
  readonly [name: string]: number;
}>('an object of extents', isObject);

/** What the options may hold. */
export const rewriteKinds: OptionKinds<RewriteOptions> = {
  attention: aValue("'exact' or { k }", (value) => value === 'exact' || isObject(value)),
  feedForward: aValue("'chunked' or { k, select }", (value) => value === 'chunked' || isObject(value)),
  maxLength: aNumber,
  target: oneOf('cpu', 'webgpu'),
  unrolled: aBoolean,
  contrib: aBoolean,
  chunkBytes: aNumber,
  fixed: anObject,
  learned: aValue('what learnAxes returned', isLearned),
  at: anObject,
  strict: aBoolean,
};

const attentionKinds: OptionKinds<{ readonly k: number }> = { k: checkedLater() };
const selectKinds: OptionKinds<{ readonly k: number; readonly select?: Selection }> = {
  k: checkedLater(),
  select: oneOf('magnitude', 'signed'),
};

/** More rows take more memory at once, and gain nothing on a CPU. */
const MOST_ROWS = { cpu: 256, webgpu: 1024 } as const;
/** 128 MiB is the largest buffer that every WebGPU device has. */
const CHUNK_BYTES = { cpu: 32 * 2 ** 20, webgpu: 128 * 2 ** 20 } as const;

/** How blocks and layers are built; no layers where they stay as they are. */
export interface Plan {
  readonly attention: BuildOptions;
  /** Whether blocks become ONNX Runtime's own operator where they fit it. */
  readonly isContrib: boolean;
  readonly feedForward: FeedForwardOptions | undefined;
}

/** @throws TopKError INVALID_OPTION, INVALID_K */
export function planOf({
  attention = 'exact',
  feedForward,
  maxLength,
  target = 'cpu',
  unrolled: isUnrolled = false,
  contrib: isContrib = false,
  chunkBytes: bytes = CHUNK_BYTES[target],
}: RewriteOptions): Plan {
  const k =
    attention === 'exact' ? undefined : readOptions('rewriteModel: attention', attention, attentionKinds).k;
  if (attention !== 'exact' && !isCount(k)) throw invalid('INVALID_K', 'attention.k', WHOLE, k);
  if (!isCount(bytes)) throw invalid('INVALID_OPTION', 'chunkBytes', WHOLE, bytes);
  if (maxLength !== undefined && !isCount(maxLength))
    throw invalid('INVALID_OPTION', 'maxLength', WHOLE, maxLength);
  if (isContrib && target !== 'cpu')
    throw invalid('INVALID_OPTION', 'contrib', `target 'cpu' with it`, target);
  const limits = { mostRows: MOST_ROWS[target], bytes };
  // How long a selection takes on a GPU was not measured, and its forms need branches.
  const how = { limits, isUnrolled, isPlain: target !== 'cpu' || isUnrolled };
  return {
    attention: { ...how, k, maxLength: maxLength ?? Number.POSITIVE_INFINITY },
    isContrib,
    feedForward: feedForward && { ...how, ...selectionOf(feedForward) },
  };
}

function selectionOf(
  feedForward: Exclude<RewriteOptions['feedForward'], undefined>,
): Pick<FeedForwardOptions, 'k' | 'select'> {
  if (feedForward === 'chunked') return { k: undefined, select: undefined };
  const { k, select } = readOptions('rewriteModel: feedForward', feedForward, selectKinds);
  if (!isCount(k)) throw invalid('INVALID_K', 'feedForward.k', WHOLE, k);
  return { k, select };
}

const WHOLE = 'a whole number of at least 1';

/** Extents by the names of those that a file leaves open. @throws TopKError INVALID_OPTION */
export function readExtents(
  option: string,
  given: { readonly [name: string]: number } = {},
  symbols: readonly string[],
): ReadonlyMap<string, number> {
  const entries = Object.entries(given);
  for (const [name, extent] of entries) {
    if (!symbols.includes(name)) {
      const names =
        symbols.length > 0 ? `names of open extents (${symbols.join(', ')})` : 'no names: none is open';
      throw invalid('INVALID_OPTION', option, names, name);
    }
    if (!isCount(extent)) throw invalid('INVALID_OPTION', `${option}.${name}`, WHOLE, extent);
  }
  return new Map(entries);
}

function isLearned(value: unknown): boolean {
  const { choices, observed } = (value ?? {}) as { readonly [key: string]: unknown };
  const isListOf = (list: unknown): boolean =>
    Array.isArray(list) && list.length === 2 && list.every((one) => one instanceof Map);
  return isListOf(choices) && isListOf(observed);
}

function isObject(value: unknown): boolean {
  return typeof value === 'object' && value !== null;
}

function isCount(value: unknown): boolean {
  return Number.isSafeInteger(value) && (value as number) >= 1;
}

function invalid(
  code: 'INVALID_OPTION' | 'INVALID_K',
  name: string,
  expected: string,
  got: unknown,
): TopKError {
  return new TopKError(code, `rewriteModel: bad ${name}`, { expected, got: String(got) });
}
