import { cast, concat, elementIsNaN, eq, scope, sum, type Tensor, topK, where } from '@topk-attention/core';
import { noBestToken } from './no-best-token.js';

/**
 * The largest logit of each row of [B, vocabSize] and its id: f32 [B, 2], id and logit, all that leaves the backend. In
 * one tensor, because every wait for a device costs time. The logit of a row without a best token is -Infinity.
 */
export function bestTokens(logits: Tensor): Tensor {
  return scope(() => {
    const best = topK(logits, 1);
    // Selection from a row with a NaN is undefined, so NaNs are counted.
    const invalid = sum(cast(elementIsNaN(logits), 'f32'), { axes: [1], keepDims: true });
    return concat(
      [cast(best.indices, 'f32'), where(eq(invalid, 0), best.values, Number.NEGATIVE_INFINITY)],
      1,
    );
  });
}

/** `bestTokens` of logits, of which it disposes. */
export function bestTokensOf(logits: Tensor): Tensor {
  try {
    return bestTokens(logits);
  } finally {
    logits.dispose();
  }
}

/**
 * Ids and logits of `bestTokens`, of which it disposes.
 *
 * @throws TopKError NAN_FOUND when a row holds a NaN or nothing above -Infinity: it has no best token.
 */
export async function readBestTokens(where: string, best: Tensor): Promise<{ id: number; logit: number }[]> {
  try {
    const values = await best.data();
    return Array.from({ length: best.shape[0] as number }, (_, row) => {
      const [id, logit] = [Number(values[2 * row]), Number(values[2 * row + 1])];
      if (id >= 0 && logit > Number.NEGATIVE_INFINITY) return { id, logit };
      throw noBestToken(where, row);
    });
  } finally {
    best.dispose();
  }
}
