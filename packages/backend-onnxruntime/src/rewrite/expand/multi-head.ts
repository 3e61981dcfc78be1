import { dataTypes } from '../../onnx/data-types.js';
import type { NodeProto } from '../../onnx/messages.js';
import type { Lengths } from '../extents/lengths.js';
import { floatOf, intOf, operatorOf } from '../graph/attributes.js';
import { MULTI_HEAD } from '../graph/contrib.js';
import type { GraphIndex } from '../graph/graph-index.js';
import { emitMask, lowest } from './masks.js';
import {
  axesOf,
  causal,
  emitBlock,
  type Fused,
  fromHeads,
  number,
  refused,
  toHeads,
  typeOf,
  withPast,
} from './parts.js';

/** ONNX Runtime's mask value where a file gives none. */
const MASK_FILTER = -10_000;

/** com.microsoft.MultiHeadAttention: projected queries, keys and values of three axes, or keys and values in heads. */
export function expandMultiHead(fused: Fused): void {
  const { node, writer } = fused;
  const [q = '', k = '', v = '', bias = '', mask = '', added = '', pastKey = '', pastValue = '', ...others] =
    node.input;
  const [, presentKey = '', presentValue = '', ...more] = node.output;
  if (others.some((name) => name !== '')) throw refused(fused, 'a buffer for its past');
  if (more.some((name) => name !== '')) throw refused(fused, 'scores as an output');
  if (k === '' || v === '' || axesOf(fused, q).dims.length !== 3)
    throw refused(fused, 'packed queries, keys and values');
  const type = typeOf(fused);
  const heads = headsOf(fused);
  const width = axesOf(fused, q).dims.at(-1) as number;
  const keyRank = axesOf(fused, k).dims.length;
  if (keyRank > 4 || keyRank !== axesOf(fused, v).dims.length) throw refused(fused, 'packed keys and values');
  const valueWidth = axesOf(fused, v).dims.at(-1) as number;

  const biased = (name: string, from: number, to: number): string => {
    if (bias === '') return name;
    return writer.op('Add', [name, writer.part(bias, 0, from, to)]);
  };
  const inHeads = (name: string, from: number, to: number): string =>
    // Keys and values in heads are those of an encoder, kept from an earlier run, with their biases.
    keyRank === 4 ? name : toHeads(fused, biased(name, from, to), heads);
  const parts = {
    q: toHeads(fused, biased(q, 0, width), heads),
    k: withPast(fused, pastKey, inHeads(k, width, 2 * width), presentKey),
    v: withPast(fused, pastValue, inHeads(v, 2 * width, 2 * width + valueWidth), presentValue),
  };
  const past = pastKey === '' ? undefined : writer.extent(pastKey, 2);
  fromHeads(
    fused,
    emitBlock(
      fused,
      parts,
      scaleOf(fused, width / heads, type),
      biasesOf(fused, parts, mask, added, past, type),
    ),
  );
}

/**
 * Whether it is one that ONNX Runtime computes on a CPU without making all scores: in float32, with nothing but queries, keys,
 * values and their biases.
 */
export function isPlainMultiHead(node: NodeProto, { graph }: GraphIndex, lengths: Lengths): boolean {
  const [q = '', k = '', v = '', , ...others] = node.input;
  const [, ...more] = node.output;
  const queries = lengths.axes(graph, q);
  return (
    operatorOf(node) === MULTI_HEAD &&
    queries?.type === dataTypes.float &&
    queries.dims.length === 3 &&
    ![k, v].includes('') &&
    [...others, ...more].every((name) => name === '') &&
    (intOf(node, 'unidirectional') ?? 0) === 0
  );
}

export function headsOf({ node }: Fused): number {
  return intOf(node, 'num_heads') || 1;
}

export function scaleOf(fused: Fused, depth: number, type: number): string {
  return number(fused, floatOf(fused.node, 'scale') || 1 / Math.sqrt(depth), type);
}

/** What is added to the scores: a mask, later keys hidden, and a bias. */
export function biasesOf(
  fused: Fused,
  { q, k }: { readonly q: string; readonly k: string },
  mask: string,
  added: string,
  pastLength: string | undefined,
  type: number,
): readonly string[] {
  const { node, writer } = fused;
  const biases: string[] = [];
  if (mask !== '') {
    biases.push(emitMask(fused, mask, k, floatOf(node, 'mask_filter_value') ?? MASK_FILTER, type));
  }
  if ((intOf(node, 'unidirectional') ?? 0) !== 0) {
    const seen = causal(fused, q, k, pastLength);
    const hidden = number(fused, lowest(type), type);
    biases.push(writer.op('Where', [seen, biases.pop() ?? number(fused, 0, type), hidden]));
  }
  if (added !== '') biases.push(added);
  return biases;
}
