import { mul, narrow, reshape, type Tensor } from '@topk-attention/core';
import { relativeBuckets } from '@topk-attention/core/backend';
import {
  defineLayer,
  embeddingLayer,
  encoderLayer,
  type Initializer,
  type Layer,
  linearLayer,
  normLayer,
  parameterOf,
  tiedLayer,
  within,
} from '@topk-attention/nn';
import { mechanismOf } from '../model/mechanism.js';
import { idsOf } from './rows.js';
import type { NeedleConfiguration, NeedleModel } from './settings.js';

const TABLE = 'relative_attention_bias.weight';

/**
 * A causal Transformer that answers the question at the end of rows: ids i32 [B, L] -> logits [B * valueTokens, ids] of the
 * value's tokens.
 *
 * No part of it knows how long a row is. The first layer has T5's relative positions, which begin as ALiBi's: it looks at
 * the tokens just before, and all that are far away are alike. The layers above it have no positions: they look for content
 * anywhere. So rows longer than those of the training bring nothing new but more noise.
 */
export function needleNetwork({
  task,
  model: settings,
  mechanism,
}: Pick<NeedleConfiguration, 'task' | 'model' | 'mechanism'>): Layer<readonly [ids: Tensor]> {
  const { layers, width, heads, hidden, buckets, maxDistance } = settings;
  const tokens = embeddingLayer(idsOf(task), width);
  const each = Array.from({ length: layers }, () =>
    encoderLayer({
      ...{ width, heads, hidden, normFirst: true, dropout: 0 },
      attention: { mechanism: mechanismOf(mechanism), causal: true },
      feedForward: { activation: 'gelu' },
    }),
  );
  const norm = normLayer(width);
  const output = linearLayer(width, idsOf(task), { bias: false });
  const table = { [TABLE]: { shape: [buckets, heads], initializer: linearBiases(settings) } };
  const parts = {
    tokens,
    '': { parameters: table },
    ...Object.fromEntries(each.map((layer, at) => [`layers.${at}`, layer])),
    norm,
    output,
  };
  const network = defineLayer(parts, (context, ids: Tensor) => {
    const [rows, length] = ids.shape as readonly [number, number];
    let x = tokens.apply(within(context, 'tokens'), ids);
    for (const [at, layer] of each.entries()) {
      const relativeBias = { table: parameterOf(context, TABLE), bidirectional: false, maxDistance };
      const next = layer.apply(within(context, `layers.${at}`), x, at === 0 ? { relativeBias } : {});
      x.dispose();
      x = next;
    }
    // Logits of all places would be as large as the row times the vocabulary.
    const last = narrow(x, 1, length - task.valueTokens, task.valueTokens);
    const normed = norm.apply(within(context, 'norm'), reshape(last, [rows * task.valueTokens, width]));
    // As in T5, whose table is tied too: its rows are N(0, 1), so their products have a variance of the width.
    return output.apply(within(context, 'output'), mul(normed, width ** -0.5));
  });
  return tiedLayer(network, { 'output.weight': 'tokens.weight' });
}

/** ALiBi's biases, -distance / 2^head, at the least distance of each bucket: [buckets, heads]. */
function linearBiases({ buckets, maxDistance }: NeedleModel): Initializer {
  return ([rows = 0, heads = 0]) => {
    const bucketAt = relativeBuckets(
      { bidirectional: false, buckets, maxDistance },
      -maxDistance,
      maxDistance + 1,
    );
    // A bucket without a distance of its own is never looked up.
    const distances = Array.from(
      { length: rows },
      (_, bucket) => maxDistance - Math.max(0, bucketAt.lastIndexOf(bucket)),
    );
    return Float64Array.from({ length: rows * heads }, (_, at) => {
      const distance = distances[Math.floor(at / heads)] as number;
      return -distance / 2 ** (at % heads);
    });
  };
}
