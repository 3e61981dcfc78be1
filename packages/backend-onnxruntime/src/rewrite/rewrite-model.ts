import { readOptions, sizeOf, TopKError } from '@topk-attention/core';
import type { GraphProto, ModelProto } from '../onnx/messages.js';
import { decodeModel } from '../onnx/read-model.js';
import { encodeModel } from '../onnx/write-model.js';
import { type BuildOptions, keptOf } from './build/build-attention.js';
import { evenRows, fittingRows } from './build/chunk.js';
import { MOST_COPIES } from './build/loop.js';
import { checkOrder } from './extents/check-order.js';
import { opsetOf } from './extents/evaluate.js';
import { choicesOf, type LearnedAxes, Lengths } from './extents/lengths.js';
import type { View } from './extents/settle.js';
import { type Extents, symbolsOf } from './extents/symbols.js';
import { bytesOf, type ModelBytes } from './files/model-bytes.js';
import { nameOf } from './find/block.js';
import { withContrib } from './graph/contrib.js';
import { inOrder } from './graph/in-order.js';
import { allNames, withoutDead } from './graph/live.js';
import { leftOver } from './left-over.js';
import { type Plan, planOf, type RewriteOptions, readExtents, rewriteKinds } from './options.js';
import type { BlockReport, FeedForwardReport, RewriteReport } from './report.js';
import { Expansion, type FoundFeedForward, type Outcome, Rewriting } from './rewrite-graph.js';

export interface RewrittenModel {
  readonly model: Uint8Array;
  readonly report: RewriteReport;
}

/** The oldest operators that the written nodes can be made of. */
const OLDEST_OPSET = 9;

/**
 * Rewrites the attention blocks of an ONNX model into loops over chunks of queries, so that memory grows with the length and
 * not with its square. Inputs, outputs and weights stay. What is not understood stays as it is; the report says why.
 *
 * @param bytes A model's file. Weights in other files stay there.
 * @throws TopKError INVALID_OPTION; FILE_TRUNCATED and FILE_CORRUPT for files that are no models; UNSUPPORTED for operator sets
 * before 9, for a model that is rewritten already and, with `strict`, for anything that is left.
 */
export function rewriteModel(bytes: ModelBytes, options?: RewriteOptions): RewrittenModel {
  const given = readOptions('rewriteModel', options, rewriteKinds);
  const { model, report } = rewriteDecoded(decodeModel(bytesOf('rewriteModel', bytes)), 'model', given);
  return { model: encodeModel(model), report };
}

/**
 * The same for a model that has been read.
 *
 * @param source Its name in error messages.
 */
export function rewriteDecoded(
  decoded: ModelProto,
  source: string,
  given: RewriteOptions,
): { readonly model: ModelProto; readonly report: RewriteReport } {
  const {
    attention = 'exact',
    feedForward,
    unrolled = false,
    contrib = false,
    strict = false,
    learned,
  } = given;
  const plan = planOf(given);
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
  if (learned !== undefined) checkLearned(learned, choicesOf(symbols, fixed));
  const wanted = readExtents('at', given.at, symbols);
  const names = allNames(graph);
  checkOriginal(names, source);
  const prefix = freshPrefix(names);
  const standard = (name: string): number => (/batch/i.test(name) ? 1 : 1024);
  const at = new Map(symbols.map((name) => [name, wanted.get(name) ?? fixed.get(name) ?? standard(name)]));
  const extents = { fixed, at, learned };
  const { lengths, made, rewriting, outcomes } = rewriteBlocks(model, extents, plan, prefix);
  const lean: ModelProto = { ...model, graph: made === graph ? graph : withoutDead(made, graph) };
  const isContrib = outcomes.some((outcome) => outcome.contrib && 'operator' in outcome.contrib);
  const rewritten = isContrib ? withContrib(lean) : lean;
  const report: RewriteReport = {
    producer: [model.producerName, model.producerVersion].filter(Boolean).join(' '),
    opset,
    ...{ attention, ...(feedForward !== undefined && { feedForward }), unrolled, contrib },
    blocks: outcomes.map((outcome) => reportOf(outcome, lengths.reported, plan.attention)),
    feedForwards: rewriting.feedForwards.map(feedForwardReportOf),
    otherSoftmaxes: rewriting.otherSoftmaxes,
    left: leftOver(lengths.reported, new Lengths(rewritten, fixed, at, learned), outcomes, prefix),
    extents: Object.fromEntries(at),
  };
  if (strict) checkNothingLeft(report);
  return { model: rewritten, report };
}

/** What the caller says of extents, and extents that reports are for. */
interface KnownExtents {
  readonly fixed: Extents;
  readonly at: Extents;
  readonly learned: LearnedAxes | undefined;
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
  { fixed, at, learned }: KnownExtents,
  plan: Plan,
  prefix: string,
): Rewritten {
  const opset = opsetOf(model);
  const original = new Lengths(model, fixed, at, learned);
  const refused: Outcome[] = [];
  for (;;) {
    const operators = new Set(refused.flatMap(({ operator }) => operator ?? []));
    const keepsPlain = plan.isContrib && plan.attention.k === undefined;
    const expansion = new Expansion(original, opset, prefix, operators, keepsPlain);
    const expanded: ModelProto = { ...model, graph: expansion.graph(model.graph as GraphProto) };
    const isSame = expanded.graph === model.graph;
    const lengths = isSame ? original : new Lengths(expanded, fixed, at, learned);
    const rewriting = new Rewriting(lengths, opset, plan, prefix, expansion.softmaxes);
    const made = rewriting.graph(expanded.graph as GraphProto);
    const failed = rewriting.outcomes.filter((outcome) => outcome.refused && outcome.operator);
    if (failed.length === 0) {
      const outcomes = [...refused, ...expansion.outcomes, ...rewriting.outcomes];
      return { lengths, made, rewriting, outcomes };
    }
    refused.push(...failed);
  }
}

function checkLearned({ choices }: LearnedAxes, wanted: LearnedAxes['choices']): void {
  const told = (all: LearnedAxes['choices']): string => JSON.stringify(Array.from(all, (one) => [...one]));
  if (told(choices) === told(wanted)) return;
  throw new TopKError(
    'INVALID_OPTION',
    'rewriteModel: learned is from another model or other fixed extents',
    {
      expected: told(wanted),
      got: told(choices),
      fix: 'Call learnAxes with the same bytes and fixed',
    },
  );
}

/** Names that a rewriting gives to its values: blocks by number, and letters for what belongs to them. */
const WRITTEN_HERE = /^topk\d*\/[afs]?\d+\//;

/** A second time, loops would be put into loops, and what is found is not the model's own. */
function checkOriginal(names: ReadonlySet<string>, source: string): void {
  const [written] = [...names].filter((name) => WRITTEN_HERE.test(name));
  if (written === undefined) return;
  throw new TopKError('UNSUPPORTED', `rewriteModel: ${source} is rewritten already`, {
    expected: 'a model as its exporter wrote it',
    got: `the value ${written} of an earlier rewriting`,
    fix: 'Rewrite the original file, with all options at once',
  });
}

/** A prefix that no value of the file has. */
function freshPrefix(names: ReadonlySet<string>): string {
  const taken = new Set([...names].map((name) => name.slice(0, name.indexOf('/') + 1)));
  for (let count = 0; ; count++) {
    const prefix = count === 0 ? 'topk/' : `topk${count}/`;
    if (!taken.has(prefix)) return prefix;
  }
}

function feedForwardReportOf(found: FoundFeedForward): FeedForwardReport {
  const { block, place, kept, reason, isRefused } = found;
  const named = { name: nameOf(block.second), ...(place !== undefined && { place }), hidden: block.hidden };
  if (isRefused) {
    const why = `unrolled: the number of tokens is open, or it would take more than ${MOST_COPIES} copies`;
    return { ...named, result: 'refused', reason: why };
  }
  const result = kept === undefined ? 'chunked' : 'top-k';
  return { ...named, result, ...kept, ...(reason !== undefined && { reason }) };
}

function reportOf(outcome: Outcome, view: View, options: BuildOptions): BlockReport {
  const { place, block, refused, contrib } = outcome;
  const named = { name: outcome.name, ...(place !== undefined && { place }), form: outcome.form };
  if (refused !== undefined)
    return { ...named, result: 'refused', code: refused.code, reason: refused.message };
  const k = block && keptOf(block, options);
  const result = k === undefined ? 'exact' : 'top-k';
  const isOperator = contrib !== undefined && 'operator' in contrib;
  const done = { ...named, result, ...(contrib && { contrib }) } as const;
  const dims = block && view.known(block.index.graph, block.softmax.output[0] as string)?.dims;
  const value = block && view.known(block.index.graph, block.product.input[1] as string)?.dims;
  if (dims === undefined || value === undefined) return done;
  const [rows, keys] = dims.slice(-2) as [number, number];
  const heads = sizeOf(dims.slice(0, -2));
  const before = 2 * 4 * heads * rows * keys;
  if (isOperator) return { ...done, bytes: { before, after: 0 } };
  const gathered = k === undefined ? 0 : Math.min(k, keys) * (value.at(-1) as number);
  const chunk = evenRows(rows, fittingRows(options.limits, 4 * heads * (keys + gathered)));
  const after = 4 * heads * chunk * (2 * keys + gathered);
  return { ...done, chunk, bytes: { before, after } };
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
