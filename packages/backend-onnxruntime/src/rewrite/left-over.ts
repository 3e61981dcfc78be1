import { isSame, type Length, type Lengths, lengthAt } from './extents/lengths.js';
import type { View } from './extents/settle.js';
import { operatorOf } from './graph/attributes.js';
import type { LongValue } from './report.js';
import type { Outcome } from './rewrite-graph.js';

/** An extent, also under the extents that reports are for where it is known there. */
interface Extent extends Length {
  readonly reported: number | undefined;
}

/**
 * Values of a rewritten model with one axis as long as the queries of a block and another as long as its keys. Those made
 * inside of loops over chunks are not among them, whether the loops are new or the file had them: they have the rows of a
 * chunk.
 *
 * @param found Of the model that the blocks were found in, under the extents that reports are for.
 * @param lengths Of the rewritten model.
 */
export function leftOver(
  found: View,
  lengths: Lengths,
  outcomes: readonly Outcome[],
  prefix: string,
): readonly LongValue[] {
  const pairs = outcomes.flatMap(({ block }): readonly (readonly [Extent, Extent])[] => {
    if (block === undefined) return [];
    const scores = found.known(block.index.graph, block.softmax.output[0] as string)?.dims;
    const rows = { ...block.queryLength, reported: scores?.at(-2) };
    return [[rows, { ...block.keyLength, reported: scores?.at(-1) }]];
  });
  const left = new Map<string, LongValue>();
  for (const { graph, node, name, known } of lengths.first.values()) {
    const axes = lengths.axes(graph, name);
    if (axes === undefined || axes.dims.length < 2 || name.startsWith(prefix)) continue;
    const reported = lengths.reported.known(graph, name)?.dims;
    const places = axes.dims.map((_, axis): Extent => {
      const fromRight = axes.dims.length - 1 - axis;
      return { ...lengthAt(axes, fromRight), reported: reported?.at(-1 - fromRight) };
    });
    const isLong = pairs.some(([rows, columns]) =>
      places.some(
        (one, at) => isAsLong(one, rows) && places.some((other, to) => to !== at && isAsLong(other, columns)),
      ),
    );
    if (isLong) left.set(name, { name, operator: operatorOf(node), dims: reported ?? known.dims });
  }
  return [...left.values()];
}

/** A short input is one chunk, so a chunk's rows are told from the length by the extents that reports are for. */
function isAsLong(one: Extent, other: Extent): boolean {
  if (!isSame(one, other)) return false;
  return one.reported === undefined || other.reported === undefined || one.reported === other.reported;
}
