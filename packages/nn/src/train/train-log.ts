import type { LoaderState } from '../data/data-loader.js';
import { backendOf } from '../parameters.js';
import type { Standing } from './begin.js';
import type { TrainOptions } from './options.js';
import type { FinishedStep } from './pending.js';

type LogOptions = Pick<
  TrainOptions<never>,
  'maxSteps' | 'schedule' | 'onLog' | 'loggingSteps' | 'optimizer'
> & {
  readonly data: { readonly batchesPerEpoch: number };
};

/** Makes log entries from finished steps. */
export class TrainLog {
  readonly #options: LogOptions;
  #since = performance.now();
  #losses: number[] = [];
  #last: number;

  constructor(options: LogOptions, step: number) {
    this.#options = options;
    this.#last = step;
  }

  add(finished: readonly FinishedStep[], now: Standing): void {
    const { loggingSteps = 1, maxSteps, schedule, optimizer } = this.#options;
    for (const { step, loader, loss, norm, scaling } of finished) {
      this.#losses.push(loss);
      const done = step + 1;
      if (done % loggingSteps !== 0 && done !== maxSteps) continue;
      const { live } = backendOf(now.parameters).memory();
      // Before this step, which was skipped itself if its norm is not finite: that is no error with a loss scale alone.
      const skipped = (scaling?.skippedSteps ?? 0) - (Number.isFinite(norm) ? 0 : 1);
      const made = step - skipped;
      const rateFactor = schedule?.(made).rateFactor ?? 1;
      const rate = optimizer.learningRate?.(made + 1, rateFactor);
      this.#options.onLog?.({
        step: done,
        epoch: this.#epoch(loader),
        loss: this.#losses.reduce((sum, one) => sum + one, 0) / this.#losses.length,
        ...(rate !== undefined && { learning_rate: rate }),
        rate_factor: rateFactor,
        grad_norm: norm,
        step_ms: (performance.now() - this.#since) / (done - this.#last),
        live_bytes: live,
        ...(scaling && { loss_scale: scaling.scale, skipped_steps: scaling.skippedSteps }),
      });
      this.#losses = [];
      this.#since = performance.now();
      this.#last = done;
    }
  }

  /** Work that is no step, when no step is pending: its time counts in no entry. */
  async apart(work: () => Promise<void>): Promise<void> {
    const from = performance.now();
    await work();
    this.#since += performance.now() - from;
  }

  evaluated(metrics: { readonly [metric: string]: number }, now: Standing): void {
    const named = Object.entries(metrics).map(([name, value]) => [`eval_${name}`, value]);
    this.#options.onLog?.({ step: now.step, epoch: this.#epoch(now.loader), ...Object.fromEntries(named) });
  }

  #epoch(loader: LoaderState): number {
    return loader.epoch + loader.batch / this.#options.data.batchesPerEpoch;
  }
}
