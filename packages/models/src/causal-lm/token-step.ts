import {
  add,
  arange,
  le,
  max,
  min,
  reshape,
  scope,
  sub,
  type Tensor,
  writeAt,
  zeros,
} from '@topk-attention/core';
import type { AttendOptions, Run } from '@topk-attention/nn';
import type { TokenInputs } from '../generation/recorded-token.js';
import { afterHeads, embed, headsOf, logitsOf } from './blocks.js';
import type { CausalLayers } from './layers.js';
import { type Rotary, rotaryAt } from './rotary.js';

/** Caches of a block [B, keyValueHeads, capacity, headDim]. */
interface BlockTensors {
  readonly [name: string]: Tensor;
  readonly keys: Tensor;
  readonly values: Tensor;
}

/** Cosines and sines [capacity, headDim / 2]. */
interface TableTensors {
  readonly [name: string]: Tensor;
  readonly cosines: Tensor;
  readonly sines: Tensor;
}

export interface TokenState {
  readonly [name: string]: readonly BlockTensors[] | readonly Tensor[] | readonly TableTensors[];
  readonly blocks: readonly BlockTensors[];
  /** i32 [B], or nothing where no row is padded. */
  readonly padding: readonly Tensor[];
  /** One, or nothing with learned positions. */
  readonly tables: readonly TableTensors[];
}

/**
 * One token of each row, as a step that a backend can record: everything that changes from token to token is in tensors, the
 * position too. So causality is a key length, and the angles are rows that the position chooses.
 */
export function tokenStep(
  run: Run,
  model: CausalLayers,
  { blocks, padding, tables }: TokenState,
  { tokens, position }: TokenInputs,
): { readonly state: TokenState; readonly logits: Tensor } {
  const [batch] = tokens.shape as readonly [number, number];
  const capacity = blocks[0]?.keys.shape[2] as number;
  const { positions, turn } = placeOf(model, tables[0], padding[0], position, batch);
  const mask = maskOf(padding[0], capacity);
  const options: AttendOptions = {
    keyLengths: add(zeros(position.backend, [batch], 'i32'), add(position, 1)),
    ...(mask && { mask }),
  };
  let x = embed(run, model, tokens, positions);
  const next = model.blocks.map((block, index) => {
    const own = blocks[index] as BlockTensors;
    const { query, key, value } = headsOf(model.config, block, x, turn);
    const keys = writeAt(own.keys, key, 2, position);
    const values = writeAt(own.values, value, 2, position);
    x = afterHeads(run, model.config, block, x, { query, key: keys, value: values }, options);
    return { keys, values };
  });
  return {
    state: { blocks: next, padding, tables },
    logits: reshape(logitsOf(model, x), [batch, -1]),
  };
}

/**
 * Where the tokens of a step stand in their rows, i32 [B, 1], and the angles there. What is fed to rows that have ended may be
 * beyond the learned positions, and counts as the last.
 */
export function placeOf(
  { config }: CausalLayers,
  table: Rotary | undefined,
  padding: Tensor | undefined,
  position: Tensor,
  batch: number,
): { readonly positions: Tensor; readonly turn: Rotary | undefined } {
  return scope(() => {
    const before = padding ?? zeros(position.backend, [batch], 'i32');
    const own = reshape(max(sub(position, before), 0), [batch, 1]);
    const positions = config.rotary === undefined ? min(own, config.maxPositions - 1) : own;
    return { positions, turn: table && rotaryAt(table, positions) };
  });
}

/** bool [B, 1, 1, capacity]: false for places in the padding. */
export function maskOf(padding: Tensor | undefined, capacity: number): Tensor | undefined {
  if (padding === undefined) return undefined;
  return scope(() => {
    const places = reshape(arange(padding.backend, capacity), [1, capacity]);
    const [batch] = padding.shape as readonly [number];
    return reshape(le(reshape(padding, [batch, 1]), places), [batch, 1, 1, capacity]);
  });
}
