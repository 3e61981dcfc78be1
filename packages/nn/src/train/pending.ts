import { type Tensor, TopKError } from '@topk-attention/core';
import type { LoaderState } from '../data/data-loader.js';
import type { ParameterTree } from '../parameters.js';
import { firstNotFinite, nanIn } from './cause.js';
import { LAG } from './lag.js';
import type { LossScaleNumbers } from './loss-scale.js';
import type { StepOutputs } from './training-step.js';

interface PendingStep {
  readonly step: number;
  readonly from: LoaderState;
  readonly to: LoaderState;
  /** Inspected if something is not finite. */
  readonly batches: readonly unknown[];
  readonly loss: Promise<number>;
  readonly norm: Promise<number>;
  readonly squares: Tensor;
  /** What each of the squares belongs to. */
  readonly names: readonly string[];
}

export interface FinishedStep {
  readonly step: number;
  /** Position in the data after it. */
  readonly loader: LoaderState;
  readonly loss: number;
  readonly norm: number;
  /** After it, in a run with a loss scale. */
  readonly scaling?: LossScaleNumbers;
}

/** Told of each step in order whether its gradients were finite. Returns the loss scale after it; false: it is an error. */
export type Settle = (isFinite: boolean) => LossScaleNumbers | undefined | false;

/** Losses and norms being read back from the device. */
export class PendingSteps {
  #waiting: PendingStep[] = [];
  /** The parameters before the first step, until it is finished. */
  #initial: ParameterTree | undefined;
  readonly #settle: Settle;

  /** @param initial stay the caller's; inspected if the first step is not finite */
  constructor(initial: ParameterTree, settle: Settle) {
    this.#initial = initial;
    this.#settle = settle;
  }

  /** Steps whose outcome is not known yet. */
  get count(): number {
    return this.#waiting.length;
  }

  /**
   * Begins to read a step's loss and norm, which are disposed of afterwards. `batches` are what the step was made
   * from; its data began at `from` and ended at `to`. `names` are those of the squares.
   */
  add(
    step: number,
    { loss, norm, squares }: StepOutputs,
    names: readonly string[],
    from: LoaderState,
    to: LoaderState,
    batches: readonly unknown[],
  ): void {
    const numberOf = async (one: typeof loss): Promise<number> => {
      try {
        return (await one.data())[0] as number;
      } finally {
        one.dispose();
      }
    };
    const read = { loss: numberOf(loss), norm: numberOf(norm) };
    // A rejection is thrown when its turn comes.
    for (const one of Object.values(read)) one.catch(() => {});
    this.#waiting.push({ step, from, to, batches, squares, names, ...read });
  }

  /**
   * The steps whose numbers are due: all except the last few, or all of them.
   *
   * @throws TopKError NAN_FOUND for a loss or gradient that is not finite; whatever the device throws.
   */
  async due({ all = false }: { readonly all?: boolean } = {}): Promise<readonly FinishedStep[]> {
    const finished: FinishedStep[] = [];
    while (this.#waiting.length > (all ? 0 : LAG)) {
      const pending = this.#waiting[0] as PendingStep;
      const { step, to, squares } = pending;
      const [loss, norm] = await Promise.all([pending.loss, pending.norm]);
      const scaling = Number.isFinite(loss) && this.#settle(Number.isFinite(norm));
      if (scaling === false) throw await this.#notFinite(pending, loss, norm);
      this.#initial = undefined;
      this.#waiting.shift();
      squares.dispose();
      finished.push({ step, loader: to, loss, norm, ...(scaling && { scaling }) });
    }
    return finished;
  }

  async #notFinite(
    { step, from, batches, squares, names }: PendingStep,
    loss: number,
    norm: number,
  ): Promise<TopKError> {
    const at = (await squares.data()).findIndex((one) => !Number.isFinite(one));
    const name = names[at];
    const initial = this.#initial && (await firstNotFinite(this.#initial));
    const inBatch = await nanIn(batches.length === 1 ? batches[0] : batches);
    const got = [
      `loss ${loss}`,
      `norm of the gradients ${norm}`,
      ...(name === undefined ? [] : [`first in the gradient of ${name}`]),
      `epoch ${from.epoch}`,
      `batch ${from.batch}`,
      ...(initial === undefined ? [] : [`the parameter ${initial} is not finite from the beginning`]),
      ...(inBatch === undefined ? [] : [`NaN in the batch, at batch${inBatch}`]),
    ];
    return new TopKError(
      'NAN_FOUND',
      `train: the ${name === undefined ? 'loss' : 'gradient'} of step ${step} is not finite`,
      {
        expected: 'finite numbers',
        got: got.join(', '),
        fix:
          inBatch !== undefined
            ? 'Remove such examples'
            : initial !== undefined
              ? 'Check where that parameter comes from'
              : 'Check that batch: an id outside an embedding, or a target outside the classes, makes the loss NaN (crossEntropy leaves out -1, or its ignoreIndex). Or lower the learning rate, lengthen the warm-up or set maxGradNorm',
      },
    );
  }

  /** Frees what is waiting. */
  async dispose(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { loss, norm, squares } of waiting) {
      squares.dispose();
      await Promise.allSettled([loss, norm]);
    }
  }
}
