/** Rows of a batch whose gradients are computed together, and the tokens that their documents are padded to. */
export interface Part {
  readonly indices: readonly number[];
  readonly tokens: number;
}

/** How a batch is cut into parts, of as many rows each but for the last one. Which rows it has does not change. */
export type Cut = (batch: readonly number[]) => readonly Part[];

/** Parts of `size` rows in the order of the batch, each padded to all `tokens`. */
export function evenCut(size: number, tokens: number): Cut {
  return (batch) => runsOf(batch, size).map((indices) => ({ indices, tokens }));
}

/** Runs of `size` neighbours; the last one may be shorter. */
export function runsOf<T>(list: readonly T[], size: number): readonly (readonly T[])[] {
  return Array.from({ length: Math.ceil(list.length / size) }, (_, at) =>
    list.slice(at * size, (at + 1) * size),
  );
}
