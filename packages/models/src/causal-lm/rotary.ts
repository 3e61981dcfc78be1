import { type Backend, gatherRows, reshape, scope, type Tensor, tensor } from '@topk-attention/core';
import { type RotaryConfig, rotaryFrequencies } from './rotary-frequencies.js';

/** Cosines and sines of angles: of positions from 0 on [positions, headDim / 2], or of tokens [B or 1, 1, L, headDim / 2]. */
export interface Rotary {
  readonly cosines: Tensor;
  readonly sines: Tensor;
}

/** The angles of positions 0, 1, ...: f32 [positions, headDim / 2]. */
export function rotaryTable(
  backend: Backend,
  config: RotaryConfig,
  headDim: number,
  positions: number,
): Rotary {
  const frequencies = rotaryFrequencies(config, headDim);
  const pairs = frequencies.length;
  const of = (turn: (angle: number) => number): Float64Array =>
    Float64Array.from({ length: positions * pairs }, (_, at) =>
      turn(Math.floor(at / pairs) * (frequencies[at % pairs] as number)),
    );
  return scope(() => ({
    cosines: tensor(backend, of(Math.cos), [positions, pairs]),
    sines: tensor(backend, of(Math.sin), [positions, pairs]),
  }));
}

/** The angles of the tokens of a sequence from position 0 on, which is the whole table: [1, 1, positions, headDim / 2]. */
export function rotaryInOrder({ cosines, sines }: Rotary): Rotary {
  return scope(() => ({
    cosines: reshape(cosines, [1, 1, ...cosines.shape]),
    sines: reshape(sines, [1, 1, ...sines.shape]),
  }));
}

/**
 * The angles of tokens at given positions: [B, 1, L, headDim / 2].
 *
 * @param positions i32 [B, L], each in the table
 */
export function rotaryAt({ cosines, sines }: Rotary, positions: Tensor): Rotary {
  const [batch, length] = positions.shape as readonly [number, number];
  const rows = (table: Tensor): Tensor => {
    const found = gatherRows(reshape(table, [1, ...table.shape]), reshape(positions, [1, batch * length]));
    return reshape(found, [batch, 1, length, table.shape[1] as number]);
  };
  return scope(() => ({ cosines: rows(cosines), sines: rows(sines) }));
}
