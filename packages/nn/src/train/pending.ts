import { TopKError } from '@topk-attention/core';
import type { LoaderState } from '../data/data-loader.js';
import { disposeParameters, type ParameterTree } from '../parameters.js';
import type { StepGradients } from './gradients.js';

/** Steps that may be recorded before the loss of the first is looked at: a loop never waits for the step at hand. */
const LAG = 2;

interface PendingStep {
  readonly step: number;
  readonly from: LoaderState;
  readonly to: LoaderState;
  readonly loss: Promise<number>;
  readonly norm: Promise<number>;
  readonly squares: ParameterTree;
}

export interface FinishedStep {
  readonly step: number;
  /** Where the data stood after it. */
  readonly loader: LoaderState;
  readonly loss: number;
  readonly norm: number;
}

/** Losses and norms on their way back from the device. */
export class PendingSteps {
  #waiting: PendingStep[] = [];

  /** Begins to read a step's loss and norm, which are disposed of. Its data began at `from` and ended at `to`. */
  add(
    step: number,
    { loss, norm, squares }: Pick<StepGradients, 'loss' | 'norm' | 'squares'>,
    from: LoaderState,
    to: LoaderState,
  ): void {
    const numberOf = async (one: typeof loss): Promise<number> => {
      try {
        return (await one.data())[0] as number;
      } finally {
        one.dispose();
      }
    };
    const read = { loss: numberOf(loss), norm: numberOf(norm) };
    // What rejects is thrown when its turn comes.
    for (const one of Object.values(read)) one.catch(() => {});
    this.#waiting.push({ step, from, to, squares, ...read });
  }

  /**
   * The steps whose numbers are due: all but the last few, or all of them.
   *
   * @throws TopKError NAN_FOUND for a loss or gradient that is not finite; what the device throws.
   */
  async due({ all = false }: { readonly all?: boolean } = {}): Promise<readonly FinishedStep[]> {
    const finished: FinishedStep[] = [];
    while (this.#waiting.length > (all ? 0 : LAG)) {
      const { step, from, to, squares, ...read } = this.#waiting[0] as PendingStep;
      const [loss, norm] = await Promise.all([read.loss, read.norm]);
      if (!Number.isFinite(loss) || !Number.isFinite(norm)) {
        const name = await firstBad(squares);
        throw new TopKError(
          'NAN_FOUND',
          `train: the ${name === undefined ? 'loss' : 'gradient'} of step ${step} is not finite`,
          {
            expected: 'finite numbers',
            got: `loss ${loss}, norm of the gradients ${norm}${name === undefined ? '' : `, first in the gradient of ${name}`}, epoch ${from.epoch}, batch ${from.batch}`,
            fix: 'Look at that batch; lower the rate, lengthen the warm-up or set maxGradNorm. The last checkpoint is from before',
          },
        );
      }
      this.#waiting.shift();
      disposeParameters(squares);
      finished.push({ step, loader: to, loss, norm });
    }
    return finished;
  }

  /** Frees what is waiting. */
  async dispose(): Promise<void> {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const { loss, norm, squares } of waiting) {
      disposeParameters(squares);
      await Promise.allSettled([loss, norm]);
    }
  }
}

async function firstBad(squares: ParameterTree): Promise<string | undefined> {
  for (const [name, one] of Object.entries(squares)) {
    if (!Number.isFinite((await one.data())[0])) return name;
  }
  return undefined;
}
