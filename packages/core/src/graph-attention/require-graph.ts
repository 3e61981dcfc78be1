import { TopKError } from '../contract/errors.js';
import { formatShape } from '../contract/shape.js';
import { requireTensor } from '../tensor/require-tensor.js';
import type { Tensor } from '../tensor/tensor.js';

/**
 * Reads a graph back and throws if an entry is neither -1 nor one of the keys: `graphAttention` itself never throws for
 * values, and makes such a row NaN. Keys that are listed twice are right: they count once.
 *
 * @param where named by the error
 * @param graph i32, of any shape
 * @param keys Lk
 * @throws TopKError INDEX_OUT_OF_RANGE with the place of the first such entry; DTYPE_MISMATCH
 */
export async function requireGraph(where: string, graph: Tensor, keys: number): Promise<void> {
  requireTensor(where, 'graph', graph);
  const { dtype, shape } = graph;
  if (dtype !== 'i32') {
    throw new TopKError('DTYPE_MISMATCH', `${where}: a graph lists keys`, { expected: 'i32', got: dtype });
  }
  const entries = await graph.data();
  const at = entries.findIndex((key) => !(key >= -1 && key < keys));
  if (at < 0) return;
  throw new TopKError('INDEX_OUT_OF_RANGE', `${where}: a key that is not there`, {
    expected: `-1, or a key from 0 to ${keys - 1}`,
    got: `${entries[at]} at element ${at} of a graph of shape ${formatShape(shape)}`,
    fix: 'Use -1 for unused entries, and check the number of keys that the graph was made for',
  });
}
