import {
  type Backend,
  cast,
  div,
  dryBackend,
  elementwiseProgram,
  mapElementsOfAll,
  planStep,
  recordedStep,
  scope,
  sumSquares,
  type Tensor,
  tensor,
  valueAndGrad,
  zeros,
} from '@topk-attention/core';
import {
  adamW,
  disposeParameters,
  type LossScaleState,
  lossScale,
  type ParameterTree,
} from '@topk-attention/nn';
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
  /** Whether the loss computes with parameters of f16. Default false. */
  readonly isMixed?: boolean;
  /** Whether blocks are run again in the backward pass. Default false. */
  readonly isRecomputed?: boolean;
}

/** A run of training steps, one after the other. */
export interface EncoderTraining {
  /** Makes the next step and returns its loss. `index` chooses the batch. Does not wait. */
  step(index: number): Tensor;
  /** The parameters and the optimiser's averages after the last step. */
  state(): readonly Tensor[];
  /** What `planStep` says of a step, beside the batches that wait for theirs. */
  planned(): ReturnType<typeof planStep>;
  dispose(): void;
}

const batchIn = ({ ids, lengths, pooling, targets }: ParameterTree): EncoderBatch =>
  ({ ids, lengths, pooling, targets }) as EncoderBatch;

const same = elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: x }));

function halvesOf(tree: ParameterTree): ParameterTree {
  const given = Object.values(tree).map((x) => ({ x }));
  const made = mapElementsOfAll(same, given, undefined, { dtype: 'f16' });
  return Object.fromEntries(Object.keys(tree).map((name, at) => [name, (made[at] as { y: Tensor }).y]));
}

interface State {
  readonly [tree: string]: ParameterTree;
}

interface Inputs {
  readonly [name: string]: ParameterTree | Tensor;
  readonly batch: ParameterTree;
  readonly numbers: Tensor;
}

/** Training of the encoder with AdamW. */
export function encoderTraining(
  backend: Backend,
  sizes: EncoderSizes,
  { k, rate, isRecorded, isMixed = false, isRecomputed = false }: TrainingOptions,
): EncoderTraining {
  const batches = Array.from({ length: BATCHES }, (_, i) => encoderBatch(backend, sizes, i));
  const optimizer = adamW({ learningRate: rate });
  let parameters = encoderParameters(backend, sizes);
  const names = Object.keys(parameters);
  const init = optimizer.init(parameters);
  let [tensors, counts] = [init.tensors, init.steps];
  const { numbersAt } = optimizer.plan(counts, names);
  const scaling = lossScale();
  let scale: ParameterTree = isMixed ? { ...scaling.stateOf(backend) } : {};
  const makeStep = (state: State, { batch, numbers }: Inputs) =>
    scope(() => {
      const given = state.parameters as ParameterTree;
      const before = state.tensors as ParameterTree;
      const loss = (p: ParameterTree): Tensor => encoderLoss(p, batchIn(batch), sizes, k, isRecomputed);
      if (!isMixed) {
        const { value, gradients } = valueAndGrad(loss)(given);
        const next = optimizer.update(given, gradients, before, { numbersAt }, numbers);
        return { state: { ...next, scale: {} } as State, outputs: { loss: value } };
      }
      // As nn's `train` makes them.
      const scale = state.scale as LossScaleState;
      const halves = halvesOf(given);
      const { value, gradients } = valueAndGrad((p: ParameterTree) => scaling.scaled(loss(p), scale))(halves);
      disposeParameters(halves);
      const isFinite = scaling.isFinite(sumSquares(Object.values(gradients)).norm);
      const factors = [div(1, scale.scale), cast(isFinite, 'f32')] as const;
      const next = optimizer.update(given, gradients, before, { numbersAt }, numbers, ...factors);
      disposeParameters(gradients);
      return {
        state: { ...next, scale: { ...scaling.next(scale, isFinite) } } as State,
        outputs: { loss: div(value, scale.scale) },
      };
    });
  const train = recordedStep(makeStep, { mostRecordings: isRecorded ? 1 : 0 });
  return {
    step(index) {
      const plan = optimizer.plan(counts, names);
      counts = plan.steps;
      const numbers = tensor(backend, plan.numbers, [plan.numbers.length]);
      const batch = { ...(batches[index % BATCHES] as EncoderBatch) };
      const { state, outputs } = train({ parameters, tensors, scale }, { batch, numbers });
      numbers.dispose();
      parameters = state.parameters as ParameterTree;
      tensors = state.tensors as ParameterTree;
      scale = state.scale as ParameterTree;
      return outputs.loss;
    },
    state: () => [...Object.values(parameters), ...Object.values(tensors), ...Object.values(scale)],
    planned() {
      const elsewhere = dryBackend(backend);
      const waiting = batches.slice(1).map((_, at) => encoderBatch(elsewhere, sizes, at + 1));
      const heldBytes = elsewhere.memory().peak ?? 0;
      for (const batch of waiting) disposeParameters({ ...batch });
      return planStep(
        backend,
        makeStep,
        { parameters, tensors, scale },
        {
          batch: { ...(batches[0] as EncoderBatch) },
          numbers: zeros(dryBackend(backend), [optimizer.plan(counts, names).numbers.length]),
        },
        { recorded: isRecorded, heldBytes },
      );
    },
    dispose() {
      train.dispose();
      disposeParameters(parameters);
      disposeParameters(tensors);
      disposeParameters(scale);
      for (const batch of batches) disposeParameters({ ...batch });
    },
  };
}
