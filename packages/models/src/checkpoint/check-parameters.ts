import { formatShape, type Tensor, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { ParameterSpec, ParameterTree } from '@topk-attention/nn';

/**
 * @param family for messages: 'T5'
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH for a tree that lacks a weight of the configuration.
 */
export function checkParameters(
  family: string,
  specs: readonly ParameterSpec[],
  parameters: ParameterTree,
): void {
  for (const { name, shape, transposed = false } of specs) {
    const own: Tensor | undefined = parameters[name];
    const expected = transposed ? [...shape].reverse() : shape;
    if (own === undefined) {
      throw new TopKError('MISSING_WEIGHT', `${family}: parameter ${name} is missing`, {
        expected: formatShape(expected),
        got: 'nothing',
        fix: 'Pass parameters that belong to the configuration, as loading them returns them',
      });
    }
    if (sameShape(own.shape, expected)) continue;
    throw new TopKError('SHAPE_MISMATCH', `${family}: parameter ${name} has the wrong shape`, {
      expected: formatShape(expected),
      got: formatShape(own.shape),
      fix: 'Pass parameters that belong to the configuration',
    });
  }
}
