import { dataLoader } from '@topk-attention/nn';

/** Indices of all rows in batches, in order. The last one may be short; `dropped` leaves it out. */
export function fullPass(
  rows: number,
  batch: number,
  lastBatch: 'dropped' | 'kept',
): readonly (readonly number[])[] {
  const size = Math.min(batch, rows);
  const count = lastBatch === 'dropped' ? Math.floor(rows / size) : Math.ceil(rows / size);
  return Array.from({ length: count }, (_, at) =>
    Array.from({ length: Math.min(size, rows - at * size) }, (_, row) => at * size + row),
  );
}

/**
 * Indices of the batches of the n-th look (from 1 on) into an endless stream of shuffled rows. It depends on nothing but
 * its arguments, so a resumed run looks at the same rows.
 */
export function streamed(
  rows: number,
  batch: number,
  batches: number,
  look: number,
  seed: number,
): readonly (readonly number[])[] {
  const size = Math.min(batch, rows);
  const loader = dataLoader(
    { length: rows, get: (index: number) => index },
    {
      batchSize: size,
      collate: (indices) => indices,
      shuffle: true,
      seed,
      dropLast: true,
    },
  );
  const each = loader.batchesPerEpoch;
  const epochs = new Map<number, readonly (readonly number[])[]>();
  return Array.from({ length: batches }, (_, at) => {
    const position = (look - 1) * batches + at;
    const epoch = Math.floor(position / each);
    if (!epochs.has(epoch)) epochs.set(epoch, loader.order(epoch));
    return epochs.get(epoch)?.[position % each] ?? [];
  });
}
