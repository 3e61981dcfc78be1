import type { RecordedWork } from '@topk-attention/core/backend';
import { recordCopy } from './primitives/layout.js';
import type { BufferPair, Recording } from './runtime/recording.js';
import type { Stream } from './runtime/stream.js';
import type { Storage, WebGpuTensor } from './tensor.js';

/** What recorded work needs from the backend that it belongs to. */
export interface TensorMaker {
  readonly stream: Stream;
  allocate(shape: WebGpuTensor['shape'], dtype: WebGpuTensor['dtype']): WebGpuTensor;
  view(x: WebGpuTensor, shape: WebGpuTensor['shape']): WebGpuTensor;
  window(
    storage: Storage,
    first: number,
    shape: WebGpuTensor['shape'],
    dtype: WebGpuTensor['dtype'],
  ): WebGpuTensor;
  release(x: WebGpuTensor): void;
}

interface BodyResult {
  readonly results: readonly WebGpuTensor[];
  readonly seeds: readonly number[];
}

/**
 * Runs `body` once on its own buffers and keeps what it recorded. A tensor of the state has two places, one read and
 * one written, which swap roles with every run: nothing is copied.
 */
export function recordWork(
  maker: TensorMaker,
  inputs: readonly WebGpuTensor[],
  stateCount: number,
  body: (inputs: readonly WebGpuTensor[]) => BodyResult,
): { readonly work: RecordedWork<WebGpuTensor> | undefined; readonly outputs: readonly WebGpuTensor[] } {
  const { stream } = maker;
  const own: WebGpuTensor[] = [];
  try {
    // Apart: the storage of a state takes turns with its successor's, that of other inputs does not.
    own.push(...copiesOf(maker, inputs.slice(0, stateCount)));
    own.push(...copiesOf(maker, inputs.slice(stateCount)));
    // `body` may write over the state, such as a cache: it then stays in its place.
    for (const { storage } of own.slice(0, stateCount)) storage.keepers++;
    const { result, recording } = stream.record(
      () => {
        const { results, seeds } = body(own.map((one) => maker.view(one, one.shape)));
        for (const { storage } of own.slice(0, stateCount)) storage.keepers = 0;
        return { ...settle(maker, own.slice(0, stateCount), results), seeds };
      },
      ({ state, seeds, outputs }) => ({
        seeds,
        results: outputs.filter(isFresh).map(({ span }) => span.buffer),
        pairs: state.flatMap(({ read, written }): BufferPair[] =>
          written === undefined ? [] : [[read.span.buffer, written.span.buffer]],
        ),
      }),
    );
    const work = new Work(maker, recording, result.state, own.slice(stateCount), result.outputs);
    const outputs = work.outputs(result.outputs.filter(isFresh));
    if (recording.takesSeeds) return { work, outputs };
    work.dispose();
    return { work: undefined, outputs };
  } catch (error) {
    for (const one of own) maker.release(one);
    throw error;
  }
}

/** The places of a tensor of the state. */
interface Places {
  /** Where a run finds it. */
  readonly read: WebGpuTensor;
  /** Where a run leaves its successor, alternating with `read`; undefined: it is copied back there at the end. */
  readonly written: WebGpuTensor | undefined;
}

/** Decides where the state and the outputs of a run are stored. Takes over the results. */
function settle(
  maker: TensorMaker,
  state: readonly WebGpuTensor[],
  results: readonly WebGpuTensor[],
): { readonly state: readonly Places[]; readonly outputs: readonly WebGpuTensor[] } {
  const taken = new Set<Storage>(state.map(({ storage }) => storage));
  /** The tensors of the state that share a storage alternate together. */
  const turns = new Array<boolean>(state.length).fill(false);
  for (const [storage, members] of membersOf(state)) {
    const next = (results[members[0] as number] as WebGpuTensor).storage;
    if (taken.has(next) || !isSuccessor(storage, next, members, state, results)) continue;
    taken.add(next);
    for (const at of members) turns[at] = true;
  }
  // A result that lies in a place but is not its successor is copied away: the place is written before the result
  // is read.
  const moved = results.map((one, at) => {
    const isAtHome = isSamePlace(one, state[at]) || turns[at] === true;
    if (isAtHome || !taken.has(one.storage)) return one;
    const copy = copyOf(maker, one);
    maker.release(one);
    return copy;
  });
  const places = state.map((read, at): Places => {
    const next = moved[at] as WebGpuTensor;
    if (turns[at] === true) return { read, written: next };
    if (!isSamePlace(next, read)) recordCopy(maker.stream, next, read);
    maker.release(next);
    return { read, written: undefined };
  });
  return { state: places, outputs: moved.slice(state.length) };
}

/** Indices of the tensors in each storage. */
function membersOf(tensors: readonly WebGpuTensor[]): ReadonlyMap<Storage, readonly number[]> {
  const members = new Map<Storage, number[]>();
  for (const [at, { storage }] of tensors.entries()) {
    const known = members.get(storage);
    if (known === undefined) members.set(storage, [at]);
    else known.push(at);
  }
  return members;
}

/**
 * Whether a result's storage may take turns with that of the state: it holds the results of just these tensors, each
 * where its own is, nobody else uses it, and both are as large.
 */
function isSuccessor(
  storage: Storage,
  next: Storage,
  members: readonly number[],
  state: readonly WebGpuTensor[],
  results: readonly WebGpuTensor[],
): boolean {
  const [from, to] = [storage.span, next.span];
  if (next.owner !== 'own' || next.views !== members.length) return false;
  if (from.offset !== 0 || to.offset !== 0 || from.buffer.size !== to.buffer.size) return false;
  return members.every((at) => {
    const result = results[at] as WebGpuTensor;
    return result.storage === next && result.span.offset === (state[at] as WebGpuTensor).span.offset;
  });
}

function isSamePlace(one: WebGpuTensor, other: WebGpuTensor | undefined): boolean {
  return one.storage === other?.storage && one.span.offset === other.span.offset;
}

/** Copies of tensors; those in windows of one storage are again in windows of one. */
function copiesOf(maker: TensorMaker, inputs: readonly WebGpuTensor[]): readonly WebGpuTensor[] {
  const copied = new Map<Storage, WebGpuTensor>();
  const copies = inputs.map((input) => {
    if (!input.isWindow) return copyOf(maker, input);
    let whole = copied.get(input.storage);
    if (whole === undefined) {
      const { span } = input.storage;
      whole = maker.allocate([span.size / 4], 'f32');
      maker.stream.copy(span, { ...whole.span, size: span.size });
      copied.set(input.storage, whole);
    }
    const first = (input.span.offset - input.storage.span.offset) / 4;
    return maker.window(whole.storage, first, input.shape, input.dtype);
  });
  for (const whole of copied.values()) maker.release(whole);
  return copies;
}

function copyOf(maker: TensorMaker, x: WebGpuTensor): WebGpuTensor {
  const copy = maker.allocate(x.shape, x.dtype);
  recordCopy(maker.stream, x, copy);
  return copy;
}

/** Of a result that each run makes anew. */
interface Form {
  readonly shape: WebGpuTensor['shape'];
  readonly dtype: WebGpuTensor['dtype'];
  readonly isMade: true;
}

function isForm(result: WebGpuTensor | Form): result is Form {
  return 'isMade' in result;
}

/** Whether a result has its buffer for itself, so that a replay can write it to another one. */
function isFresh({ storage, isWindow }: WebGpuTensor): boolean {
  return storage.owner === 'own' && storage.views === 1 && storage.span.offset === 0 && !isWindow;
}

/** A tensor of the state, and the number of its storage. */
interface Place {
  readonly tensor: WebGpuTensor;
  readonly storage: number;
}

class Work implements RecordedWork<WebGpuTensor> {
  readonly #maker: TensorMaker;
  readonly #recording: Recording;
  readonly #state: readonly Places[];
  /** Where a run finds the state: the places as recorded, and with swapped roles. */
  readonly #places: readonly [recorded: readonly Place[], swapped: readonly Place[]];
  /** Those of the places, and how many of these each has. */
  readonly #storages: readonly Storage[];
  readonly #ownViews: readonly number[];
  /** Other inputs. */
  readonly #inputs: readonly WebGpuTensor[];
  /** Results other than the state: in a buffer that each run writes, or the form of one that each run makes anew. */
  readonly #results: readonly (WebGpuTensor | Form)[];
  /** Whether the places have swapped roles: after an odd number of runs. */
  #isSwapped = true;

  constructor(
    maker: TensorMaker,
    recording: Recording,
    state: readonly Places[],
    inputs: readonly WebGpuTensor[],
    results: readonly WebGpuTensor[],
  ) {
    this.#maker = maker;
    this.#recording = recording;
    this.#state = state;
    const views = new Map<Storage, number>();
    for (const { read, written } of state) {
      for (const one of written === undefined ? [read] : [read, written]) {
        views.set(one.storage, (views.get(one.storage) ?? 0) + 1);
      }
    }
    this.#storages = [...views.keys()];
    this.#ownViews = [...views.values()];
    const placeOf = (tensor: WebGpuTensor): Place => ({
      tensor,
      storage: this.#storages.indexOf(tensor.storage),
    });
    this.#places = [
      state.map(({ read }) => placeOf(read)),
      state.map(({ read, written = read }) => placeOf(written)),
    ];
    this.#inputs = inputs;
    this.#results = results.map((one) =>
      isFresh(one) ? { shape: one.shape, dtype: one.dtype, isMade: true } : one,
    );
  }

  get bytes(): number {
    return this.#recording.bytes;
  }

  replay(inputs: readonly WebGpuTensor[], seeds: readonly number[]): readonly WebGpuTensor[] | undefined {
    const now = this.#places[this.#isSwapped ? 1 : 0];
    // A view of an old state, such as a reshaped one, would change under its owner. The places themselves count as
    // views, and so does the state that is given. The place that is read is written too: by a state from elsewhere, or
    // by the work itself, such as to a cache.
    const expected = this.#ownViews.slice();
    for (let at = 0; at < now.length; at++) {
      const { tensor, storage } = now[at] as Place;
      if (isSamePlace(inputs[at] as WebGpuTensor, tensor)) expected[storage] = (expected[storage] ?? 0) + 1;
    }
    for (let at = 0; at < expected.length; at++) {
      if ((this.#storages[at] as Storage).views > (expected[at] as number)) return undefined;
    }
    for (let at = 0; at < inputs.length; at++) {
      const given = inputs[at] as WebGpuTensor;
      const place = now[at]?.tensor ?? (this.#inputs[at - now.length] as WebGpuTensor);
      if (!isSamePlace(given, place)) recordCopy(this.#maker.stream, given, place);
    }
    const made = this.#results.filter(isForm).map(({ shape, dtype }) => this.#maker.allocate(shape, dtype));
    const spans = made.map(({ span }) => span);
    this.#maker.stream.replay(this.#recording, seeds, this.#isSwapped, spans);
    this.#isSwapped = !this.#isSwapped;
    return this.outputs(made);
  }

  /**
   * Fresh tensors: views of the state, which is not written before the next replay, what the run made, and copies of
   * the other results.
   */
  outputs(made: readonly WebGpuTensor[]): readonly WebGpuTensor[] {
    let at = 0;
    const state = this.#places[this.#isSwapped ? 1 : 0];
    return [
      ...state.map(({ tensor }) => this.#maker.view(tensor, tensor.shape)),
      ...this.#results.map((one) => (isForm(one) ? (made[at++] as WebGpuTensor) : copyOf(this.#maker, one))),
    ];
  }

  dispose(): void {
    const places = this.#state.flatMap(({ read, written }) =>
      written === undefined ? [read] : [read, written],
    );
    for (const one of [...places, ...this.#inputs, ...this.#results]) {
      if (!isForm(one)) this.#maker.release(one);
    }
    this.#recording.dispose();
  }
}
