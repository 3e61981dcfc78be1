import { emitActivation } from '../../emit/activation.js';
import type { GraphBuilder } from '../../onnx/graph-builder.js';
import type { ExportedFeedForward } from './exportable.js';
import { emitLinear, type Stack, widened } from './stack.js';

/**
 * The feed-forward layer of a sublayer on x [B, L, dModel], of the type of products, to f32. With k the other hidden units
 * are set to zero, and the product is over all of them: reading only the rows that count is slower for more than one token.
 */
export function emitFeedForward(
  stack: Stack,
  sublayer: string,
  x: string,
  choice: ExportedFeedForward,
): string {
  const { onnx, config } = stack;
  const name = (weight: string): string => `${sublayer}.DenseReluDense.${weight}.weight`;
  const inner = emitLinear(stack, x, name(config.gated ? 'wi_0' : 'wi'));
  let units = widened(stack, onnx, emitActivation(onnx, inner, config.activation));
  if (config.gated) {
    const gate = widened(stack, onnx, emitLinear(stack, x, name('wi_1')));
    units = onnx.op('Mul', [units, gate]);
  }
  const wOut = widened(stack, onnx, stack.weights.in(onnx, name('wo'), stack.type));
  if (choice !== 'exact' && choice.k < config.dFf) {
    const ranking =
      choice.select === 'contribution' ? emitContribution(onnx, units, wOut) : widened(stack, onnx, inner);
    units = emitKeptUnits(onnx, units, ranking, choice.k);
  }
  return onnx.op('MatMul', [units, wOut]);
}

/** How long the vector is that each unit adds to the output. */
function emitContribution(onnx: GraphBuilder, units: string, wOut: string): string {
  const squares = onnx.op('ReduceSumSquare', [wOut, onnx.i64([1])], { keepdims: 0 });
  return onnx.op('Mul', [onnx.op('Abs', [units]), onnx.op('Sqrt', [squares])]);
}

/** The units with the k largest rankings, and zeros in place of the others. */
function emitKeptUnits(onnx: GraphBuilder, units: string, ranking: string, k: number): string {
  const places = onnx.ops('TopK', [ranking, onnx.i64([k])], 2, { axis: -1, sorted: 0 })[1] as string;
  const kept = onnx.op('GatherElements', [units, places], { axis: -1 });
  const zeros = onnx.op('Expand', [onnx.f32(0), onnx.op('Shape', [units])]);
  return onnx.op('ScatterElements', [zeros, places, kept], { axis: -1 });
}
