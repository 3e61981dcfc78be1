import {
  add,
  arange,
  gatherRows,
  max,
  reshape,
  scope,
  sub,
  type Tensor,
  tensor,
  transpose,
  writeAt,
  zeros,
} from '@topk-attention/core';
import { relativeBuckets } from '@topk-attention/core/backend';
import type { AttendOptions, Run } from '@topk-attention/nn';
import type { TokenInputs } from '../generation/recorded-token.js';
import type { T5Layers } from './layers.js';
import { addAttention, afterSelfAttention, embed, logitsOf, selfHeads } from './stacks.js';

/** The tensors of a decoder block between two tokens: caches [B, H, capacity, dKv], the source's keys and values. */
interface BlockTensors {
  readonly [name: string]: Tensor;
  readonly keys: Tensor;
  readonly values: Tensor;
  readonly sourceKey: Tensor;
  readonly sourceValue: Tensor;
}

export interface TokenState {
  readonly [name: string]: readonly BlockTensors[] | readonly Tensor[];
  readonly blocks: readonly BlockTensors[];
  /** i32 [B], or nothing where no source is padded. */
  readonly sourceLengths: readonly Tensor[];
}

/**
 * One token of each row through the decoder, as a step that a backend can record: everything that changes from token to
 * token is in tensors, the position too. So causality is a key length, and the relative bias a row that the position
 * chooses.
 */
export function tokenStep(
  run: Run,
  t5: T5Layers,
  { blocks, sourceLengths }: TokenState,
  { tokens, position }: TokenInputs,
): { readonly state: TokenState; readonly logits: Tensor } {
  const [batch] = tokens.shape as readonly [number, number];
  const capacity = blocks[0]?.keys.shape[2] as number;
  const options: AttendOptions = {
    keyLengths: add(zeros(position.backend, [batch], 'i32'), add(position, 1)),
    ...biasAt(t5, position, capacity),
  };
  let x = embed(run, t5, 'decoder', tokens);
  const next = t5.decoder.blocks.map((block, index) => {
    const own = blocks[index] as BlockTensors;
    const { query, key, value } = selfHeads(t5.config, block.attention, x);
    const keys = writeAt(own.keys, key, 2, position);
    const values = writeAt(own.values, value, 2, position);
    const attended = addAttention(
      run,
      t5.config,
      block.attention.layer,
      x,
      { query, key: keys, value: values },
      options,
    );
    const source = { key: own.sourceKey, value: own.sourceValue };
    x = afterSelfAttention(run, t5.config, block, attended, source, sourceLengths[0]);
    return { ...own, keys, values };
  });
  return { state: { blocks: next, sourceLengths }, logits: reshape(logitsOf(run, t5, x), [batch, -1]) };
}

/** The relative bias [1, H, 1, capacity] of a query at a position, for the keys of a cache. All blocks share the table. */
function biasAt({ decoder }: T5Layers, position: Tensor, capacity: number): { readonly bias?: Tensor } {
  const relative = decoder.blocks[0]?.attention.layer.sequence.relativeBias;
  if (relative === undefined) return {};
  const { table, bidirectional, maxDistance } = relative;
  const [buckets, heads] = table.shape as readonly [number, number];
  return scope(() => {
    const { backend } = table;
    // By distance, 0 first; keys behind the query are hidden, whatever their bias.
    const ofDistance = relativeBuckets(
      { bidirectional, maxDistance, buckets },
      1 - capacity,
      capacity,
    ).reverse();
    const rows = tensor(backend, ofDistance, [1, capacity], 'i32');
    const byDistance = gatherRows(reshape(table, [1, buckets, heads]), rows);
    const distances = max(sub(position, arange(backend, capacity)), 0);
    const byKey = gatherRows(byDistance, reshape(distances, [1, capacity]));
    return { bias: reshape(transpose(byKey, [0, 2, 1]), [1, heads, 1, capacity]) };
  });
}
