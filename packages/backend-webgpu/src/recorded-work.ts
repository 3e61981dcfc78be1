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
      ({ state, seeds }) => ({
        seeds,
        pairs: state.flatMap(({ read, written }): BufferPair[] =>
          written === undefined ? [] : [[read.span.buffer, written.span.buffer]],
        ),
      }),
    );
    const work = new Work(maker, recording, result.state, own.slice(stateCount), result.outputs);
    const outputs = work.outputs();
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

class Work implements RecordedWork<WebGpuTensor> {
  readonly #maker: TensorMaker;
  readonly #recording: Recording;
  readonly #state: readonly Places[];
  /** Other inputs. */
  readonly #inputs: readonly WebGpuTensor[];
  /** Results other than the state, in buffers that each run writes. */
  readonly #results: readonly WebGpuTensor[];
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
    this.#inputs = inputs;
    this.#results = results;
  }

  get bytes(): number {
    return this.#recording.bytes;
  }

  replay(inputs: readonly WebGpuTensor[], seeds: readonly number[]): readonly WebGpuTensor[] | undefined {
    const now = this.#readPlaces();
    // A view of an old state, such as a reshaped one, would change under its owner. The places themselves count as
    // views, and so does the state that is given.
    const expected = new Map<Storage, number>();
    const expect = ({ storage }: WebGpuTensor): void => {
      expected.set(storage, (expected.get(storage) ?? 0) + 1);
    };
    for (const { read, written } of this.#state) {
      expect(read);
      if (written !== undefined) expect(written);
    }
    for (const [at, place] of now.entries()) {
      if (isSamePlace(inputs[at] as WebGpuTensor, place)) expect(place);
    }
    // The place that is read is written too: by a state from elsewhere, or by the work itself, such as to a cache.
    if ([...expected].some(([{ views }, count]) => views > count)) return undefined;
    for (const [at, place] of [...now, ...this.#inputs].entries()) {
      const given = inputs[at] as WebGpuTensor;
      if (!isSamePlace(given, place)) recordCopy(this.#maker.stream, given, place);
    }
    this.#maker.stream.replay(this.#recording, seeds, this.#isSwapped);
    this.#isSwapped = !this.#isSwapped;
    return this.outputs();
  }

  /**
   * Fresh tensors: views of the state, which is not written before the next replay, and copies of the other results.
   */
  outputs(): readonly WebGpuTensor[] {
    return [
      ...this.#readPlaces().map((one) => this.#maker.view(one, one.shape)),
      ...this.#results.map((one) => copyOf(this.#maker, one)),
    ];
  }

  dispose(): void {
    const places = this.#state.flatMap(({ read, written }) =>
      written === undefined ? [read] : [read, written],
    );
    for (const one of [...places, ...this.#inputs, ...this.#results]) this.#maker.release(one);
    this.#recording.dispose();
  }

  /** Where the next run finds the state. */
  #readPlaces(): readonly WebGpuTensor[] {
    return this.#state.map(({ read, written = read }) => (this.#isSwapped ? written : read));
  }
}
