import { type DataLoader, dataLoader, type LoaderState } from '@topk-attention/nn';
import { inParts } from '../evaluation/looks.js';

/**
 * Shuffled batches of rows without end, each handed out in parts. Which rows a step sees does not depend on the parts: runs
 * that fit the memory in different ways still learn from the same examples in the same order.
 *
 * @param make what to make of the indices of a part
 */
export function loaderInParts<Part>(
  rows: number,
  { batch, part, seed }: { readonly batch: number; readonly part: number; readonly seed: number },
  make: (indices: readonly number[]) => Part,
): DataLoader<Part> {
  const whole = dataLoader(
    { length: rows, get: (index: number) => index },
    {
      batchSize: batch,
      collate: (indices) => inParts([indices], part).map((own) => ({ made: make(own), size: own.length })),
      shuffle: true,
      seed,
      dropLast: true,
    },
  );
  const parts = Math.ceil(batch / part);
  return {
    batchesPerEpoch: whole.batchesPerEpoch * parts,
    order: (epoch) => inParts(whole.order(epoch), part),
    // States count parts.
    async *batches(from: LoaderState = { epoch: 0, batch: 0 }) {
      let skipped = from.batch % parts;
      const begin = { epoch: from.epoch, batch: Math.floor(from.batch / parts) };
      const batches = whole.batches(begin);
      while (true) {
        const { batch: cut, state } = (await batches.next()).value;
        for (const [at, { made, size }] of cut.entries()) {
          if (skipped-- > 0) continue;
          yield { batch: made, size, state: { ...state, batch: (state.batch - 1) * parts + at + 1 } };
        }
      }
    },
  };
}
