import { checkedLater, nearest, type OptionKinds, readOptions, TopKError } from '@topk-attention/core';
import type { CallArgs } from './full-tf.js';
import type { KerasLayerArgs, KerasWeightArgs } from './layers-tf.js';

/** A config from plain JavaScript, or from a saved model, which holds null where nothing was given. */
export type Unchecked<T> = { readonly [P in keyof T]?: T[P] | null | undefined };

/** Undefined for null too: a saved model holds null where nothing was given. */
export function given<T>(value: T | null | undefined): T | undefined {
  return value ?? undefined;
}

/** Each name of a config once, so that the compiler finds a missing one. */
type Names<T> = { readonly [P in keyof T]-?: true };

/** Config of every layer here: what tf's own `Layer` reads, what tf adds when it loads one, and weight settings. */
type CommonArgs = KerasLayerArgs &
  KerasWeightArgs &
  Readonly<Record<'batchSize' | 'customObjects' | 'dtype' | 'inputDType' | 'weights', unknown>>;

/** The names of a layer's config that not every layer has. */
export type OwnNames<T> = Omit<Names<T>, keyof CommonArgs>;

const commonNames: Names<CommonArgs> = {
  name: true,
  trainable: true,
  inputShape: true,
  batchInputShape: true,
  batchSize: true,
  customObjects: true,
  dtype: true,
  inputDType: true,
  weights: true,
  useBias: true,
  kernelInitializer: true,
  biasInitializer: true,
  kernelRegularizer: true,
  biasRegularizer: true,
  kernelConstraint: true,
  biasConstraint: true,
};

/**
 * Refuses unknown names in a layer's config: a misspelt one would silently mean the default.
 *
 * @throws TopKError INVALID_OPTION
 */
export function requireNames<T extends object>(where: string, args: T, names: OwnNames<T>): void {
  const known = Object.keys({ ...names, ...commonNames });
  const kinds = Object.fromEntries(known.map((name) => [name, checkedLater()]));
  readOptions<object>(where, args, kinds as OptionKinds<object>);
}

const callNames = ['training', 'mask', 'attentionMask', 'useCausalMask', 'keyLengths'];

/**
 * Refuses misspelt arguments of a call. tfjs also passes arguments meant for other layers, so only those that resemble
 * one of ours are refused.
 *
 * @throws TopKError INVALID_OPTION
 */
export function requireCallNames(where: string, call: CallArgs): void {
  for (const name of Object.keys(call)) {
    const meant = callNames.includes(name) ? undefined : nearest(name, callNames);
    if (meant === undefined) continue;
    throw new TopKError('INVALID_OPTION', `${where}: unknown argument '${name}' of the call`, {
      expected: callNames.join(', '),
      got: name,
      fix: `Did you mean ${meant}?`,
    });
  }
  for (const name of ['training', 'useCausalMask']) flag(where, name, call[name], false);
}

/** A required positive whole number of a layer's config. */
export function count(where: string, name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
  const missing = value === undefined || value === null;
  throw new TopKError('INVALID_OPTION', `${where}: ${missing ? 'no' : 'bad'} ${name}`, {
    expected: 'a positive whole number',
    got: missing ? 'nothing' : String(value),
    fix: `Give the layer's config a ${name}`,
  });
}

/** Number of keys or hidden units kept. As with core's k, all of them if there are fewer. */
export function kept(where: string, name: string, value: unknown): number {
  if (typeof value === 'number' && Number.isInteger(value) && value > 0) return value;
  throw new TopKError('INVALID_K', `${where}: bad ${name}`, {
    expected: 'a positive whole number',
    got: value === undefined || value === null ? 'nothing' : String(value),
    fix: 'Say how many to keep; a number larger than there are keeps them all',
  });
}

/** A dropout rate; 0 if not given. */
export function dropoutRate(where: string, value: unknown): number {
  const rate = value ?? 0;
  if (typeof rate === 'number' && rate >= 0 && rate < 1) return rate;
  throw new TopKError('INVALID_OPTION', `${where}: bad dropout`, {
    expected: 'a rate from 0 to below 1',
    got: String(rate),
    fix: 'Use 0 for none',
  });
}

/** One of a list of words. */
export function oneOf<T extends string>(where: string, name: string, words: readonly T[], value: unknown): T {
  const found = words.find((word) => word === value);
  if (found !== undefined) return found;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: words.map((word) => `'${word}'`).join(', '),
    got: String(value),
    fix: 'Use one of these words',
  });
}

/** A switch; `ifNone` if not given. */
export function flag(where: string, name: string, value: unknown, ifNone: boolean): boolean {
  const on = value ?? ifNone;
  if (typeof on === 'boolean') return on;
  throw new TopKError('INVALID_OPTION', `${where}: bad ${name}`, {
    expected: 'true or false',
    got: String(value),
    fix: `Leave it out for ${ifNone}`,
  });
}
