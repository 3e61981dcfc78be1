import { type Backend, recordedStep, scope, type Tensor, tensor, valueAndGrad } from '@topk-attention/core';
import { adamW, disposeParameters, type ParameterTree } from '@topk-attention/nn';
import {
  type EncoderBatch,
  type EncoderSizes,
  encoderBatch,
  encoderLoss,
  encoderParameters,
} from './encoder.js';

/** Batches that a run repeats. */
const BATCHES = 4;

export interface TrainingOptions {
  /** Keys kept; undefined: exact attention. */
  readonly k: number | undefined;
  readonly rate: number;
  /** Whether steps are recorded and replayed, where the backend can. */
  readonly isRecorded: boolean;
}

/** A run of training steps, one after the other. */
export interface EncoderTraining {
  /** Makes the next step and returns its loss. `index` chooses the batch. Does not wait. */
  step(index: number): Tensor;
  /** The parameters and the optimiser's averages after the last step. */
  state(): readonly Tensor[];
  dispose(): void;
}

const batchIn = ({ ids, lengths, pooling, targets }: ParameterTree): EncoderBatch =>
  ({ ids, lengths, pooling, targets }) as EncoderBatch;

interface State {
  readonly [tree: string]: ParameterTree;
}

/** Training of the encoder with AdamW. */
export function encoderTraining(
  backend: Backend,
  sizes: EncoderSizes,
  { k, rate, isRecorded }: TrainingOptions,
): EncoderTraining {
  const batches = Array.from({ length: BATCHES }, (_, i) => encoderBatch(backend, sizes, i));
  const optimizer = adamW({ learningRate: rate });
  let parameters = encoderParameters(backend, sizes);
  const names = Object.keys(parameters);
  const init = optimizer.init(parameters);
  let [tensors, counts] = [init.tensors, init.steps];
  const { numbersAt } = optimizer.plan(counts, names);
  const train = recordedStep(
    (state: State, { batch, numbers }: { readonly batch: ParameterTree; readonly numbers: Tensor }) =>
      scope(() => {
        const given = state.parameters as ParameterTree;
        const loss = (p: ParameterTree): Tensor => encoderLoss(p, batchIn(batch), sizes, k);
        const { value, gradients } = valueAndGrad(loss)(given);
        const next = optimizer.update(
          given,
          gradients,
          state.tensors as ParameterTree,
          { numbersAt },
          numbers,
        );
        return { state: { ...next }, outputs: { loss: value } };
      }),
    { mostRecordings: isRecorded ? 1 : 0 },
  );
  return {
    step(index) {
      const plan = optimizer.plan(counts, names);
      counts = plan.steps;
      const numbers = tensor(backend, plan.numbers, [plan.numbers.length]);
      const batch = { ...(batches[index % BATCHES] as EncoderBatch) };
      const { state, outputs } = train({ parameters, tensors }, { batch, numbers });
      numbers.dispose();
      parameters = state.parameters as ParameterTree;
      tensors = state.tensors as ParameterTree;
      return outputs.loss;
    },
    state: () => [...Object.values(parameters), ...Object.values(tensors)],
    dispose() {
      train.dispose();
      disposeParameters(parameters);
      disposeParameters(tensors);
      for (const batch of batches) disposeParameters({ ...batch });
    },
  };
}
