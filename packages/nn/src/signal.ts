import { aValue, type OptionKind } from '@topk-attention/core';

/** What a call's `signal` option accepts. */
export const aSignal: OptionKind<AbortSignal> = aValue(
  'an AbortSignal',
  (value) => typeof value === 'object' && value !== null && 'aborted' in value,
);
