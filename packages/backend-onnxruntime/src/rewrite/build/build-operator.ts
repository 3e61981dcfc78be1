import { CONTRIB } from '../../onnx/contrib.js';
import type { NodeProto } from '../../onnx/messages.js';
import type { AttentionBlock } from '../find/block.js';
import type { OperatorBlock } from '../find/fit-operator.js';
import { NodeWriter } from './node-writer.js';

/**
 * ONNX Runtime's MultiHeadAttention in place of a block. It takes and gives tokens, [batch, L, heads * d]; the engine takes out
 * the transposes where the file has the opposite ones before and after.
 *
 * @param prefix For the names of the new values; no name of the file begins with it.
 */
export function buildOperator(
  block: AttentionBlock,
  { queries, keys, areKeysTurned, values, heads, depth, valueDepth, scale }: OperatorBlock,
  opset: number,
  prefix: string,
): readonly NodeProto[] {
  const writer = new NodeWriter(opset, prefix);
  const { output } = block.product;
  const operate = (outputs: readonly string[], inputs: readonly string[], num_heads: number): void =>
    writer.opInto(
      outputs,
      'MultiHeadAttention',
      inputs,
      { num_heads, scale: { float: scale } },
      CONTRIB.domain,
    );
  if (heads === undefined) {
    const turned = areKeysTurned ? writer.op('Transpose', [keys], { perm: [0, 2, 1] }) : keys;
    operate(output, [queries, turned, values], 1);
    return writer.nodes;
  }
  const tokens = (value: string, perm: readonly number[], width: number): string =>
    writer.op('Reshape', [writer.op('Transpose', [value], { perm }), writer.i64([0, 0, heads * width])]);
  const made = writer.name();
  const inputs = [
    tokens(queries, [0, 2, 1, 3], depth),
    tokens(keys, areKeysTurned ? [0, 3, 1, 2] : [0, 2, 1, 3], depth),
    tokens(values, [0, 2, 1, 3], valueDepth),
  ];
  operate([made], inputs, heads);
  const split = writer.op('Reshape', [made, writer.i64([0, 0, heads, valueDepth])]);
  writer.opInto(output, 'Transpose', [split], { perm: [0, 2, 1, 3] });
  return writer.nodes;
}
