import type { Backend } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import { formatBytes } from '../operation/format.js';
import { zeros } from '../ops/create.js';
import { recordedStep } from '../recording/recorded-step.js';
import type { Step, StepCall, StepResult, StepSeeds } from '../recording/step.js';
import {
  aBoolean,
  aFunction,
  aNumber,
  anArray,
  type OptionKinds,
  readOptions,
} from '../tensor/read-options.js';
import { scope } from '../tensor/scope.js';
import { leavesOf, mapTree, type Tree } from '../tensor/tree.js';
import { dryBackend } from './dry-backend.js';

export interface PlanStepOptions extends StepCall {
  /** Whether `recordedStep` runs it, which keeps a step's memory where the backend records. Default true. */
  readonly recorded?: boolean;
  /** Most bytes that may be in use at a time. Default: no bound. */
  readonly budgetBytes?: number;
  /**
   * Bytes that the program keeps on the device besides, such as batches that wait for their step: the peak of
   * `dryBackend(backend).memory()` once they are made there. Default 0.
   */
  readonly heldBytes?: number;
}

/** Bytes of a step, known before anything is on the device. */
export interface StepBytes {
  /** Of the state, such as parameters and what the optimiser remembers. */
  readonly state: number;
  readonly inputs: number;
  /** Whatever else is alive at the peak: tensors kept for the backward pass, gradients, scratch, the next state. */
  readonly work: number;
  /** `heldBytes` as given. */
  readonly held: number;
  /** Most bytes in use at a time: the sum of the others. */
  readonly peak: number;
}

const kinds: OptionKinds<PlanStepOptions> = {
  recorded: aBoolean,
  budgetBytes: aNumber,
  heldBytes: aNumber,
  seeds: aFunction(),
  statics: anArray(),
};

/**
 * Bytes that a step, such as one of a training, takes on a backend: the function runs on a backend that counts and does
 * not compute (`dryBackend`), so nothing is allocated on the device. Only what the step itself uses is seen: say what else
 * is alive with `heldBytes`. On WebGPU this is what its buffers hold, scratch and
 * rounding included; buffers kept for reuse may come on top, up to `poolCapBytes`. On other backends tensors are counted
 * by their shapes, and fused operations by their plans.
 *
 * @param step as for `recordedStep`. Tensors that it uses besides state and inputs must be made by it.
 * @param state tensors of any backend, of which only shapes and dtypes are read: make them on `dryBackend(backend)` where
 * there is no memory for them. They stay the caller's, as do the inputs.
 * @throws TopKError DOES_NOT_FIT with a budget below the peak; MIXED_BACKENDS if the step uses tensors from outside;
 * UNSUPPORTED as `dryBackend`; whatever the step throws.
 *
 * @example
 * const descend = ({ x }: { x: Tensor }, { rate }: { rate: Tensor }) => {
 *   const { value, gradients } = valueAndGrad(({ x }: { x: Tensor }) => sum(mul(x, x)))({ x });
 *   return { state: { x: sub(x, mul(gradients.x, rate)) }, outputs: { loss: value } };
 * };
 * const dry = dryBackend(backend);
 * const bytes = planStep(backend, descend, { x: zeros(dry, [1024, 1024]) }, { rate: zeros(dry, []) });
 */
export function planStep<State extends Tree, Inputs extends Tree, Outputs extends Tree>(
  backend: Backend,
  step: Step<State, Inputs, Outputs>,
  state: State,
  inputs: Inputs,
  options?: PlanStepOptions,
): StepBytes {
  const {
    recorded = true,
    budgetBytes,
    heldBytes: held = 0,
    seeds = anySeeds(),
    ...call
  } = readOptions('planStep', options, kinds);
  const dry = dryBackend(backend);
  const onDry = <T>(tree: T): T => mapTree(tree, ({ shape, dtype }) => zeros(dry, shape, dtype));
  const bytesOf = <T>(make: () => T): readonly [made: T, bytes: number] => {
    const before = dry.memory().live;
    return [make(), dry.memory().live - before];
  };
  const [given, inputBytes] = bytesOf(() => onDry(inputs));
  let [current, stateBytes] = bytesOf(() => onDry(state));
  const recording = recordedStep(step);
  const run = (): StepResult<State, Outputs> => {
    if (recorded) return recording(current, given, { ...call, seeds });
    const made = scope(() => mapTree(step(current, given, seeds), (leaf) => leaf.alias()));
    for (const one of leavesOf(current)) one.dispose();
    return made;
  };
  try {
    // Called, recorded, replayed; or twice called, from a fresh state and from one that the step made.
    for (let at = 0; at < (recorded ? 3 : 2); at++) {
      const made = run();
      current = made.state;
      for (const one of leavesOf(made.outputs)) one.dispose();
    }
  } catch (error) {
    throw withAdvice(error);
  } finally {
    recording.dispose();
    for (const one of [...leavesOf(current), ...leavesOf(given)]) one.dispose();
  }
  const own = dry.memory().peak ?? 0;
  const peak = own + held;
  if (budgetBytes !== undefined && !(peak <= budgetBytes)) {
    throw new TopKError('DOES_NOT_FIT', 'planStep: the step does not fit', {
      expected: `at most ${formatBytes(budgetBytes)}`,
      got: formatBytes(peak),
      fix: 'Take smaller batches and accumulate gradients, recompute blocks, or lower k',
    });
  }
  return { state: stateBytes, inputs: inputBytes, work: own - stateBytes - inputBytes, held, peak };
}

/** Seeds that a recording can tell from other numbers; what is drawn with them is never seen. */
function anySeeds(): StepSeeds {
  const paths: string[] = [];
  return (path) => {
    if (!paths.includes(path)) paths.push(path);
    return (paths.indexOf(path) + 1) * 2 ** 33 + 2 ** 31;
  };
}

function withAdvice(error: unknown): unknown {
  if (!(error instanceof TopKError) || error.code !== 'MIXED_BACKENDS') return error;
  return new TopKError('MIXED_BACKENDS', 'planStep: the step uses a tensor from outside', {
    expected: 'tensors of its state and inputs, and those it makes on their backend',
    got: 'a tensor that was made before',
    fix: 'Pass it with the inputs',
    cause: error,
  });
}
