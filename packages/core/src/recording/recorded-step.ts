import type { Backend, BackendTensor, RecordedWork } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, sameShape } from '../contract/shape.js';
import { commonBackend } from '../tensor/apply.js';
import { aFunction, aNumber, anArray, type OptionKinds, readOptions } from '../tensor/read-options.js';
import { scope } from '../tensor/scope.js';
import { tapesTracking } from '../tensor/tape.js';
import { fromBackendTensor, type Tensor } from '../tensor/tensor.js';
import { leavesOf, mapTree, type Tree } from '../tensor/tree.js';
import { signatureOf } from './signature.js';
import { withUsedSeeds } from './used-seeds.js';

/** What a step returns. */
export interface StepResult<State, Outputs> {
  /** The next state: tensors in the form of the old one, of the same shapes and dtypes. */
  readonly state: State;
  /** Whatever else the caller wants from it. */
  readonly outputs: Outputs;
}

/** Seeds by path: a path of a step gives another seed in every step (see `seedsFrom` of `@topk-attention/nn`). */
export type StepSeeds = (path: string) => number;

/** A step: tensors from tensors, and the same work for the same shapes. It reads nothing and has no other effects. */
export type Step<State, Inputs, Outputs> = (
  state: State,
  inputs: Inputs,
  seeds: StepSeeds,
) => StepResult<State, Outputs>;

export interface StepCall {
  /** Seeds of this call, for ops that draw random numbers, such as dropout. Default: none, and `seeds(path)` throws. */
  readonly seeds?: StepSeeds;
  /**
   * Numbers and words that the step reads from outside, such as k or a rate: changing one makes it a different step.
   * Default: none.
   */
  readonly statics?: readonly (string | number | boolean)[];
}

export interface RecordedStepOptions {
  /** Recordings kept, of different shapes or statics; each keeps the memory of a step. Default 4; 0: never record. */
  readonly mostRecordings?: number;
}

/** How often a step ran in each way. */
export interface StepCounts {
  /** By calling the function: the first time with new shapes, and where it could not be recorded or replayed. */
  readonly called: number;
  /** By calling the function, and keeping the commands. */
  readonly recorded: number;
  readonly replayed: number;
}

/** A step that can be called any number of times. */
export interface RecordedStep<State, Inputs, Outputs> {
  /**
   * Runs a step. Consumes the state: its tensors are disposed when this returns. Inputs stay the caller's.
   *
   * @throws TopKError INVALID_OPTION if a tree holds anything but tensors or the new state's form differs from the old
   * one's; whatever the function throws, leaving the state as it was.
   */
  (state: State, inputs: Inputs, call?: StepCall): StepResult<State, Outputs>;
  readonly counts: StepCounts;
  /** Bytes that recordings keep. */
  readonly bytes: number;
  /** Why the last new step was not recorded; undefined if it was, or has not been yet. */
  readonly refusal: string | undefined;
  /** Frees the recordings; a returned state stays valid. */
  dispose(): void;
}

const optionKinds: OptionKinds<RecordedStepOptions> = { mostRecordings: aNumber };
const callKinds: OptionKinds<StepCall> = { seeds: aFunction(), statics: anArray() };

/**
 * Records a function of tensors and replays it: from the third call with the same shapes, dtypes and statics on, a
 * backend that can (WebGPU) submits the second call's commands again on the new values, without running the function;
 * the results have the same bits. On other backends, and if something cannot be recorded, the function runs.
 *
 * The function must do the same work whatever the values: numbers that change from call to call, such as a learning rate,
 * must come as tensors of `inputs`, and seeds from `seeds(path)`. Outside tensors that it uses are kept with the
 * recording; a replay does not notice if they are replaced.
 *
 * @example
 * const descend = recordedStep<{ x: Tensor }, { rate: Tensor }, { loss: Tensor }>(({ x }, { rate }) => {
 *   const { value, gradients } = valueAndGrad(({ x }: { x: Tensor }) => sum(mul(x, x)))({ x });
 *   return { state: { x: sub(x, mul(gradients.x, rate)) }, outputs: { loss: value } };
 * });
 * const rate = tensor(backend, [0.1], []);
 * let { state } = descend({ x: tensor(backend, [1, 2]) }, { rate });
 * ({ state } = descend(state, { rate }));
 * descend.dispose();
 */
export function recordedStep<State extends Tree, Inputs extends Tree, Outputs extends Tree>(
  step: Step<State, Inputs, Outputs>,
  options?: RecordedStepOptions,
): RecordedStep<State, Inputs, Outputs> {
  if (typeof step !== 'function') {
    throw new TopKError('INVALID_OPTION', 'recordedStep: bad step', {
      expected: 'a function of state and inputs',
      got: typeof step,
    });
  }
  const { mostRecordings = 4 } = readOptions('recordedStep', options, optionKinds);
  if (!Number.isSafeInteger(mostRecordings) || mostRecordings < 0) {
    throw new TopKError('INVALID_OPTION', 'recordedStep: bad mostRecordings', {
      expected: 'a whole number of at least 0',
      got: String(mostRecordings),
    });
  }
  const recordings = new Recordings(step, mostRecordings);
  const call = (state: State, inputs: Inputs, given?: StepCall): StepResult<State, Outputs> =>
    recordings.run(state, inputs, readOptions('recordedStep', given, callKinds));
  return Object.defineProperties(call, {
    counts: { get: () => recordings.counts },
    bytes: { get: () => recordings.bytes },
    refusal: { get: () => recordings.refusal },
    dispose: { value: () => recordings.dispose() },
  }) as RecordedStep<State, Inputs, Outputs>;
}

/** A recorded step: its commands, and the form of its result. */
interface Recorded<State, Outputs> {
  readonly work: RecordedWork<BackendTensor>;
  readonly form: StepResult<State, Outputs>;
  /** Paths of the seeds that a replay replaces, in the order of the work. */
  readonly paths: readonly string[];
}

/** 'seen': called once; 'refused': cannot be recorded. */
type Known<State, Outputs> = Recorded<State, Outputs> | 'seen' | 'refused';

const noSeeds: StepSeeds = (path) => {
  throw new TopKError('INVALID_OPTION', `recordedStep: a seed for ${path}`, {
    expected: 'seeds in the call',
    got: 'none',
    fix: 'Pass seeds: seedsFrom(step)',
  });
};

class Recordings<State extends Tree, Inputs extends Tree, Outputs extends Tree> {
  readonly #step: Step<State, Inputs, Outputs>;
  readonly #most: number;
  /** By signature, the most recently used last. */
  readonly #known = new Map<string, Known<State, Outputs>>();
  readonly #counts = { called: 0, recorded: 0, replayed: 0 };
  refusal: string | undefined;

  constructor(step: Step<State, Inputs, Outputs>, most: number) {
    this.#step = step;
    this.#most = most;
  }

  get counts(): StepCounts {
    return { ...this.#counts };
  }

  get bytes(): number {
    let bytes = 0;
    for (const known of this.#known.values()) if (typeof known === 'object') bytes += known.work.bytes;
    return bytes;
  }

  dispose(): void {
    for (const known of this.#known.values()) if (typeof known === 'object') known.work.dispose();
    this.#known.clear();
  }

  run(state: State, inputs: Inputs, call: StepCall): StepResult<State, Outputs> {
    const [before, others] = [leavesOf(state), leavesOf(inputs)];
    const backend = commonBackend('recordedStep', [...before, ...others]);
    const signature = signatureOf(state, inputs, call.statics ?? []);
    const isFollowed = tapesTracking([...before, ...others].map((one) => one.value)).length > 0;
    const result =
      this.#most === 0 || backend.record === undefined || isFollowed
        ? this.#call(state, inputs, call)
        : this.#recordOrReplay(backend, signature, state, inputs, call);
    for (const one of before) one.dispose();
    return result;
  }

  #recordOrReplay(
    backend: Backend,
    signature: string,
    state: State,
    inputs: Inputs,
    call: StepCall,
  ): StepResult<State, Outputs> {
    const known = this.#known.get(signature);
    this.#known.delete(signature);
    this.#known.set(signature, known ?? 'seen');
    if (known === undefined || known === 'refused') return this.#call(state, inputs, call);
    if (known === 'seen') return this.#record(backend, signature, state, inputs, call);
    return this.#replay(backend, known, state, inputs, call) ?? this.#call(state, inputs, call);
  }

  #call(state: State, inputs: Inputs, { seeds = noSeeds }: StepCall): StepResult<State, Outputs> {
    this.#counts.called++;
    return scope(() => {
      const made = this.#step(state, inputs, seeds);
      checkForm(state, made);
      // Aliases: a tensor that is passed on unchanged belongs to the old state and is disposed with it.
      return mapTree(made, (leaf) => leaf.alias());
    });
  }

  #record(
    backend: Backend,
    signature: string,
    state: State,
    inputs: Inputs,
    { seeds = noSeeds }: StepCall,
  ): StepResult<State, Outputs> {
    const count = leavesOf(state).length;
    const pathOf = new Map<number, string>();
    const named: StepSeeds = (path) => {
      const seed = seeds(path);
      pathOf.set(seed, path);
      return seed;
    };
    let form: StepResult<State, Outputs> | undefined;
    let paths: readonly (string | undefined)[] = [];
    const handles = [...leavesOf(state), ...leavesOf(inputs)].map((one) => one.handle);
    const { work, outputs } = (backend as Required<Backend>).record(handles, count, (given) => {
      const { result, seeds: used } = withUsedSeeds(() =>
        scope(() => {
          const tensors = given.map((one) => fromBackendTensor(backend, one));
          const made = this.#step(
            mapTree(state, fillWith(tensors.slice(0, count))),
            mapTree(inputs, fillWith(tensors.slice(count))),
            named,
          );
          checkForm(state, made);
          form = mapTree(made, (leaf) => leaf.alias());
          return [...leavesOf(form.state), ...leavesOf(form.outputs)];
        }),
      );
      paths = used.map((seed) => pathOf.get(seed));
      // The backend takes ownership of the results: give it separate views, as results may share a value.
      const results = result.map((one) => backend.reshape(one.handle, one.shape));
      for (const one of result) one.dispose();
      return { results, seeds: used };
    });
    this.#counts.recorded++;
    const made = form as unknown as StepResult<State, Outputs>;
    const foreign = paths.includes(undefined);
    if (work === undefined || foreign) {
      this.refusal = foreign
        ? 'a seed that is not one of its seeds(path)'
        : 'the backend cannot record it, or a seed is too small to be told from other numbers';
      work?.dispose();
      this.#known.set(signature, 'refused');
    } else {
      this.refusal = undefined;
      this.#known.set(signature, { work, form: made, paths: paths as readonly string[] });
      this.#forgetOldest();
    }
    return fillForm(backend, made, outputs);
  }

  #replay(
    backend: Backend,
    { work, form, paths }: Recorded<State, Outputs>,
    state: State,
    inputs: Inputs,
    { seeds = noSeeds }: StepCall,
  ): StepResult<State, Outputs> | undefined {
    const before = leavesOf(state);
    // Someone else holds a tensor of the state, whose storage the replay would overwrite.
    if (before.some((one) => one.value.references > 1)) return undefined;
    const handles = [...before, ...leavesOf(inputs)].map((one) => one.handle);
    const outputs = work.replay(handles, paths.map(seeds));
    if (outputs === undefined) return undefined;
    this.#counts.replayed++;
    return fillForm(backend, form, outputs);
  }

  #forgetOldest(): void {
    const recorded = [...this.#known].filter(([, known]) => typeof known === 'object');
    for (const [signature, known] of recorded.slice(0, -this.#most)) {
      if (typeof known === 'object') known.work.dispose();
      this.#known.set(signature, 'seen');
    }
    // Each signature is small, but a caller with new statics in every call creates new ones without end.
    for (const signature of [...this.#known.keys()].slice(0, -1000)) this.#known.delete(signature);
  }
}

/** Replaces leaves with those of a list, in order. */
function fillWith(tensors: readonly Tensor[]): () => Tensor {
  let at = 0;
  return () => tensors[at++] as Tensor;
}

/** Wraps what a backend returned as tensors, in the form of the step's own result. */
function fillForm<State, Outputs>(
  backend: Backend,
  form: StepResult<State, Outputs>,
  made: readonly BackendTensor[],
): StepResult<State, Outputs> {
  const tensors = made.map((one) => fromBackendTensor(backend, one));
  const count = leavesOf(form.state).length;
  return {
    state: mapTree(form.state, fillWith(tensors.slice(0, count))),
    outputs: mapTree(form.outputs, fillWith(tensors.slice(count))),
  };
}

function checkForm<State, Outputs>(before: State, made: StepResult<State, Outputs>): void {
  const [old, next] = [leavesOf(before), leavesOf(made.state)];
  const other = old.findIndex((one, at) => {
    const own = next[at];
    return own === undefined || own.dtype !== one.dtype || !sameShape(own.shape, one.shape);
  });
  if (other < 0 && next.length === old.length) return;
  const at = other < 0 ? old.length : other;
  const told = (one: Tensor | undefined): string =>
    one === undefined ? 'nothing' : `${one.dtype} ${formatShape(one.shape)}`;
  throw new TopKError('INVALID_OPTION', `recordedStep: tensor ${at} of the new state`, {
    expected: told(old[at]),
    got: told(next[at]),
    fix: 'Return a state of the same form as the one that came in',
  });
}
