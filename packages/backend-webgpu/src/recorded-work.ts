import type { RecordedWork } from '@topk-attention/core/backend';
import { recordCopy } from './primitives/layout.js';
import type { Recording } from './runtime/recording.js';
import type { Stream } from './runtime/stream.js';
import type { WebGpuTensor } from './tensor.js';

/** What recorded work takes from the backend that it belongs to. */
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
 * Runs `body` once on buffers of its own and keeps what it recorded. The state lies in the first of them: its successors
 * are copied there at the end, so that the next replay begins where this one ended.
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
    const { result, recording } = stream.record(
      () => {
        const { results, seeds } = body(own.map((one) => maker.view(one, one.shape)));
        return { results: keepState(maker, own.slice(0, stateCount), results), seeds };
      },
      ({ seeds }) => seeds,
    );
    const work = new Work(maker, recording, own, stateCount, result.results);
    const outputs = work.outputs();
    if (recording.takesSeeds) return { work, outputs };
    work.dispose();
    return { work: undefined, outputs };
  } catch (error) {
    for (const one of own) maker.release(one);
    throw error;
  }
}

/** Copies the successors of the state into its place; results that lie there are moved away before. */
function keepState(
  maker: TensorMaker,
  state: readonly WebGpuTensor[],
  results: readonly WebGpuTensor[],
): readonly WebGpuTensor[] {
  const places = new Set(state.map(({ storage }) => storage));
  const safe = results.map((one, index) => {
    if (one.storage === state[index]?.storage || !places.has(one.storage)) return one;
    const moved = copyOf(maker, one);
    maker.release(one);
    return moved;
  });
  for (const [index, place] of state.entries()) {
    const next = safe[index] as WebGpuTensor;
    if (next.storage !== place.storage) recordCopy(maker.stream, next, place);
    maker.release(next);
  }
  return safe.slice(state.length);
}

function copyOf(maker: TensorMaker, x: WebGpuTensor): WebGpuTensor {
  const copy = maker.allocate(x.shape, x.dtype);
  recordCopy(maker.stream, x, copy);
  return copy;
}

class Work implements RecordedWork<WebGpuTensor> {
  readonly #maker: TensorMaker;
  readonly #recording: Recording;
  /** State and other inputs. */
  readonly #own: readonly WebGpuTensor[];
  readonly #stateCount: number;
  /** Results besides the state, in buffers that each replay writes. */
  readonly #results: readonly WebGpuTensor[];

  constructor(
    maker: TensorMaker,
    recording: Recording,
    own: readonly WebGpuTensor[],
    stateCount: number,
    results: readonly WebGpuTensor[],
  ) {
    this.#maker = maker;
    this.#recording = recording;
    this.#own = own;
    this.#stateCount = stateCount;
    this.#results = results;
  }

  get bytes(): number {
    return this.#recording.bytes;
  }

  replay(inputs: readonly WebGpuTensor[], seeds: readonly number[]): readonly WebGpuTensor[] | undefined {
    const state = this.#own.slice(0, this.#stateCount);
    // A view of the old state, such as a reshaped one, would change under its owner.
    if (state.some(({ storage }, at) => storage.views > (inputs[at]?.storage === storage ? 2 : 1))) {
      return undefined;
    }
    for (const [at, place] of this.#own.entries()) {
      const given = inputs[at] as WebGpuTensor;
      if (given.storage !== place.storage) recordCopy(this.#maker.stream, given, place);
    }
    this.#maker.stream.replay(this.#recording, seeds);
    return this.outputs();
  }

  /** Fresh tensors: views of the state, which nobody writes before the next replay, and copies of the other results. */
  outputs(): readonly WebGpuTensor[] {
    const state = this.#own.slice(0, this.#stateCount);
    return [
      ...state.map((one) => this.#maker.view(one, one.shape)),
      ...this.#results.map((one) => copyOf(this.#maker, one)),
    ];
  }

  dispose(): void {
    for (const one of [...this.#own, ...this.#results]) this.#maker.release(one);
    this.#recording.dispose();
  }
}
