import {
  aBoolean,
  aFunction,
  aNumber,
  describeValue,
  type OptionKinds,
  readOptions,
  required,
  TopKError,
} from '@topk-attention/core';
import { requireWhole } from '../require.js';
import { bucketed } from './buckets.js';
import { permutation } from './shuffle.js';

/** Examples by index; an array is a dataset. `get` may be slow: examples of the next batches are fetched in advance. */
export interface Dataset<Example> {
  readonly length: number;
  get(index: number): Example | Promise<Example>;
}

/** A run's position in its data. Plain data, saved with a checkpoint. */
export interface LoaderState {
  readonly epoch: number;
  /** Batches of the epoch handed out so far. */
  readonly batch: number;
}

export interface LoadedBatch<Batch> {
  readonly batch: Batch;
  /** Number of examples in it. */
  readonly size: number;
  /** The state after this batch: resuming from it gives the next one. */
  readonly state: LoaderState;
}

export interface DataLoaderOptions<Example, Batch> {
  readonly batchSize: number;
  /** Makes a batch from examples, such as padded arrays. Also gets their indices. */
  readonly collate: (examples: readonly Example[], indices: readonly number[]) => Batch | Promise<Batch>;
  /** A new order every epoch. Default false. */
  readonly shuffle?: boolean;
  /** Seed of the orders. Default 0. */
  readonly seed?: number;
  /** Leaves out the last batch of an epoch if it is not full. Default false. */
  readonly dropLast?: boolean;
  /**
   * Length of the example at an index: each batch then has examples of similar length, which reduces padding, and the
   * batches are shuffled. Needs `shuffle`. Default: no buckets.
   */
  readonly lengthOf?: (index: number) => number;
  /** Batches prepared in advance while the caller computes. Default 1. */
  readonly prefetch?: number;
}

export interface DataLoader<Batch> {
  readonly batchesPerEpoch: number;
  /** Endless batches, epoch after epoch, from a given state (default: the beginning). */
  batches(from?: LoaderState): AsyncGenerator<LoadedBatch<Batch>, never, undefined>;
  /** Indices of the examples of each batch of an epoch. */
  order(epoch: number): readonly (readonly number[])[];
}

const kinds: OptionKinds<DataLoaderOptions<unknown, unknown>> = {
  batchSize: required(aNumber),
  collate: required(aFunction()),
  shuffle: aBoolean,
  seed: aNumber,
  dropLast: aBoolean,
  lengthOf: aFunction(),
  prefetch: aNumber,
};

/**
 * Batches of a dataset, in an order that depends only on (seed, epoch).
 *
 * @throws TopKError INVALID_OPTION; from `batches`, whatever the dataset and `collate` throw.
 */
export function dataLoader<Example, Batch>(
  dataset: Dataset<Example> | readonly Example[],
  options: DataLoaderOptions<Example, Batch>,
): DataLoader<Batch> {
  const given = readOptions('dataLoader', options as DataLoaderOptions<unknown, unknown>, kinds);
  const { batchSize, shuffle = false, seed = 0, dropLast = false, lengthOf, prefetch = 1 } = given;
  const { collate } = options;
  requireWhole('dataLoader', 'batchSize', batchSize, 1);
  requireWhole('dataLoader', 'seed', seed, 0);
  requireWhole('dataLoader', 'prefetch', prefetch, 0);
  const source = datasetOf(dataset);
  const { length } = source;
  const batchesPerEpoch = dropLast ? Math.floor(length / batchSize) : Math.ceil(length / batchSize);
  if (batchesPerEpoch === 0) {
    throw new TopKError('INVALID_OPTION', 'dataLoader: too few examples for a batch', {
      expected: dropLast ? `at least ${batchSize} examples` : 'at least one example',
      got: String(length),
    });
  }
  if (lengthOf !== undefined && !shuffle) {
    throw new TopKError('INVALID_OPTION', 'dataLoader: lengthOf needs shuffle: true', {
      expected: 'shuffle: true',
      got: String(shuffle),
    });
  }

  const order = (epoch: number): readonly (readonly number[])[] => {
    const indices = shuffle ? permutation(length, seed, epoch) : Int32Array.from({ length }, (_, i) => i);
    const sorted = lengthOf === undefined ? indices : bucketed(indices, { batchSize, lengthOf });
    const cut = Array.from({ length: batchesPerEpoch }, (_, i) => [
      ...sorted.subarray(i * batchSize, (i + 1) * batchSize),
    ]);
    if (lengthOf === undefined) return cut;
    // Batches of one bucket are adjacent, so shuffle their order too, with a counter that no epoch uses.
    return [...permutation(cut.length, seed, 0x8000_0000 + epoch)].map((i) => cut[i] as number[]);
  };

  const load = async (indices: readonly number[]): Promise<Batch> =>
    collate(await Promise.all(indices.map((index) => source.get(index))), indices);

  async function* batches(
    from: LoaderState = { epoch: 0, batch: 0 },
  ): AsyncGenerator<LoadedBatch<Batch>, never> {
    requireWhole('dataLoader: batches', 'epoch', from.epoch, 0);
    requireWhole('dataLoader: batches', 'batch', from.batch, 0);
    let { epoch, batch } = from;
    let plan = order(epoch);
    const next = (): { size: number; state: LoaderState; made: Promise<Batch> } => {
      if (batch >= batchesPerEpoch) {
        [epoch, batch] = [epoch + 1, 0];
        plan = order(epoch);
      }
      const indices = plan[batch] as readonly number[];
      batch++;
      const made = load(indices);
      // A batch that fails while others wait is reported when its turn comes.
      made.catch(() => {});
      return { size: indices.length, state: { epoch, batch }, made };
    };
    const waiting = Array.from({ length: prefetch }, next);
    while (true) {
      waiting.push(next());
      const { size, state, made } = waiting.shift() as ReturnType<typeof next>;
      yield { batch: await made, size, state };
    }
  }
  return { batchesPerEpoch, batches, order };
}

function datasetOf<Example>(given: Dataset<Example> | readonly Example[]): Dataset<Example> {
  if (Array.isArray(given)) return { length: given.length, get: (index) => given[index] as Example };
  const dataset = given as Dataset<Example>;
  if (Number.isSafeInteger(dataset?.length) && typeof dataset.get === 'function') return dataset;
  throw new TopKError('INVALID_OPTION', 'dataLoader: bad dataset', {
    expected: 'an array, or an object with length and get(index)',
    got: describeValue(given),
  });
}
