import { add, aNumber, mul, type OptionKinds, readOptions, scope, TopKError } from '@topk-attention/core';
import type { ParameterTree } from '../parameters.js';

export interface AverageOptions {
  /** Weight of the old average. Default 0.999. */
  readonly decay?: number;
}

const kinds: OptionKinds<AverageOptions> = { decay: aNumber };

/**
 * Exponential moving average of parameters: decay * average + (1 - decay) * parameters; the first call, without an
 * average, copies. Evaluate with the average instead of the parameters. The caller disposes of the old average.
 *
 * @throws TopKError INVALID_OPTION, MISSING_WEIGHT if the average belongs to other parameters.
 */
export function averageParameters(
  average: ParameterTree | undefined,
  parameters: ParameterTree,
  options?: AverageOptions,
): ParameterTree {
  const { decay = 0.999 } = readOptions('averageParameters', options, kinds);
  if (!(decay >= 0 && decay <= 1)) {
    throw new TopKError('INVALID_OPTION', 'averageParameters: bad decay', {
      expected: 'a number from 0 to 1',
      got: String(decay),
    });
  }
  return scope(() =>
    Object.fromEntries(
      Object.entries(parameters).map(([name, parameter]) => {
        if (average === undefined) return [name, parameter.alias()];
        const before = average[name];
        if (before === undefined) {
          throw new TopKError('MISSING_WEIGHT', `averageParameters: no average of ${name}`, {
            expected: 'the names of the parameters',
            got: 'nothing',
          });
        }
        return [name, scope(() => add(mul(before, decay), mul(parameter, 1 - decay)))];
      }),
    ),
  );
}
