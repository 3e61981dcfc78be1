import { aBoolean, aNumber, cast, type OptionKind, optionsWithin } from '@topk-attention/core';
import { type Context, parameterOf } from '../context.js';
import type { Declared } from '../declared/declaration.js';
import { normal } from '../declared/initializers.js';
import type { MechanismOptions } from '../mechanisms/mechanism.js';
import { requireWhole } from '../require.js';

/** T5's relative-position biases, one table for all layers of a stack. */
export interface RelativePositions {
  /** Default 32. */
  readonly buckets?: number;
  /** Positions farther apart share the last bucket. Default 128. */
  readonly maxDistance?: number;
  /** Whether later keys have their own buckets. Default: true in encoders, false in decoders. */
  readonly bidirectional?: boolean;
}

export const relativePositionsKind: OptionKind<RelativePositions> = optionsWithin({
  buckets: aNumber,
  maxDistance: aNumber,
  bidirectional: aBoolean,
});

export interface RelativeTable extends Declared {
  /** Attention's `relativeBias` option, with the context's table. */
  biasIn(context: Context): NonNullable<MechanismOptions['relativeBias']>;
}

/** Parameter `relative_attention_bias.weight` [buckets, heads], initially N(0, 1 / width). */
export function relativeTable(
  { width, heads }: { readonly width: number; readonly heads: number },
  positions: RelativePositions,
  bidirectionalByDefault: boolean,
): RelativeTable {
  const { buckets = 32, maxDistance = 128, bidirectional = bidirectionalByDefault } = positions;
  requireWhole('relativePositions', 'buckets', buckets, 2);
  requireWhole('relativePositions', 'maxDistance', maxDistance, 1);
  const name = 'relative_attention_bias.weight';
  return {
    parameters: { [name]: { shape: [buckets, heads], initializer: normal(width ** -0.5) } },
    // Scores are f32 whatever the parameters are.
    biasIn: (context) => ({ table: cast(parameterOf(context, name), 'f32'), bidirectional, maxDistance }),
  };
}
