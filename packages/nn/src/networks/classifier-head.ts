import {
  aNumber,
  arange,
  cast,
  div,
  lt,
  max,
  mean,
  narrow,
  type OptionKinds,
  oneOf,
  readOptions,
  required,
  reshape,
  scope,
  sum,
  type Tensor,
  tanh,
  where,
} from '@topk-attention/core';
import { within } from '../context.js';
import { dropout } from '../layers/dropout.js';
import { requireTensor, requireWhole } from '../require.js';
import { requireRate } from './dropout-layer.js';
import { defineLayer, type Layer } from './layer.js';
import { linearLayer } from './linear-layer.js';
import { requireWidth } from './require-width.js';

export interface ClassifierHeadOptions {
  readonly width: number;
  readonly classes: number;
  /** The mean of the tokens without padding, or the first token. Default 'mean'. */
  readonly pooling?: 'mean' | 'cls';
  /** Units of a tanh layer `dense.*` before the output. Default: none. */
  readonly hidden?: number;
  /** Dropout rate before each linear layer. Default 0. */
  readonly dropout?: number;
}

const kinds: OptionKinds<ClassifierHeadOptions> = {
  width: required(aNumber),
  classes: required(aNumber),
  pooling: oneOf('mean', 'cls'),
  hidden: aNumber,
  dropout: aNumber,
};

/**
 * Logits [B, classes] of tokens x [B, L, width]; `keyLengths` i32 [B] gives the length of each text without padding.
 * Parameters `out_proj.*` and, with hidden units, `dense.*`, as in Hugging Face's RobertaClassificationHead.
 *
 * @throws TopKError INVALID_OPTION; when applied MISSING_WEIGHT, RANK_MISMATCH, SHAPE_MISMATCH.
 *
 * @example
 * const head = classifierHead({ width: 8, classes: 2, pooling: 'cls' });
 */
export function classifierHead(
  options: ClassifierHeadOptions,
): Layer<readonly [x: Tensor, keyLengths?: Tensor]> {
  const {
    width,
    classes,
    pooling = 'mean',
    hidden,
    dropout: rate = 0,
  } = readOptions('classifierHead', options, kinds);
  requireWhole('classifierHead', 'classes', classes, 1);
  requireRate('classifierHead', 'dropout', rate);
  const dense = hidden === undefined ? undefined : linearLayer(width, hidden);
  const out_proj = linearLayer(hidden ?? width, classes);
  return defineLayer({ ...(dense && { dense }), out_proj }, (context, x: Tensor, keyLengths?: Tensor) => {
    requireWidth(context, x, width, 3);
    const pooled = pooling === 'cls' ? reshape(narrow(x, 1, 0, 1), [-1, width]) : meanOf(x, keyLengths);
    const dropped = (of: Tensor, before: string): Tensor =>
      dropout(context, within(context, `${before}.input`).path, of, rate);
    const features =
      dense === undefined ? pooled : tanh(dense.apply(within(context, 'dense'), dropped(pooled, 'dense')));
    return out_proj.apply(within(context, 'out_proj'), dropped(features, 'out_proj'));
  });
}

/** Mean over the tokens without padding, [B, width]; zeros for an empty text. */
function meanOf(x: Tensor, keyLengths: Tensor | undefined): Tensor {
  if (keyLengths === undefined) return mean(x, { axes: [1] });
  requireTensor('classifierHead', 'keyLengths', keyLengths, { rank: 1, dtype: 'i32' });
  return scope(() => {
    const [batch, tokens] = x.shape as readonly [number, number];
    const lengths = reshape(keyLengths, [batch, 1]);
    const isThere = lt(reshape(arange(x.backend, tokens), [1, tokens]), lengths);
    // Not a product: padding may hold NaN.
    const total = sum(where(reshape(isThere, [batch, tokens, 1]), x, 0), { axes: [1] });
    return div(total, max(cast(lengths, x.dtype), 1));
  });
}
