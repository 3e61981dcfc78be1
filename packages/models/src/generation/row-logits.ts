import { evaluate, type Tensor } from '@topk-attention/core';
import type { Decoder, DecoderState } from './decoder.js';
import { noBestToken } from './no-best-token.js';

/** One step of all rows: their logits f32 [rows, vocabSize] on the host, row after row. */
export async function stepLogits<State extends DecoderState>(
  decoder: Decoder<State>,
  state: State,
  tokens: readonly number[],
): Promise<ArrayLike<number>> {
  if (state.reserve()) await evaluate(...state.tensors);
  const logits = decoder.step(state, tokens);
  try {
    return await logits.data();
  } finally {
    logits.dispose();
  }
}

/** Moves the rows of a state. An engine that compiles graphs evaluates them first, so that the next step's stays the same. */
export async function moveRows(state: DecoderState, rows: readonly number[]): Promise<void> {
  state.reorder(rows);
  const [first]: readonly (Tensor | undefined)[] = state.tensors;
  if (first?.backend.capabilities.execution === 'lazy') await evaluate(...state.tensors);
}

/**
 * The scores of one row, to be changed.
 *
 * @throws TopKError NAN_FOUND for a NaN, or nothing above -Infinity.
 */
export function scoresOf(where: string, logits: ArrayLike<number>, row: number, size: number): Float64Array {
  const scores = new Float64Array(size);
  let best = Number.NEGATIVE_INFINITY;
  let isNumber = true;
  for (let id = 0; id < size; id++) {
    const logit = logits[row * size + id] as number;
    scores[id] = logit;
    if (logit > best) best = logit;
    if (Number.isNaN(logit)) isNumber = false;
  }
  if (isNumber && best > Number.NEGATIVE_INFINITY) return scores;
  throw noBestToken(where, row);
}
