import { dataTypes } from '../../onnx/data-types.js';
import { floatOf, intOf } from '../graph/attributes.js';
import {
  axesOf,
  causal,
  emitBlock,
  type Fused,
  fromHeads,
  number,
  refused,
  repeated,
  toHeads,
  typeOf,
  withPast,
} from './parts.js';

/** The operator Attention of set 23: queries, keys and values of 3 or 4 axes, with a mask, a past, and fewer heads of keys. */
export function expandAttention(fused: Fused): void {
  const { node, writer } = fused;
  const [q = '', k = '', v = '', mask = '', pastKey = '', pastValue = '', ...others] = node.input;
  const [output = '', presentKey = '', presentValue = '', ...more] = node.output;
  if (others.some((name) => name !== '')) throw refused(fused, 'lengths of its own');
  if (more.some((name) => name !== '')) throw refused(fused, 'scores as an output');
  if ((floatOf(node, 'softcap') ?? 0) !== 0) throw refused(fused, 'a softcap');
  if (intOf(node, 'softmax_precision') !== undefined) throw refused(fused, 'a precision of its softmax');
  const type = typeOf(fused);
  const { dims } = axesOf(fused, q);
  const isFlat = dims.length === 3;
  const heads = isFlat ? intOf(node, 'q_num_heads') : dims[1];
  const keyHeads = isFlat ? intOf(node, 'kv_num_heads') : axesOf(fused, k).dims[1];
  if (!heads || !keyHeads || heads % keyHeads !== 0)
    throw refused(fused, `${heads} heads and ${keyHeads} of keys`);
  const depth = (dims.at(-1) as number) / (isFlat ? heads : 1);
  const maskType = mask === '' ? 0 : axesOf(fused, mask).type;

  const inHeads = (name: string, count: number): string => (isFlat ? toHeads(fused, name, count) : name);
  const all = (past: string, name: string, present: string): string =>
    repeated(fused, withPast(fused, past, inHeads(name, keyHeads), present), keyHeads, heads / keyHeads);
  const parts = {
    q: inHeads(q, heads),
    k: all(pastKey, k, presentKey),
    v: all(pastValue, v, presentValue),
  };
  const biases: string[] = [];
  const hiding = (seen: string): string =>
    writer.op('Where', [seen, number(fused, 0, type), number(fused, Number.NEGATIVE_INFINITY, type)]);
  if ((intOf(node, 'is_causal') ?? 0) !== 0) {
    const past = pastKey === '' ? undefined : writer.extent(pastKey, 2);
    biases.push(hiding(causal(fused, parts.q, parts.k, past)));
  }
  if (mask !== '') biases.push(maskType === dataTypes.bool ? hiding(mask) : mask);
  const scale = number(fused, floatOf(node, 'scale') ?? 1 / Math.sqrt(depth), type);
  if (isFlat) fromHeads(fused, emitBlock(fused, parts, scale, biases));
  else emitBlock(fused, parts, scale, biases, output);
}
