import type { Backend, BackendTensor, RecordedWork } from '../contract/backend.js';
import { TopKError } from '../contract/errors.js';
import { formatShape, sameShape } from '../contract/shape.js';
import { commonBackend } from '../tensor/apply.js';
import { scope } from '../tensor/scope.js';
import { hasOpenTape } from '../tensor/tape.js';
import { fromBackendTensor, type Tensor } from '../tensor/tensor.js';
import { leavesOf, mapTree, type Tree } from '../tensor/tree.js';
import { signatureOf } from './signature.js';
import type { Step, StepCall, StepCounts, StepResult, StepSeeds } from './step.js';
import { isRecording, withUsedSeeds } from './used-seeds.js';

/** A recorded step: its commands, and the form of its result. */
interface Recorded<State, Outputs> {
  readonly work: RecordedWork<BackendTensor>;
  readonly form: StepResult<State, Outputs>;
  /** Paths of the seeds that a replay replaces, in the order of the work. */
  readonly paths: readonly string[];
}

/** Shapes and statics that are remembered, recorded or not. */
const MOST_SIGNATURES = 1000;

/** 'seen': called once; 'refused': cannot be recorded. */
type Known<State, Outputs> = Recorded<State, Outputs> | 'seen' | 'refused';

const noSeeds: StepSeeds = (path) => {
  throw new TopKError('INVALID_OPTION', `recordedStep: ${path} needs a seed`, {
    expected: 'seeds in the call',
    got: 'none',
    fix: 'Pass seeds: seedsFrom(step)',
  });
};

/** What `recordedStep` remembers of a step, and how it makes each call. */
export class Recordings<State extends Tree, Inputs extends Tree, Outputs extends Tree> {
  readonly #step: Step<State, Inputs, Outputs>;
  readonly #most: number;
  /** By signature, the most recently used last. */
  readonly #known = new Map<string, Known<State, Outputs>>();
  readonly #backends = new WeakMap<Backend, number>();
  #lastBackend = 0;
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
    const signature = `${this.#idOf(backend)} ${signatureOf(state, inputs, call.statics ?? [])}`;
    // A replay leaves nothing on tapes, not even for tensors from outside; and what records is recorded with the step.
    const isCalled = this.#most === 0 || backend.record === undefined || hasOpenTape() || isRecording();
    const result = isCalled
      ? this.#call(state, inputs, call)
      : this.#recordOrReplay(backend, signature, state, inputs, call, before, others);
    for (const one of before) one.dispose();
    return result;
  }

  #recordOrReplay(
    backend: Backend,
    signature: string,
    state: State,
    inputs: Inputs,
    call: StepCall,
    before: readonly Tensor[],
    others: readonly Tensor[],
  ): StepResult<State, Outputs> {
    const known = this.#known.get(signature);
    this.#known.delete(signature);
    this.#known.set(signature, known ?? 'seen');
    this.#forgetOldest();
    if (known === undefined || known === 'refused') return this.#call(state, inputs, call);
    if (known === 'seen') return this.#record(backend, signature, state, inputs, call);
    return this.#replay(backend, known, before, others, call) ?? this.#call(state, inputs, call);
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
    const made: { form?: StepResult<State, Outputs>; paths: readonly (string | undefined)[] } = { paths: [] };
    const handles = [...leavesOf(state), ...leavesOf(inputs)].map((one) => one.handle);
    const { work, outputs } = (backend as Required<Backend>).record(handles, count, (given) => {
      const { result, seeds: used } = withUsedSeeds(() =>
        scope(() => {
          const tensors = given.map((one) => fromBackendTensor(backend, one));
          const own = this.#step(
            mapTree(state, fillWith(tensors.slice(0, count))),
            mapTree(inputs, fillWith(tensors.slice(count))),
            named,
          );
          checkForm(state, own);
          made.form = mapTree(own, (leaf) => leaf.alias());
          return [...leavesOf(made.form.state), ...leavesOf(made.form.outputs)];
        }),
      );
      made.paths = used.map((seed) => pathOf.get(seed));
      // The backend takes ownership of the results: give it separate views, as results may share a value.
      const results = result.map((one) => backend.reshape(one.handle, one.shape));
      for (const one of result) one.dispose();
      return { results, seeds: used };
    });
    this.#counts.recorded++;
    const { form, paths } = made;
    if (form === undefined)
      throw new TopKError('ENGINE_FAILURE', `${backend.name}: record() did not run the step`);
    const isForeign = paths.includes(undefined);
    if (work === undefined || isForeign) {
      this.refusal = isForeign
        ? 'a seed that is not one of its seeds(path)'
        : 'the backend cannot record it, or a seed is too small to be told from other numbers';
      work?.dispose();
      this.#known.set(signature, 'refused');
    } else {
      this.refusal = undefined;
      this.#known.set(signature, { work, form, paths: paths as readonly string[] });
      this.#keepLatest();
    }
    return fillForm(backend, form, outputs);
  }

  #replay(
    backend: Backend,
    { work, form, paths }: Recorded<State, Outputs>,
    before: readonly Tensor[],
    others: readonly Tensor[],
    { seeds = noSeeds }: StepCall,
  ): StepResult<State, Outputs> | undefined {
    // Someone else holds a tensor of the state, whose storage the replay would overwrite.
    if (before.some((one) => one.value.references > 1)) return undefined;
    const handles = [...before, ...others].map((one) => one.handle);
    const outputs = work.replay(handles, paths.map(seeds));
    if (outputs === undefined) return undefined;
    this.#counts.replayed++;
    return fillForm(backend, form, outputs);
  }

  /** Keeps the recordings used last; another one is recorded again at its next call. */
  #keepLatest(): void {
    const recorded = [...this.#known].filter(([, known]) => typeof known === 'object');
    for (const [signature, known] of recorded.slice(0, -this.#most)) {
      if (typeof known === 'object') known.work.dispose();
      this.#known.set(signature, 'seen');
    }
  }

  /** A caller with new statics in every call has signatures without end. */
  #forgetOldest(): void {
    if (this.#known.size <= MOST_SIGNATURES) return;
    for (const [signature, known] of this.#known) {
      if (typeof known === 'object') known.work.dispose();
      this.#known.delete(signature);
      return;
    }
  }

  #idOf(backend: Backend): number {
    const id = this.#backends.get(backend) ?? ++this.#lastBackend;
    this.#backends.set(backend, id);
    return id;
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
  const fill = fillWith(made.map((one) => fromBackendTensor(backend, one)));
  return { state: mapTree(form.state, fill), outputs: mapTree(form.outputs, fill) };
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
  throw new TopKError(
    'INVALID_OPTION',
    `recordedStep: tensor ${at} of the new state differs from the old one`,
    {
      expected: told(old[at]),
      got: told(next[at]),
      fix: 'Return a state with the structure, shapes and dtypes of the one passed in',
    },
  );
}
