import { dataTypes } from '../../onnx/data-types.js';
import type { NodeProto } from '../../onnx/messages.js';
import type { Axes, Lengths } from '../extents/lengths.js';
import { nameOf, Refused } from '../find/block.js';
import { floatOf, intOf } from '../graph/attributes.js';
import type { GraphIndex } from '../graph/graph-index.js';
import { NodeWriter } from './node-writer.js';

/**
 * The operator Attention of set 23 as plain nodes, whose last has the operator's output; they are then found like those of
 * older exporters.
 *
 * @throws Refused for a past, a cache, scores as an output, and other options that exporters of models do not write.
 */
export function expandAttention(
  node: NodeProto,
  index: GraphIndex,
  lengths: Lengths,
  opset: number,
  prefix: string,
): readonly NodeProto[] {
  const [q = '', k = '', v = '', mask = '', ...others] = node.input;
  const given = (what: string): Refused =>
    new Refused('fused-operator', `Attention ${nameOf(node)} has ${what}`);
  if (others.some((name) => name !== '')) throw given('a past or lengths of its own');
  if (node.output.slice(1).some((name) => name !== '')) throw given('more than one output');
  if ((intOf(node, 'is_causal') ?? 0) !== 0) throw given('is_causal');
  if ((floatOf(node, 'softcap') ?? 0) !== 0) throw given('a softcap');
  if (intOf(node, 'softmax_precision') !== undefined) throw given('a precision of its softmax');
  const axesOf = (name: string): Axes => {
    const axes = lengths.axes(index.graph, name);
    if (axes === undefined) throw new Refused('unknown-extents', lengths.first.reason(index.graph, name));
    return axes;
  };
  const queries = axesOf(q);
  if (queries.type !== dataTypes.float) {
    throw new Refused(
      'element-type',
      `Attention ${nameOf(node)} has element type ${queries.type}, not float32`,
    );
  }
  const isFlat = queries.dims.length === 3;
  const heads = isFlat ? intOf(node, 'q_num_heads') : queries.dims[1];
  const keyHeads = isFlat ? intOf(node, 'kv_num_heads') : axesOf(k).dims[1];
  if (!heads || !keyHeads || heads % keyHeads !== 0) throw given(`${heads} heads and ${keyHeads} of keys`);
  const depth = (queries.dims.at(-1) as number) / (isFlat ? heads : 1);

  const writer = new NodeWriter(opset, prefix);
  const inHeads = (name: string, count: number): string => {
    if (!isFlat) return name;
    const split = writer.op('Reshape', [name, writer.i64([0, 0, count, -1])]);
    return writer.op('Transpose', [split], { perm: [0, 2, 1, 3] });
  };
  const repeated = (name: string): string =>
    heads === keyHeads ? name : emitRepeated(writer, name, keyHeads, heads / keyHeads);
  const scale = writer.f32(floatOf(node, 'scale') ?? 1 / Math.sqrt(depth));
  const scaled = writer.op('Mul', [inHeads(q, heads), scale]);
  const turned = writer.op('Transpose', [repeated(inHeads(k, keyHeads))], { perm: [0, 1, 3, 2] });
  let scores = writer.op('MatMul', [scaled, turned]);
  if (mask !== '') scores = writer.op('Add', [scores, emitBias(writer, mask, axesOf(mask).type)]);
  const weights = writer.op('Softmax', [scores], { axis: -1 });
  const values = repeated(inHeads(v, keyHeads));
  if (!isFlat) writer.opInto(node.output.slice(0, 1), 'MatMul', [weights, values]);
  else {
    const product = writer.op('Transpose', [writer.op('MatMul', [weights, values])], { perm: [0, 2, 1, 3] });
    writer.opInto(node.output.slice(0, 1), 'Reshape', [product, writer.i64([0, 0, -1])]);
  }
  return writer.nodes;
}

/** What is added to the scores: a mask of truth values hides with minus infinity. */
function emitBias(writer: NodeWriter, mask: string, type: number): string {
  if (type !== dataTypes.bool) return mask;
  return writer.op('Where', [mask, writer.f32(0), writer.f32(Number.NEGATIVE_INFINITY)]);
}

/** [B, heads, L, d] with every head `times` times. */
function emitRepeated(writer: NodeWriter, value: string, heads: number, times: number): string {
  const shape = writer.op('Shape', [value]);
  const [batch, rest] = [writer.pick(shape, [0]), writer.pick(shape, [2, 3])];
  const open = writer.unsqueeze(value, 2);
  const all = writer.op('Expand', [open, writer.concat([batch, writer.i64([heads, times]), rest])]);
  return writer.op('Reshape', [all, writer.concat([batch, writer.i64([heads * times]), rest])]);
}
