import type { ModelProto } from '../onnx/messages.js';
import { Evaluation } from './extents/evaluate.js';
import { isSame, type Lengths, lengthAt } from './extents/lengths.js';
import type { Extents } from './extents/symbols.js';
import { operatorOf } from './graph/attributes.js';
import type { LongValue } from './report.js';
import type { Outcome } from './rewrite-graph.js';

/**
 * Values of a rewritten model with one axis as long as the queries of a block and another as long as its keys. Those made
 * inside of the new loops are not among them: they have the rows of a chunk.
 *
 * @param at Extents that the values are reported with.
 */
export function leftOver(
  model: ModelProto,
  lengths: Lengths,
  outcomes: readonly Outcome[],
  prefix: string,
  at: Extents,
): readonly LongValue[] {
  const pairs = outcomes.flatMap(({ block }) =>
    block === undefined ? [] : [[block.queryLength, block.keyLength] as const],
  );
  const left = new Map<string, LongValue>();
  const evaluation = new Evaluation(model, at);
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
    const { dims } = evaluation.known(graph, name) ?? known;
    left.set(name, { name, operator: operatorOf(node), dims });
  }
  return [...left.values()];
}
