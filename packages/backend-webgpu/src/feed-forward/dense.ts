import type { Activation } from '@topk-attention/core';
import type { ChosenFeedForward } from '@topk-attention/core/backend';
import { chooseProduct, launchProduct, productScratch } from '../primitives/matmul-choose.js';
import type { Operand } from '../primitives/matmul-product.js';
import type { Binding } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import { recordActivate } from './elementwise.js';
import type { Weights } from './operands.js';

/** Rows of a chunk: x [tokens, D], room for hidden units [tokens, F], out [tokens, Dout]; f32. */
interface DenseRows {
  readonly tokens: number;
  readonly x: Binding;
  readonly hidden: Binding;
  readonly gate?: Binding | undefined;
  readonly out: Binding;
}

/** The layer with all hidden units. Without a gate it is two launches: biases and activation belong to the products. */
export function recordDenseLayer(
  stream: Stream,
  request: ChosenFeedForward,
  { wIn, bIn, wGate, wOut, bOut }: Weights,
  { tokens, x, hidden, gate, out }: DenseRows,
): void {
  const { inputDim, hidden: units, outputDim, activation } = request;
  const product = (
    from: readonly [Binding, number],
    weight: Binding,
    to: readonly [Binding, number],
    bias: Binding | undefined,
    then?: Activation,
  ): void => {
    const operand = (binding: Binding, stride: number): Operand => ({ ...binding, batchStep: 0, stride });
    const [[a, inner], [c, columns]] = [from, to];
    launchProduct(stream, {
      ...{ dtype: 'f32', transposeA: false, transposeB: false, batch: 1, rows: tokens, inner, columns },
      ...{ a: operand(a, inner), b: operand(weight, columns), out: operand(c, columns) },
      ...((bias ?? then) !== undefined && { epilogue: { bias, activation: then } }),
    });
  };
  const isGated = wGate !== undefined && gate !== undefined;
  product([x, inputDim], wIn, [hidden, units], bIn, isGated ? undefined : activation);
  if (isGated) {
    product([x, inputDim], wGate, [gate, units], undefined);
    recordActivate(stream, tokens * units, activation, hidden, gate);
  }
  product([hidden, units], wOut, [out, outputDim], bOut);
}

/** Bytes of partial sums that its products keep. */
export function denseScratch(
  facts: Pick<DeviceFacts, 'isSoftware'>,
  { inputDim, hidden, outputDim }: ChosenFeedForward,
  tokens: number,
): number {
  const of = (inner: number, columns: number): number => {
    const sizes = { batch: 1, rows: tokens, inner, columns };
    return productScratch(chooseProduct(facts, sizes), sizes);
  };
  return Math.max(of(inputDim, hidden), of(hidden, outputDim));
}
