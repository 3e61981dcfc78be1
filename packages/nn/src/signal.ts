import { aValue, type OptionKind } from '@topk-attention/core';

/** What the option `signal` of a call accepts. */
export const aSignal: OptionKind<AbortSignal> = aValue(
  'an AbortSignal',
  (value) => typeof value === 'object' && value !== null && 'aborted' in value,
);
