import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { windowsOf } from '../../windows.js';
import type { Part } from '../shared/geometry.js';

/** Words of a list of rows of a part: their count, then the rows. */
const wordsOf = ({ heads, queries }: Pick<Part, 'heads' | 'queries'>): number => 1 + heads * queries;

/** Bytes of the lists of all parts. */
export function unusualBytes(parts: readonly Part[]): number {
  return 4 * windowsOf(parts.map(wordsOf)).words;
}

/** For each part, a list that is still empty; all in one buffer, so that one command clears them. */
export function emptyLists(
  stream: Stream,
  parts: readonly Part[],
): { readonly all: Span; readonly of: ReadonlyMap<Part, Span> } {
  const { places } = windowsOf(parts.map(wordsOf));
  const all = stream.scratch(unusualBytes(parts));
  stream.clear(all);
  const listOf = (part: Part, at: number): Span => ({
    buffer: all.buffer,
    offset: all.offset + 4 * (places[at] as number),
    size: 4 * wordsOf(part),
  });
  return { all, of: new Map(parts.map((part, at) => [part, listOf(part, at)])) };
}
