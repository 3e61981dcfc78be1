import {
  aNumber,
  elementwiseProgram,
  mapElementsOfAll,
  type OptionKinds,
  ProgramNumbers,
  readOptions,
  scope,
  type Tensor,
  TopKError,
  tensor,
  terms,
} from '@topk-attention/core';
import { backendOf, type ParameterTree } from '../parameters.js';

export interface AverageOptions {
  /** Weight of the old average. Default 0.999. */
  readonly decay?: number;
}

const kinds: OptionKinds<AverageOptions> = { decay: aNumber };

/** Its output has the name of an input: a backend may lay the averages out for the next step. */
const program = elementwiseProgram(
  { inputs: ['average', 'parameter'], numbers: ['kept', 'fresh'] },
  ({ average, parameter, kept, fresh }) => ({
    average: terms.add(terms.mul(average, kept), terms.mul(parameter, fresh)),
  }),
);

/**
 * Exponential moving average of parameters: decay * average + (1 - decay) * parameters, f32; the first call, without an
 * average, copies. Evaluate with the average instead of the parameters. The caller disposes of the old average. `train`
 * does all of that with `averageDecay`.
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
  return scope(() => {
    const all = Object.entries(parameters);
    if (average === undefined) return Object.fromEntries(all.map(([name, one]) => [name, one.alias()]));
    const missing = all.find(([name]) => average[name] === undefined);
    if (missing !== undefined) {
      throw new TopKError('MISSING_WEIGHT', `averageParameters: no average of ${missing[0]}`, {
        expected: 'the names of the parameters',
        got: 'nothing',
      });
    }
    if (all.length === 0) return {};
    return averageBy(average, parameters, tensor(backendOf(parameters), averageNumbers(decay), [2]));
  });
}

/** What the old average and the parameters are multiplied by; in the first step it is a copy of these. */
export const averageNumbers = (decay: number, isFirst = false): readonly [number, number] =>
  isFirst ? [0, 1] : [decay, 1 - decay];

/**
 * The next average, in few launches.
 *
 * @param numbers `averageNumbers`, f32 [2]
 */
export function averageBy(average: ParameterTree, parameters: ParameterTree, numbers: Tensor): ParameterTree {
  const names = Object.keys(parameters);
  const pairs = names.map((name) => ({
    average: average[name] as Tensor,
    parameter: parameters[name] as Tensor,
  }));
  return scope(() => {
    const own = new ProgramNumbers(numbers);
    const made = mapElementsOfAll(program, pairs, own);
    own.dispose();
    return Object.fromEntries(names.map((name, at) => [name, (made[at] as { average: Tensor }).average]));
  });
}
