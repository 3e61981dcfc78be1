import { median } from '@topk-attention/app-kit';
import {
  type Backend,
  evaluate,
  mean,
  scope,
  type Tensor,
  TopKError,
  valueAndGrad,
} from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '@topk-attention/nn';
import type { BenchRow, Direction } from './result.js';
import type { Prepared } from './studies.js';

/** One measurement to make. */
export interface Job extends Pick<BenchRow, 'way' | 'x' | 'direction'> {
  /** On the engine that is open then. */
  readonly make: (backend: Backend) => Prepared;
}

/**
 * Times one way at one size: once to warm up and check that the result is finite, then `rounds` times, each until the
 * engine has finished.
 *
 * @throws TopKError NAN_FOUND; whatever the engine throws
 */
export async function measure(
  backend: Backend,
  { way, x, direction, make }: Job,
  rounds: number,
): Promise<BenchRow> {
  let prepared: Prepared | undefined;
  try {
    prepared = make(backend);
    await evaluate(...Object.values(prepared.tensors));
    backend.resetPeak();
    await run(prepared, direction);
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const from = performance.now();
      await run(prepared, direction);
      times.push(performance.now() - from);
    }
    const { peak } = backend.memory();
    return {
      way,
      x,
      direction,
      milliseconds: median(times),
      ...(peak !== undefined && { peakBytes: peak }),
    };
  } finally {
    if (prepared !== undefined) disposeParameters(prepared.tensors);
    prepared?.dispose?.();
  }
}

/** Codes of what does not fit. Drivers also give up devices whose memory or time runs out. */
export const REFUSALS: readonly string[] = ['OUT_OF_MEMORY', 'DEVICE_LOST', 'DOES_NOT_FIT', 'UNSUPPORTED'];

/** Why a size does not fit. Any other failure is thrown. */
export function refusalOf(error: unknown, refusals: readonly string[] = REFUSALS): string {
  if (!(error instanceof TopKError) || !refusals.includes(error.code)) throw error;
  // Drivers report in several lines.
  return `${error.code}: ${error.message.split(/\. |\n/)[0]}`;
}

/** One pass, until the engine has finished. Its mean is the loss, as in the paper. */
async function run({ tensors, apply }: Prepared, direction: Direction): Promise<void> {
  const loss = (of: ParameterTree): Tensor => scope(() => mean(apply(of)));
  const { value, gradients } =
    direction === 'forward' ? { value: loss(tensors), gradients: {} } : valueAndGrad(loss)(tensors);
  try {
    await evaluate(value, ...Object.values(gradients));
    const [number] = await value.data();
    if (!Number.isFinite(number)) {
      throw new TopKError('NAN_FOUND', 'bench: the result is not finite', {
        expected: 'a finite mean of the output',
        got: String(number),
      });
    }
  } finally {
    value.dispose();
    disposeParameters(gradients);
  }
}
