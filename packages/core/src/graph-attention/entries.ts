import { chunkOf } from '../attention/scores.js';
import type { GraphAttentionInputs, GraphAttentionRequest } from '../contract/graph-attention.js';
import { queryStartOf } from '../contract/request-facts.js';
import { sameShape } from '../contract/shape.js';
import { arange } from '../ops/create.js';
import { cast, eq, le, logicalAnd, logicalNot, lt, where } from '../ops/elementwise.js';
import { reshape } from '../ops/layout.js';
import { broadcastTo, maxOver } from '../ops/reduce.js';
import { gatherRows } from '../ops/select.js';
import { scope } from '../tensor/scope.js';
import type { Tensor } from '../tensor/tensor.js';

/** bool [1, M, M], true where the second entry of a row is earlier than the first; undefined for one entry per row. */
export function earlierEntries(
  { q }: Pick<GraphAttentionInputs<Tensor>, 'q'>,
  entries: number,
): Tensor | undefined {
  if (entries < 2) return undefined;
  return scope(() => {
    const slots = arange(q.backend, entries);
    return lt(reshape(slots, [1, 1, entries]), reshape(slots, [1, entries, 1]));
  });
}

/**
 * i32 [B, Hq, size, M]: the graph's rows of queries start .. start + size - 1, with -1 for every entry that does not
 * count: a key named earlier in the row, or a key that an option hides. Numbers outside of the keys stay: their rows
 * become NaN.
 *
 * @param earlier as `earlierEntries` makes it
 */
export function countedEntries(
  request: GraphAttentionRequest,
  inputs: GraphAttentionInputs<Tensor>,
  earlier: Tensor | undefined,
  start: number,
  size: number,
): Tensor {
  const { batch, queryHeads, entries } = request;
  return scope(() => {
    // First what all heads and sequences may share.
    const listed = nearKeys(chunkOf(inputs.graph, start, size), request.keyLength);
    const single = earlier === undefined ? listed : withoutRepeats(listed, earlier);
    const visible = visibleEntries(request, inputs, single, start, size);
    const shape = [batch, queryHeads, size, entries];
    return sameShape(visible.shape, shape) ? visible.alias() : broadcastTo(visible, shape);
  });
}

/** Numbers outside of the keys as one below or above them: engines that hold integers in f32 count to 2^24. */
function nearKeys(listed: Tensor, keyLength: number): Tensor {
  return scope(() => {
    const fromBelow = where(lt(listed, -1), -2, listed);
    return where(lt(fromBelow, keyLength), fromBelow, keyLength);
  });
}

/** A graph is a set of edges: of entries with the same key the first counts. */
function withoutRepeats(listed: Tensor, earlier: Tensor): Tensor {
  const entries = listed.shape.at(-1) as number;
  return scope(() => {
    const isRepeat = scope(() => {
      const rows = scope(() => {
        const equal = eq(reshape(listed, [-1, entries, 1]), reshape(listed, [-1, 1, entries]));
        return logicalAnd(equal, earlier);
      });
      return lt(0, maxOver(cast(rows, 'f32'), { axes: [-1] }));
    });
    return where(reshape(isRepeat, listed.shape), -1, listed);
  });
}

/** -1 in place of keys that lengths, mask or causality hide. */
function visibleEntries(
  request: GraphAttentionRequest,
  { keyLengths, keyMask }: GraphAttentionInputs<Tensor>,
  listed: Tensor,
  start: number,
  size: number,
): Tensor {
  const { batch, keyLength, causal } = request;
  const conditions: Tensor[] = [];
  if (keyLengths !== undefined) conditions.push(lt(listed, reshape(keyLengths, [batch, 1, 1, 1])));
  if (causal) {
    // Past the last key nothing changes, and the clamped sum fits an i32.
    const first = Math.min(start + queryStartOf(request), keyLength);
    conditions.push(le(listed, reshape(arange(listed.backend, size, first), [1, 1, size, 1])));
  }
  if (keyMask !== undefined) conditions.push(isKept(request, keyMask, listed));
  if (conditions.length === 0) return listed;
  const isHidden = logicalAnd(logicalNot(conditions.reduce(logicalAnd)), lt(listed, keyLength));
  return where(isHidden, -1, listed);
}

/** bool: whether the mask keeps the key that an entry names; true for numbers outside of the keys but -1. */
function isKept({ batch, keyLength }: GraphAttentionRequest, keyMask: Tensor, listed: Tensor): Tensor {
  return scope(() => {
    const rows = keyMask.shape[0] as number;
    const [own = 1, heads = 1, queries = 1, entries = 1] = listed.shape;
    // One mask for all sequences looks up all their entries; a mask of each needs the entries of each.
    const wide = rows > own ? broadcastTo(listed, [batch, heads, queries, entries]) : listed;
    const table = reshape(cast(keyMask, 'f32'), [rows, keyLength, 1]);
    const found = gatherRows(table, reshape(wide, [rows, -1]));
    return logicalNot(eq(reshape(found, wide.shape), 0));
  });
}
