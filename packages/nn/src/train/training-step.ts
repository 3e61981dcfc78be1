import {
  cast,
  div,
  formatBytes,
  formatShape,
  planStep,
  type RecordedStep,
  recordedStep,
  type StepCall,
  type StepResult,
  type StepSeeds,
  scope,
  Tensor,
  TopKError,
  type Tree,
  tensor,
} from '@topk-attention/core';
import { requireTree } from '@topk-attention/core/backend';
import { castTree } from '../cast-all.js';
import { backendOf, disposeParameters, type ParameterTree } from '../parameters.js';
import { averageNumbers } from './average.js';
import { nextAverage } from './average-of-step.js';
import type { Standing } from './begin.js';
import { scaleTo } from './clip.js';
import { type StepGradients, stepGradients } from './gradients.js';
import { LAG } from './lag.js';
import { calledContext, type LossContext, recordedContext, recordedSeeds } from './loss.js';
import type { LossScaleState } from './loss-scale.js';
import { mixedGradients, numbersNow } from './mixed.js';
import type { StepPlan } from './optimizers/optimizer.js';
import type { ReadTrainOptions } from './options.js';
import { canRefrain, updateScaled } from './update-scaled.js';

export interface WeighedBatch<Batch> {
  readonly batch: Batch;
  /** Its weight in the mean over all batches of the step, such as its number of targets. */
  readonly weight: number;
}

/** What is read from a step. `squares` are those of the trainable parameters, in their order. */
export type StepOutputs = Pick<StepGradients, 'loss' | 'norm' | 'squares'>;

/** Trainable parameters, the optimiser's state for them, and the loss scale, if there is one. */
type State = {
  readonly parameters: ParameterTree;
  readonly tensors: ParameterTree;
  readonly scaling: ParameterTree;
  /** Empty in a run that keeps none. */
  readonly average: ParameterTree;
};

type StepInputs = {
  /**
   * The optimiser's numbers for this step, [n]. With a loss scale [1, LAG + 1, n]: if none of the steps whose outcome is
   * not known yet was skipped, if one was, and so on.
   */
  readonly numbers: Tensor;
  /** With a loss scale: steps known to be skipped, f32 []. */
  readonly skipped: readonly Tensor[];
  /**
   * For a run that keeps an average its `averageNumbers`, as many rows as `numbers` has; with a loss scale followed by those
   * of a skipped step, f32 [2].
   */
  readonly averaging: readonly Tensor[];
  /** See `stepGradients`. */
  readonly weights: readonly Tensor[];
  /** Empty in a called step, whose batches are whatever the loss takes. */
  readonly batches: readonly Tree[];
};

type Frozen = { readonly frozen: ParameterTree };

type LossOf = (parameters: ParameterTree, index: number) => Tensor;

/** Makes the steps of a run: gradients, clipping, update. Recorded or called, a step is one function of tensors. */
export class TrainingStep<Batch, Inputs> {
  readonly #read: ReadTrainOptions<Batch, Inputs>;
  readonly #names: readonly string[];
  readonly #trainable: readonly string[];
  /** Names of the optimiser's state for them. */
  readonly #slots: readonly string[];
  /** As the loss gets them. A recording keeps these as they are, whereas inputs are copied in each step. */
  readonly #frozen: ParameterTree;
  readonly #recorded: RecordedStep<State, StepInputs, StepOutputs> | undefined;
  #numbersAt: StepPlan['numbersAt'] = {};
  /** Shapes of batches whose step is known to fit. */
  readonly #fitting = new Set<string>();

  constructor(read: ReadTrainOptions<Batch, Inputs>, { parameters, optimizer }: Standing) {
    this.#read = read;
    this.#names = Object.keys(parameters);
    const frozen = new Set(this.#names.filter((name) => !read.trainable(name)));
    this.#trainable = this.#names.filter((name) => !frozen.has(name));
    const others = pick(parameters, [...frozen]);
    this.#frozen = read.precision === 'mixed' ? castTree(others, 'f16') : others;
    // `<parameter>.<slot>`
    this.#slots = Object.keys(optimizer.tensors).filter(
      (slot) => !frozen.has(slot.slice(0, slot.lastIndexOf('.'))),
    );
    if (!read.recorded) return;
    this.#recorded = recordedStep(
      (state: State, inputs: StepInputs, seeds) => {
        const lossOf: LossOf = (p, index) =>
          this.#lossOf(p, this.#frozen, inputs.batches[index] as Inputs, recordedContext(seeds, index));
        return this.#run(lossOf, state, inputs);
      },
      { mostRecordings: read.mostRecordings },
    );
  }

  /** Names of the parameters with a gradient, in the order of `squares`. */
  get trainable(): readonly string[] {
    return this.#trainable;
  }

  /**
   * Makes the next step of a run, from its batches. The run's old parameters and state are freed.
   *
   * @param unsettled steps before whose outcome is not known yet, at most LAG
   */
  make(now: Standing, batches: readonly WeighedBatch<Batch>[], unsettled: number): StepOutputs {
    const { seed, tensorsOf } = this.#read;
    const skips = skipsOf(now, unsettled);
    const plans = this.#plansOf(now, skips);
    const [plan] = plans as [StepPlan];
    this.#numbersAt = plan.numbersAt;
    const backend = backendOf(now.parameters);
    const total = batches.reduce((all, { weight }) => all + weight, 0);
    // The scope frees the inputs made here.
    const { state, outputs } = scope(() => {
      const given = batches.map(
        ({ batch }) => (tensorsOf === undefined ? batch : tensorsOf(batch)) as Inputs,
      );
      const rows = (all: readonly (readonly number[])[]): Tensor => {
        const length = all[0]?.length as number;
        return tensor(backend, all.flat(), now.scaling === undefined ? [length] : [1, all.length, length]);
      };
      const numbers = rows(plans.map((one) => [...one.numbers]));
      const averages = this.#averagesOf(now, skips);
      const averaging = averages === undefined ? [] : [rows(averages)];
      if (averages !== undefined && now.scaling !== undefined) averaging.push(tensor(backend, [1, 0], [2]));
      const skipped =
        now.scaling === undefined ? [] : [tensor(backend, [now.scaling.numbers.skippedSteps], [])];
      const weights =
        batches.length === 1 ? [] : batches.map(({ weight }) => tensor(backend, [weight / total], []));
      const call = { seeds: recordedSeeds(seed, now.step), statics: Object.values(plan.numbersAt) };
      this.#requireFit(
        now,
        { numbers, skipped, averaging, weights, batches: given as readonly Tree[] },
        call,
      );
      if (this.#recorded !== undefined) {
        const recordable = { numbers, skipped, averaging, weights, batches: given.map(batchTree) };
        return this.#recorded(this.#stateOf(now), recordable, call);
      }
      const called = recordedStep(
        (before: State, inputs: StepInputs) =>
          this.#run(
            (p, index) =>
              this.#lossOf(p, this.#frozen, given[index] as Inputs, calledContext(seed, now.step, index)),
            before,
            inputs,
          ),
        { mostRecordings: 0 },
      );
      return called(this.#stateOf(now), { numbers, skipped, averaging, weights, batches: [] });
    });
    now.parameters = { ...now.parameters, ...state.parameters };
    if (now.average !== undefined) now.average = state.average;
    now.optimizer = { steps: plan.steps, tensors: { ...now.optimizer.tensors, ...state.tensors } };
    if (now.scaling !== undefined) now.scaling.state = state.scaling as LossScaleState;
    return outputs;
  }

  /** The optimiser's plan, for each number of skipped steps. */
  #plansOf(now: Standing, skips: readonly number[]): readonly StepPlan[] {
    const { optimizer, schedule } = this.#read;
    return skips.map((skipped) => {
      const steps = this.#trainable.map((name) => [name, (now.optimizer.steps[name] ?? 0) - skipped]);
      const counts = { ...now.optimizer.steps, ...Object.fromEntries(steps) };
      return optimizer.plan(counts, this.#trainable, schedule(madeBefore(now, skipped)));
    });
  }

  /** What the average takes in this step, for each number of skipped steps. */
  #averagesOf(now: Standing, skips: readonly number[]): readonly (readonly number[])[] | undefined {
    const { averageDecay: decay } = this.#read;
    if (decay === undefined) return undefined;
    return skips.map((skipped) => averageNumbers(decay, madeBefore(now, skipped) === 0));
  }

  /** Frees the recordings, and copies of frozen parameters. */
  dispose(): void {
    this.#recorded?.dispose();
    if (this.#read.precision === 'mixed') disposeParameters(this.#frozen);
  }

  #run(lossOf: LossOf, state: State, inputs: StepInputs): StepResult<State, StepOutputs> {
    const { lossScale, maxGradNorm, optimizer, precision } = this.#read;
    const { parameters, tensors } = state;
    const scaling = precision === 'mixed' ? (state.scaling as LossScaleState) : undefined;
    return scope(() => {
      const { gradients, ...outputs } =
        scaling === undefined
          ? stepGradients(lossOf, parameters, inputs.weights)
          : mixedGradients(lossOf, parameters, inputs.weights, lossScale, scaling);
      const clip = maxGradNorm === undefined ? undefined : scaleTo(outputs.norm, maxGradNorm);
      // One multiplication of each gradient clips it and divides it by the loss scale.
      const scale = scaling === undefined ? clip : div(clip ?? 1, scaling.scale);
      const numbers =
        scaling === undefined
          ? inputs.numbers
          : numbersNow(inputs.numbers, inputs.skipped[0] as Tensor, scaling);
      const plan = { numbersAt: this.#numbersAt };
      const isFinite = scaling && lossScale.isFinite(outputs.norm);
      const taken = isFinite && cast(isFinite, 'f32');
      const made = updateScaled(optimizer, parameters, gradients, tensors, plan, numbers, scale, taken);
      // In the order of the old state: a recorded step's state is positional.
      const next = {
        parameters: pick(made.parameters, this.#trainable),
        tensors: pick(made.tensors, this.#slots),
      };
      if (scaling === undefined || isFinite === undefined)
        return {
          state: { ...next, scaling: {}, average: nextAverage(state.average, next.parameters, inputs) },
          outputs,
        };
      disposeParameters(gradients);
      const chosen = (made: ParameterTree, before: ParameterTree): ParameterTree =>
        canRefrain(optimizer) ? made : lossScale.choose(isFinite, made, before);
      const kept = {
        parameters: chosen(next.parameters, parameters),
        tensors: chosen(next.tensors, tensors),
      };
      const average = nextAverage(state.average, kept.parameters, inputs, { scaling, isFinite });
      return { state: { ...kept, scaling: { ...lossScale.next(scaling, isFinite) }, average }, outputs };
    });
  }

  /**
   * Plans a step with these inputs, if none of these shapes was planned before. The batches of a called run without
   * `tensorsOf` are whatever the loss takes and tell no shapes: only the first step is planned.
   *
   * @throws TopKError DOES_NOT_FIT
   */
  #requireFit(now: Standing, inputs: StepInputs, call: StepCall): void {
    const { budgetBytes, recorded, seed, tensorsOf } = this.#read;
    if (budgetBytes === undefined) return;
    const shapes = tensorsOf === undefined && !recorded ? '' : JSON.stringify(inputs.batches, shapesOnly);
    if (this.#fitting.has(shapes)) return;
    const step = (state: State, { frozen, ...given }: StepInputs & Frozen, seeds: StepSeeds) =>
      this.#run(
        (p, index) => {
          const context = recorded ? recordedContext(seeds, index) : calledContext(seed, now.step, index);
          return this.#lossOf(p, frozen, given.batches[index] as Inputs, context);
        },
        state,
        given,
      );
    const all = { ...inputs, frozen: this.#frozen };
    const { peak } = planStep(backendOf(now.parameters), step, this.#stateOf(now), all, {
      ...call,
      recorded,
    });
    if (peak > budgetBytes) {
      throw new TopKError('DOES_NOT_FIT', `train: step ${now.step} does not fit`, {
        expected: `at most ${formatBytes(budgetBytes)}`,
        got: formatBytes(peak),
        fix: "Use smaller batches with gradientAccumulationSteps, recompute: true, or precision: 'mixed'",
      });
    }
    this.#fitting.add(shapes);
  }

  /** The loss of all parameters, in the caller's order. */
  #lossOf(trainable: ParameterTree, frozen: ParameterTree, batch: Inputs, context: LossContext): Tensor {
    const all = this.#names.map((name) => [name, trainable[name] ?? frozen[name]] as const);
    return this.#read.loss(Object.fromEntries(all) as ParameterTree, batch, context);
  }

  #stateOf({ parameters, optimizer, scaling, average }: Standing): State {
    return {
      parameters: pick(parameters, this.#trainable),
      tensors: pick(optimizer.tensors, this.#slots),
      scaling: { ...scaling?.state },
      average: { ...average },
    };
  }
}

/** How many of the unsettled steps may turn out to be skipped. Without a loss scale none is. */
function skipsOf({ scaling }: Standing, unsettled: number): readonly number[] {
  if (scaling === undefined) return [0];
  // More than the unsettled ones cannot be skipped: the rest only gives every step the same shapes.
  return Array.from({ length: LAG + 1 }, (_, skipped) => (skipped <= unsettled ? skipped : 0));
}

/** Steps that changed something, if so many of the unsettled ones were skipped. */
const madeBefore = ({ step, scaling }: Standing, skipped: number): number =>
  step - (scaling?.numbers.skippedSteps ?? 0) - skipped;

/** For JSON: tensors as their shapes. */
const shapesOnly = (_key: string, value: unknown): unknown =>
  value instanceof Tensor ? `${value.dtype} ${formatShape(value.shape)}` : value;

const pick = (tree: ParameterTree, names: readonly string[]): ParameterTree =>
  Object.fromEntries(names.map((name) => [name, tree[name] as Tensor]));

/** @throws TopKError INVALID_OPTION for a batch that holds anything but tensors. */
function batchTree(batch: unknown): Tree {
  const fix = 'Turn a batch into tensors in tensorsOf, or train without recorded';
  requireTree('train, in a recorded step', 'batch', batch, fix);
  return batch;
}
