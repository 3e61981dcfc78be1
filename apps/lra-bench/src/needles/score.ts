import { scope, tensor } from '@topk-attention/core';
import { contextOf, type ParameterTree } from '@topk-attention/nn';
import { gradeOf, requireFinite } from '../evaluation/grade.js';
import type { NeedleBatch } from './batch.js';
import type { needleNetwork } from './model.js';

/** What a model says about rows. */
export interface Answers {
  /** Cross-entropy, summed over the tokens of all values. */
  readonly loss: number;
  /** Tokens of each row's value that are the most likely ones. */
  readonly right: readonly number[];
}

/** Asks a model for the values of rows, and waits for the device. @throws TopKError NAN_FOUND for logits that are not finite */
export async function answersOf(
  model: ReturnType<typeof needleNetwork>,
  parameters: ParameterTree,
  { rows, tokens, ids, values }: NeedleBatch,
): Promise<Answers> {
  const [first] = Object.values(parameters);
  if (first === undefined) throw new Error('a model without parameters');
  const { backend } = first;
  const logits = scope(() => model.apply(contextOf(parameters), tensor(backend, ids, [rows, tokens])));
  try {
    return graded(await logits.data(), values, rows);
  } finally {
    logits.dispose();
  }
}

function graded(logits: ArrayLike<number>, values: Int32Array, rows: number): Answers {
  const symbols = logits.length / values.length;
  const right = new Array<number>(rows).fill(0);
  let total = 0;
  for (const [at, wanted] of values.entries()) {
    const { loss, isRight } = gradeOf(logits, at, symbols, wanted);
    total += loss;
    const row = Math.floor((at * rows) / values.length);
    if (isRight) right[row] = (right[row] as number) + 1;
  }
  requireFinite(total);
  return { loss: total, right };
}
