import { median } from '@topk-attention/app-kit';
import {
  type Backend,
  evaluate,
  mean,
  type RecordedStep,
  recordedStep,
  type StepSeeds,
  scope,
  type Tensor,
  TopKError,
  valueAndGrad,
} from '@topk-attention/core';
import { disposeParameters, type ParameterTree, seedsFrom } from '@topk-attention/nn';
import type { BenchRow, Direction } from './result.js';
import type { Prepared } from './studies.js';

/** One measurement to make. */
export interface Job extends Pick<BenchRow, 'way' | 'x' | 'direction'> {
  /** On the engine that is open then. */
  readonly make: (backend: Backend) => Prepared;
  /** Records the pass and replays it, as training does, on a backend that can. Default: it is called each time. */
  readonly isRecorded?: boolean;
}

/**
 * Times one way at one size: once to warm up and check that the result is finite, if it is recorded twice more, for the
 * recording and a first replay; then `rounds` times, each until the engine has finished.
 *
 * @throws TopKError NAN_FOUND; whatever the engine throws
 */
export async function measure(
  backend: Backend,
  { way, x, direction, make, isRecorded = false }: Job,
  rounds: number,
): Promise<BenchRow> {
  let prepared: Prepared | undefined;
  let pass: Pass | undefined;
  try {
    prepared = make(backend);
    pass = passOf(prepared, direction, isRecorded);
    await evaluate(...Object.values(prepared.tensors));
    backend.resetPeak();
    for (let warm = 0; warm < (isRecorded ? 3 : 1); warm++) await run(pass, prepared);
    const times: number[] = [];
    for (let round = 0; round < rounds; round++) {
      const from = performance.now();
      await run(pass, prepared);
      times.push(performance.now() - from);
    }
    const { peak } = backend.memory();
    return {
      way,
      x,
      direction,
      milliseconds: median(times),
      ...(peak !== undefined && { peakBytes: peak }),
      ...(pass.counts.replayed > 0 && { isRecorded: true }),
    };
  } finally {
    pass?.dispose();
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

/** Of dropout and random graphs, in every round. */
const SEED = 42;

type Outputs = { readonly loss: Tensor; readonly gradients: ParameterTree };
type Pass = RecordedStep<Record<string, never>, ParameterTree, Outputs>;

/** A pass as a step without a state. The mean of what is computed is the loss, as in the paper. */
function passOf({ apply }: Prepared, direction: Direction, isRecorded: boolean): Pass {
  const outputsOf = (tensors: ParameterTree, seeds: StepSeeds): Outputs => {
    const loss = (of: ParameterTree): Tensor => scope(() => mean(apply(of, seeds)));
    if (direction === 'forward') return { loss: loss(tensors), gradients: {} };
    const { value, gradients } = valueAndGrad(loss)(tensors);
    return { loss: value, gradients };
  };
  const mostRecordings = isRecorded ? 1 : 0;
  return recordedStep(
    (state, tensors: ParameterTree, seeds) => ({ state, outputs: outputsOf(tensors, seeds) }),
    { mostRecordings },
  );
}

/** One pass, until the engine has finished. */
async function run(pass: Pass, { tensors }: Prepared): Promise<void> {
  const { loss, gradients } = pass({}, tensors, { seeds: seedsFrom(SEED) }).outputs;
  try {
    await evaluate(loss, ...Object.values(gradients));
    const [number] = await loss.data();
    if (!Number.isFinite(number)) {
      throw new TopKError('NAN_FOUND', 'bench: the result is not finite', {
        expected: 'a finite mean of the output',
        got: String(number),
      });
    }
  } finally {
    loss.dispose();
    disposeParameters(gradients);
  }
}
