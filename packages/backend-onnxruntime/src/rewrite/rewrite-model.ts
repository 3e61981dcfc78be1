import {
  aBoolean,
  aNumber,
  aValue,
  type OptionKinds,
  oneOf,
  readOptions,
  sizeOf,
  TopKError,
} from '@topk-attention/core';
import type { GraphProto, ModelProto } from '../onnx/messages.js';
import { decodeModel } from '../onnx/read-model.js';
import { encodeModel } from '../onnx/write-model.js';
import type { BuildOptions } from './build/build-attention.js';
import { MOST_ROWS } from './build/chunk.js';
import { checkOrder } from './extents/check-order.js';
import { opsetOf } from './extents/evaluate.js';
import { Lengths } from './extents/lengths.js';
import type { View } from './extents/settle.js';
import { type Extents, symbolsOf } from './extents/symbols.js';
import { nameOf } from './find/block.js';
import { inOrder } from './graph/in-order.js';
import { allNames, withoutDead } from './graph/live.js';
import { leftOver } from './left-over.js';
import type { BlockReport, RewriteReport } from './report.js';
import { Expansion, type Outcome, Rewriting } from './rewrite-graph.js';

/** How a model is rewritten. */
export interface RewriteOptions {
  /**
   * `'exact'` computes the same function in chunks of queries; `{ k }` keeps the k best keys of each query as well.
   * Default: `'exact'`.
   */
  readonly attention?: 'exact' | { readonly k: number };
  /**
   * `'chunked'` computes feed-forward layers in chunks of tokens, so that their wide middle is never whole. The function stays the
   * same. Default: they are left as they are.
   */
  readonly feedForward?: 'chunked';
  /** Bytes of one chunk's scores, which decide how many queries it has (256 at most). Default: 32 MiB. */
  readonly chunkBytes?: number;
  /**
   * Extents of inputs that the file leaves open, by its names, but that the model takes at one value only, such as
   * `{ height: 224, width: 224 }`. The rewritten file may hold for these alone.
   */
  readonly fixed?: { readonly [name: string]: number };
  /** Extents that the report's bytes are for. Default: 1 for names with "batch", 1,024 for others. */
  readonly at?: { readonly [name: string]: number };
  /** Fail if any attention block is left as it is, or anything that grows with the square of the length. Default: false. */
  readonly strict?: boolean;
}

export interface RewrittenModel {
  readonly model: Uint8Array;
  readonly report: RewriteReport;
}

const anObject = aValue<{ readonly [name: string]: number }>(
  'an object of extents',
  (value) => typeof value === 'object' && value !== null,
);

/** What the options may hold. */
export const rewriteKinds: OptionKinds<RewriteOptions> = {
  attention: aValue(
    "'exact' or { k }",
    (value) => value === 'exact' || (typeof value === 'object' && value !== null),
  ),
  chunkBytes: aNumber,
  feedForward: oneOf('chunked'),
  fixed: anObject,
  at: anObject,
  strict: aBoolean,
};

const DEFAULT_CHUNK_BYTES = 32 * 2 ** 20;
/** The oldest operators that the written nodes can be made of. */
const OLDEST_OPSET = 9;

/**
 * Rewrites the attention blocks of an ONNX model into loops over chunks of queries, so that memory grows with the length and
 * not with its square. Inputs, outputs and weights stay. What is not understood stays as it is; the report says why.
 *
 * @param bytes A model's file. Weights in other files stay there.
 * @throws TopKError INVALID_OPTION; FILE_TRUNCATED and FILE_CORRUPT for files that are no models; UNSUPPORTED for operator sets
 * before 9 and, with `strict`, for anything that is left.
 */
export function rewriteModel(bytes: Uint8Array, options?: RewriteOptions): RewrittenModel {
  const given = readOptions('rewriteModel', options, rewriteKinds);
  return rewriteDecoded(decodeModel(bytes), 'model', given);
}

/**
 * The same for a model that has been read.
 *
 * @param source Its name in error messages.
 */
export function rewriteDecoded(decoded: ModelProto, source: string, given: RewriteOptions): RewrittenModel {
  const { attention = 'exact', chunkBytes = DEFAULT_CHUNK_BYTES, strict = false } = given;
  const k = attention === 'exact' ? undefined : attention.k;
  if (attention !== 'exact' && !isCount(k)) throw invalid('INVALID_K', 'attention.k', WHOLE, k);
  if (!isCount(chunkBytes)) throw invalid('INVALID_OPTION', 'chunkBytes', WHOLE, chunkBytes);
  const graph = inOrder(decoded.graph as GraphProto, source);
  checkOrder(graph, source);
  const model: ModelProto = { ...decoded, graph };
  const opset = opsetOf(model);
  if (opset < OLDEST_OPSET) {
    throw new TopKError('UNSUPPORTED', 'rewriteModel: the operator set is too old', {
      expected: `${OLDEST_OPSET} or later`,
      got: `${opset}`,
      fix: 'Export the model again, or convert it with onnx.version_converter',
    });
  }
  const symbols = symbolsOf(model);
  const fixed = readExtents('fixed', given.fixed, symbols);
  const wanted = readExtents('at', given.at, symbols);
  const prefix = freshPrefix(graph);
  const build = { k, chunkBytes, chunksFeedForward: given.feedForward === 'chunked' };
  const standard = (name: string): number => (/batch/i.test(name) ? 1 : 1024);
  const at = new Map(symbols.map((name) => [name, wanted.get(name) ?? fixed.get(name) ?? standard(name)]));
  const { lengths, made, rewriting, outcomes } = rewriteBlocks(model, { fixed, at }, build, prefix);
  const rewritten: ModelProto = { ...model, graph: made === graph ? graph : withoutDead(made, graph) };
  const report: RewriteReport = {
    producer: [model.producerName, model.producerVersion].filter(Boolean).join(' '),
    opset,
    attention,
    blocks: outcomes.map((outcome) => reportOf(outcome, lengths.reported, k, chunkBytes)),
    feedForwards: rewriting.feedForwards.map(({ second, hidden }) => ({ name: nameOf(second), hidden })),
    otherSoftmaxes: rewriting.otherSoftmaxes,
    left: leftOver(rewritten, fixed, outcomes, prefix, at),
    extents: Object.fromEntries(at),
  };
  if (strict) checkNothingLeft(report);
  return { model: encodeModel(rewritten), report };
}

interface Rewritten {
  /** Of the model with operators for whole blocks as plain nodes, whose graphs blocks were found in. */
  readonly lengths: Lengths;
  readonly made: GraphProto;
  readonly rewriting: Rewriting;
  readonly outcomes: readonly Outcome[];
}

/** An operator for a whole block whose block is refused in the end is left as it is: the work is done again without it. */
function rewriteBlocks(
  model: ModelProto,
  extents: { readonly fixed: Extents; readonly at: Extents },
  { k, chunkBytes, chunksFeedForward }: BuildOptions & { readonly chunksFeedForward: boolean },
  prefix: string,
  refused: readonly Outcome[] = [],
): Rewritten {
  const opset = opsetOf(model);
  const names = new Set(refused.map(({ name }) => name));
  const original = new Lengths(model, extents.fixed, extents.at);
  const expansion = new Expansion(original, opset, prefix, names);
  const expanded: ModelProto = { ...model, graph: expansion.graph(model.graph as GraphProto) };
  const lengths =
    expanded.graph === model.graph ? original : new Lengths(expanded, extents.fixed, extents.at);
  const options = { k, chunkBytes };
  const rewriting = new Rewriting(lengths, opset, options, chunksFeedForward, prefix, expansion.softmaxes);
  const made = rewriting.graph(expanded.graph as GraphProto);
  const operators = new Set([...expansion.softmaxes.values()].map(nameOf));
  const failed = rewriting.outcomes.filter((outcome) => outcome.refused && operators.has(outcome.name));
  if (failed.length > 0) {
    return rewriteBlocks(model, extents, { k, chunkBytes, chunksFeedForward }, prefix, [
      ...refused,
      ...failed,
    ]);
  }
  return { lengths, made, rewriting, outcomes: [...refused, ...expansion.outcomes, ...rewriting.outcomes] };
}

const WHOLE = 'a whole number of at least 1';

function readExtents(
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

/** A prefix that no value of the file has. */
function freshPrefix(graph: GraphProto): string {
  const taken = new Set([...allNames(graph)].map((name) => name.slice(0, name.indexOf('/') + 1)));
  for (let count = 0; ; count++) {
    const prefix = count === 0 ? 'topk/' : `topk${count}/`;
    if (!taken.has(prefix)) return prefix;
  }
}

function reportOf(
  { name, form, block, refused }: Outcome,
  view: View,
  k: number | undefined,
  chunkBytes: number,
): BlockReport {
  if (refused !== undefined)
    return { name, form, result: 'refused', code: refused.code, reason: refused.message };
  const result = k === undefined ? 'exact' : 'top-k';
  const dims = block && view.known(block.index.graph, block.softmax.output[0] as string)?.dims;
  const value = block && view.known(block.index.graph, block.product.input[1] as string)?.dims;
  if (dims === undefined || value === undefined) return { name, form, result };
  const [rows, keys] = dims.slice(-2) as [number, number];
  const heads = sizeOf(dims.slice(0, -2));
  const gathered = k === undefined ? 0 : Math.min(k, keys) * (value.at(-1) as number);
  const fitting = Math.floor(chunkBytes / (4 * heads * (keys + gathered)));
  const chunk = Math.min(rows, MOST_ROWS, Math.max(1, fitting));
  const bytes = {
    before: 2 * 4 * heads * rows * keys,
    after: 4 * heads * chunk * (2 * keys + gathered),
  };
  return { name, form, result, bytes };
}

function checkNothingLeft({ blocks, left }: RewriteReport): void {
  const refused = blocks.filter(({ result }) => result === 'refused');
  if (refused.length === 0 && left.length === 0) return;
  const got = [
    ...refused.map(({ name, code, reason }) => `${name} (${code}: ${reason})`),
    ...left.map(({ name, operator }) => `${operator} ${name}`),
  ];
  throw new TopKError('UNSUPPORTED', 'rewriteModel: not everything can be rewritten', {
    expected: 'nothing that grows with the square of the length',
    got: got.join('; '),
    fix: 'Leave out strict to rewrite the rest',
  });
}
