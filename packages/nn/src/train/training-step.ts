import {
  type RecordedStep,
  recordedStep,
  type StepResult,
  scope,
  type Tensor,
  type Tree,
  tensor,
} from '@topk-attention/core';
import { requireTree } from '@topk-attention/core/backend';
import { backendOf, disposeParameters, type ParameterTree } from '../parameters.js';
import type { Standing } from './begin.js';
import { clipped, scaleTo } from './clip.js';
import { type StepGradients, stepGradients } from './gradients.js';
import { calledContext, type LossContext, recordedContext, recordedSeeds } from './loss.js';
import type { StepPlan } from './optimizers/optimizer.js';
import type { ReadTrainOptions } from './options.js';

export interface WeighedBatch<Batch> {
  readonly batch: Batch;
  /** Its weight in the mean over all batches of the step, such as its number of targets. */
  readonly weight: number;
}

/** What is read from a step. `squares` are those of the trainable parameters, in their order. */
export type StepOutputs = Pick<StepGradients, 'loss' | 'norm' | 'squares'>;

/** Trainable parameters, and the optimiser's state for them. */
type State = { readonly parameters: ParameterTree; readonly tensors: ParameterTree };

type StepInputs = {
  /** The optimiser's numbers for this step. */
  readonly numbers: Tensor;
  /** See `stepGradients`. */
  readonly weights: readonly Tensor[];
  /** Empty in a called step, whose batches are whatever the loss takes. */
  readonly batches: readonly Tree[];
};

type LossOf = (parameters: ParameterTree, index: number) => Tensor;

/** Makes the steps of a run: gradients, clipping, update. Recorded or called, a step is one function of tensors. */
export class TrainingStep<Batch, Inputs> {
  readonly #read: ReadTrainOptions<Batch, Inputs>;
  readonly #names: readonly string[];
  readonly #trainable: readonly string[];
  /** Names of the optimiser's state for them. */
  readonly #slots: readonly string[];
  /** A recording keeps these as they are, whereas inputs are copied in each step. */
  readonly #frozen: ParameterTree;
  readonly #recorded: RecordedStep<State, StepInputs, StepOutputs> | undefined;
  #numbersAt: StepPlan['numbersAt'] = {};

  constructor(read: ReadTrainOptions<Batch, Inputs>, { parameters, optimizer }: Standing) {
    this.#read = read;
    this.#names = Object.keys(parameters);
    const frozen = new Set(this.#names.filter((name) => !read.trainable(name)));
    this.#trainable = this.#names.filter((name) => !frozen.has(name));
    this.#frozen = pick(parameters, [...frozen]);
    // `<parameter>.<slot>`
    this.#slots = Object.keys(optimizer.tensors).filter(
      (slot) => !frozen.has(slot.slice(0, slot.lastIndexOf('.'))),
    );
    if (!read.recorded) return;
    this.#recorded = recordedStep(
      (state: State, inputs: StepInputs, seeds) => {
        const lossOf: LossOf = (p, index) =>
          this.#lossOf(p, inputs.batches[index] as Inputs, recordedContext(seeds, index));
        return this.#run(lossOf, state, inputs);
      },
      { mostRecordings: read.mostRecordings },
    );
  }

  /** Names of the parameters with a gradient, in the order of `squares`. */
  get trainable(): readonly string[] {
    return this.#trainable;
  }

  /** Makes the next step of a run, from its batches. The run's old parameters and state are freed. */
  make(now: Standing, batches: readonly WeighedBatch<Batch>[]): StepOutputs {
    const { optimizer, schedule, seed, tensorsOf } = this.#read;
    const plan = optimizer.plan(now.optimizer.steps, this.#trainable, schedule(now.step));
    this.#numbersAt = plan.numbersAt;
    const backend = backendOf(now.parameters);
    const total = batches.reduce((all, { weight }) => all + weight, 0);
    // The scope frees the inputs made here.
    const { state, outputs } = scope(() => {
      const given = batches.map(
        ({ batch }) => (tensorsOf === undefined ? batch : tensorsOf(batch)) as Inputs,
      );
      const numbers = tensor(backend, plan.numbers, [plan.numbers.length]);
      const weights =
        batches.length === 1 ? [] : batches.map(({ weight }) => tensor(backend, [weight / total], []));
      if (this.#recorded !== undefined) {
        return this.#recorded(
          this.#stateOf(now),
          { numbers, weights, batches: given.map(batchTree) },
          { seeds: recordedSeeds(seed, now.step), statics: Object.values(plan.numbersAt) },
        );
      }
      const called = recordedStep(
        (before: State, inputs: StepInputs) =>
          this.#run(
            (p, index) => this.#lossOf(p, given[index] as Inputs, calledContext(seed, now.step, index)),
            before,
            inputs,
          ),
        { mostRecordings: 0 },
      );
      return called(this.#stateOf(now), { numbers, weights, batches: [] });
    });
    now.parameters = { ...now.parameters, ...state.parameters };
    now.optimizer = { steps: plan.steps, tensors: { ...now.optimizer.tensors, ...state.tensors } };
    return outputs;
  }

  /** Frees the recordings. */
  dispose(): void {
    this.#recorded?.dispose();
  }

  #run(
    lossOf: LossOf,
    { parameters, tensors }: State,
    { numbers, weights }: StepInputs,
  ): StepResult<State, StepOutputs> {
    const { maxGradNorm, optimizer } = this.#read;
    return scope(() => {
      const { gradients, ...outputs } = stepGradients(lossOf, parameters, weights);
      let scaled = gradients;
      let scale: Tensor | undefined;
      if (maxGradNorm !== undefined && optimizer.takesScale === true) {
        scale = scaleTo(outputs.norm, maxGradNorm);
      } else if (maxGradNorm !== undefined) {
        scaled = clipped(gradients, outputs.norm, maxGradNorm);
        disposeParameters(gradients);
      }
      const plan = { numbersAt: this.#numbersAt };
      const next = optimizer.update(parameters, scaled, tensors, plan, numbers, scale);
      // In the order of the old state: a recorded step's state is positional.
      const state = {
        parameters: pick(next.parameters, this.#trainable),
        tensors: pick(next.tensors, this.#slots),
      };
      return { state, outputs };
    });
  }

  /** The loss of all parameters, in the caller's order. */
  #lossOf(trainable: ParameterTree, batch: Inputs, context: LossContext): Tensor {
    const all = this.#names.map((name) => [name, trainable[name] ?? this.#frozen[name]] as const);
    return this.#read.loss(Object.fromEntries(all) as ParameterTree, batch, context);
  }

  #stateOf({ parameters, optimizer }: Standing): State {
    return { parameters: pick(parameters, this.#trainable), tensors: pick(optimizer.tensors, this.#slots) };
  }
}

const pick = (tree: ParameterTree, names: readonly string[]): ParameterTree =>
  Object.fromEntries(names.map((name) => [name, tree[name] as Tensor]));

/** @throws TopKError INVALID_OPTION for a batch that holds anything but tensors. */
function batchTree(batch: unknown): Tree {
  const fix = 'Turn a batch into tensors in tensorsOf, or train without recorded';
  requireTree('train, in a recorded step', 'batch', batch, fix);
  return batch;
}
