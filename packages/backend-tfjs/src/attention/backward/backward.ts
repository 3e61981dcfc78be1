import type {
  AttentionBackwardInputs,
  AttentionGradients,
  AttentionRequest,
} from '@topk-attention/core/backend';
import type { Engine } from '../../engine/engine.js';
import type { TfTensor } from '../../tf.js';
import { partsOf, tileSizes } from '../tiles.js';
import { bucketsByDistance } from './bias.js';
import { GradientSums, type Joins } from './gradient-sums.js';
import { keyRows, tileGradients, withoutUnused } from './tile.js';

/**
 * Gradients of top-k attention from the kept (index, score) lists (paper section 1.6, with sparse rows instead of the
 * published code's dense buffers). Keys and values are gathered, multiplied and scattered for one tile of queries at a
 * time: no array has more than `chunk` queries of all heads times k rows, and none is of size Lq x Lk.
 *
 * A tile fills with queries of one head before it takes other heads: the key sums are then only as large as one head's
 * keys, and cost next to nothing to add up.
 */
export function attentionBackward(
  engine: Engine,
  request: AttentionRequest,
  inputs: AttentionBackwardInputs<TfTensor>,
  chunk: number,
): AttentionGradients<TfTensor> {
  const { tf } = engine;
  const { batch, queryHeads, keyHeads, queryLength, bias } = request;
  const sizes = tileSizes(request, batch * queryHeads * chunk);
  const [byBatch, byHead, byQuery] = [0, 1, 2].map((axis) => joinsAlong(axis, bias)) as [Joins, Joins, Joins];
  return tf.tidy(() => {
    const buckets = bucketsByDistance(request);
    const ofBatches = new GradientSums(tf, byBatch);
    for (const { start: first, size: batches } of partsOf(batch, sizes.batches)) {
      const ofHeads = new GradientSums(tf, byHead);
      for (const { start: head, size: heads } of partsOf(keyHeads, sizes.heads)) {
        const ofQueries = new GradientSums(tf, byQuery);
        const rows = keyRows(engine, request, inputs, { batch: first, batches, head, heads });
        for (const { start: query, size: queries } of partsOf(queryLength, sizes.queries)) {
          const tile = { batch: first, batches, head, heads, query, queries };
          const shared = { ...rows, ...(buckets && { buckets }) };
          ofQueries.add(tf.tidy(() => ({ ...tileGradients(engine, request, inputs, shared, tile) })));
        }
        tf.dispose([rows.keys, rows.values]);
        ofHeads.add(withoutUnused(tf, ofQueries.finish()));
      }
      ofBatches.add(ofHeads.finish());
    }
    return { ...ofBatches.finish() };
  });
}

/** How to combine gradients of parts along an axis (batch, heads, queries) of the lists. */
function joinsAlong(axis: number, bias: AttentionRequest['bias']): Joins {
  const ofKeys = axis === 2 ? 'add' : axis;
  return {
    q: axis,
    k: ofKeys,
    v: ofKeys,
    bias: bias?.[axis] === 1 ? 'add' : axis,
    relativeTable: axis === 1 ? 1 : 'add',
  };
}
