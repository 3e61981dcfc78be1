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
    for (const input of inputs) own.push(copyOf(maker, input));
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
  /**
   * Whether a result may become a place: nobody else uses it, and it is as large as the place that it alternates with.
   */
  const turns = state.map((place, at) => {
    const { storage } = results[at] as WebGpuTensor;
    const fits = storage.span.offset === 0 && storage.span.buffer.size === place.span.buffer.size;
    if (!storage.isWritable || !fits || taken.has(storage)) return false;
    taken.add(storage);
    return true;
  });
  // A result that lies in a place but is not its successor is copied away: the place is written before the result
  // is read.
  const moved = results.map((one, at) => {
    const isAtHome = one.storage === state[at]?.storage || turns[at] === true;
    if (isAtHome || !taken.has(one.storage)) return one;
    const copy = copyOf(maker, one);
    maker.release(one);
    return copy;
  });
  const places = state.map((read, at): Places => {
    const next = moved[at] as WebGpuTensor;
    if (turns[at] === true) return { read, written: next };
    if (next.storage !== read.storage) recordCopy(maker.stream, next, read);
    maker.release(next);
    return { read, written: undefined };
  });
  return { state: places, outputs: moved.slice(state.length) };
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
    const next = this.#state.map(({ read, written = read }) => (this.#isSwapped ? read : written));
    // A view of an old state, such as a reshaped one, would change under its owner. The place itself counts as
    // one view.
    const isViewed = next.some(({ storage }, at) => {
      const isGiven = storage === now[at]?.storage && inputs[at]?.storage === storage;
      return storage.views > (isGiven ? 2 : 1);
    });
    // A state from elsewhere is written to the place that is read.
    const isReplaced = now.some(({ storage }, at) => inputs[at]?.storage !== storage && storage.views > 1);
    if (isViewed || isReplaced) return undefined;
    for (const [at, place] of [...now, ...this.#inputs].entries()) {
      const given = inputs[at] as WebGpuTensor;
      if (given.storage !== place.storage) recordCopy(this.#maker.stream, given, place);
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
