import { evaluate, type Tensor } from '@topk-attention/core';
import type { Interruption } from '../interruption.js';

/** From this many tokens on, each step is awaited, so that a lazy graph can be interrupted too. */
const INTERRUPTIBLE_TOKENS = 2048;

/**
 * Runs a computation that yields after each of its steps, and returns its result. It can stop between two steps.
 *
 * @param tokens how many tokens each step processes
 * @param onStep called with the number of steps done
 * @throws TopKError ABORTED, DISPOSED; the generator is closed then.
 */
export async function runSteps(
  steps: Generator<Tensor, Tensor>,
  tokens: number,
  interruption: Interruption,
  onStep: (done: number) => void,
): Promise<Tensor> {
  let latest: Tensor | undefined;
  try {
    for (let done = 1; ; done++) {
      // The callback may itself have aborted or disposed.
      interruption.check();
      const step = steps.next();
      if (step.done === true) return step.value;
      latest = step.value;
      if (tokens >= INTERRUPTIBLE_TOKENS) await evaluate(latest);
      await interruption.yieldToEvents();
      onStep(done);
    }
  } finally {
    // After an error the generator is suspended in the middle; closing it frees what it holds.
    if (latest !== undefined) steps.return(latest);
  }
}
