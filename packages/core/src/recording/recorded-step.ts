import { TopKError } from '../contract/errors.js';
import { aFunction, aNumber, anArray, type OptionKinds, readOptions } from '../tensor/read-options.js';
import type { Tree } from '../tensor/tree.js';
import { Recordings } from './recordings.js';
import type { RecordedStep, RecordedStepOptions, Step, StepCall, StepResult } from './step.js';

const optionKinds: OptionKinds<RecordedStepOptions> = { mostRecordings: aNumber };
const callKinds: OptionKinds<StepCall> = { seeds: aFunction(), statics: anArray() };

/**
 * Records a function of tensors and replays it: from the third call with the same shapes, dtypes and statics on, a
 * backend that can (WebGPU) submits the second call's commands again on the new values, without running the function;
 * the results have the same bits. On other backends, and if something cannot be recorded, the function runs.
 *
 * The function must do the same work whatever the values: numbers that change from call to call, such as a learning rate,
 * must come as tensors of `inputs`, and seeds from `seeds(path)`. Outside tensors that it uses are kept with the
 * recording; a replay does not notice if they are replaced.
 *
 * @example
 * const descend = recordedStep<{ x: Tensor }, { rate: Tensor }, { loss: Tensor }>(({ x }, { rate }) => {
 *   const { value, gradients } = valueAndGrad(({ x }: { x: Tensor }) => sum(mul(x, x)))({ x });
 *   return { state: { x: sub(x, mul(gradients.x, rate)) }, outputs: { loss: value } };
 * });
 * const rate = tensor(backend, [0.1], []);
 * let { state } = descend({ x: tensor(backend, [1, 2]) }, { rate });
 * ({ state } = descend(state, { rate }));
 * descend.dispose();
 */
export function recordedStep<State extends Tree, Inputs extends Tree, Outputs extends Tree>(
  step: Step<State, Inputs, Outputs>,
  options?: RecordedStepOptions,
): RecordedStep<State, Inputs, Outputs> {
  if (typeof step !== 'function') {
    throw new TopKError('INVALID_OPTION', 'recordedStep: bad step', {
      expected: 'a function of state and inputs',
      got: typeof step,
    });
  }
  const { mostRecordings = 4 } = readOptions('recordedStep', options, optionKinds);
  if (!Number.isSafeInteger(mostRecordings) || mostRecordings < 0) {
    throw new TopKError('INVALID_OPTION', 'recordedStep: bad mostRecordings', {
      expected: 'a whole number of at least 0',
      got: String(mostRecordings),
    });
  }
  const recordings = new Recordings(step, mostRecordings);
  const call = (state: State, inputs: Inputs, given?: StepCall): StepResult<State, Outputs> =>
    recordings.run(state, inputs, readOptions('recordedStep', given, callKinds));
  return Object.defineProperties(call, {
    counts: { get: () => recordings.counts },
    bytes: { get: () => recordings.bytes },
    refusal: { get: () => recordings.refusal },
    dispose: { value: () => recordings.dispose() },
  }) as RecordedStep<State, Inputs, Outputs>;
}
