import { type DataLoader, dataLoader, type LoaderState } from '@topk-attention/nn';
import type { Cut, Part } from '../model/parts.js';

/**
 * Shuffled batches of rows without end, each handed out in parts. Which rows a step sees does not depend on the parts: runs
 * that fit the memory in different ways still learn from the same examples.
 *
 * @param parts of each batch
 * @param make what to make of a part
 */
export function loaderInParts<Made>(
  rows: number,
  { batch, parts, seed }: { readonly batch: number; readonly parts: number; readonly seed: number },
  cut: Cut,
  make: (part: Part) => Made,
): DataLoader<Made> {
  const whole = dataLoader(
    { length: rows, get: (index: number) => index },
    {
      batchSize: batch,
      collate: (indices) => cut(indices).map((part) => ({ made: make(part), size: part.indices.length })),
      shuffle: true,
      seed,
      dropLast: true,
    },
  );
  return {
    batchesPerEpoch: whole.batchesPerEpoch * parts,
    order: (epoch) => whole.order(epoch).flatMap((one) => cut(one).map(({ indices }) => indices)),
    // States count parts.
    async *batches(from: LoaderState = { epoch: 0, batch: 0 }) {
      let skipped = from.batch % parts;
      const begin = { epoch: from.epoch, batch: Math.floor(from.batch / parts) };
      const batches = whole.batches(begin);
      while (true) {
        const { batch: made, state } = (await batches.next()).value;
        for (const [at, { made: own, size }] of made.entries()) {
          if (skipped-- > 0) continue;
          yield { batch: own, size, state: { ...state, batch: (state.batch - 1) * parts + at + 1 } };
        }
      }
    },
  };
}
