import { isSame, type Lengths, lengthAt } from './extents/lengths.js';
import { operatorOf } from './graph/attributes.js';
import type { LongValue } from './report.js';
import type { Outcome } from './rewrite-graph.js';

/**
 * Values of a rewritten model with one axis as long as the queries of a block and another as long as its keys. Those made
 * inside of the new loops are not among them: they have the rows of a chunk.
 *
 * @param lengths Of the rewritten model.
 */
export function leftOver(
  lengths: Lengths,
  outcomes: readonly Outcome[],
  prefix: string,
): readonly LongValue[] {
  const pairs = outcomes.flatMap(({ block }) =>
    block === undefined ? [] : [[block.queryLength, block.keyLength] as const],
  );
  const left = new Map<string, LongValue>();
  for (const { graph, node, name, known } of lengths.first.values()) {
    const axes = lengths.axes(graph, name);
    if (axes === undefined || axes.dims.length < 2 || name.startsWith(prefix)) continue;
    const places = axes.dims.map((_, axis) => lengthAt(axes, axes.dims.length - 1 - axis));
    const isLong = pairs.some(([rows, columns]) =>
      places.some(
        (one, at) => isSame(one, rows) && places.some((other, to) => to !== at && isSame(other, columns)),
      ),
    );
    if (!isLong) continue;
    const { dims } = lengths.reported.known(graph, name) ?? known;
    left.set(name, { name, operator: operatorOf(node), dims });
  }
  return [...left.values()];
}
