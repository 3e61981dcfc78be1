import {
  checkedLater,
  describeValue,
  type FeedForwardSelect,
  type OptionKinds,
  oneOf,
  optionsWithin,
  readOptions,
  TopKError,
} from '@topk-attention/core';

/** What to convert, and how much it keeps. A part that is left out is not converted. */
export interface ConvertOptions {
  /** Multi-head attention: keys kept per query. */
  readonly attention?: { readonly k: number };
  /** Pairs of dense layers: hidden units kept per token, and what ranks them (default 'preactivation'). */
  readonly feedForward?: { readonly k: number; readonly select?: FeedForwardSelect };
}

const kinds: OptionKinds<ConvertOptions> = {
  attention: optionsWithin({ k: checkedLater() }),
  feedForward: optionsWithin({ k: checkedLater(), select: oneOf('preactivation', 'contribution') }),
};

export function requireOptions(where: string, options: ConvertOptions): void {
  const given = readOptions(where, options, kinds);
  if (given.attention === undefined && given.feedForward === undefined) {
    throw new TopKError('INVALID_OPTION', `${where}: nothing to convert`, {
      expected: 'attention: { k }, feedForward: { k } or both',
      got: 'neither',
    });
  }
  for (const part of ['attention', 'feedForward'] as const) {
    const k = given[part]?.k;
    if (given[part] === undefined || (Number.isInteger(k) && (k as number) > 0)) continue;
    throw new TopKError('INVALID_K', `${where}: bad ${part}.k`, {
      expected: 'a positive whole number',
      got: describeValue(k),
      fix: 'Say how many to keep; a number larger than there are keeps them all',
    });
  }
}
