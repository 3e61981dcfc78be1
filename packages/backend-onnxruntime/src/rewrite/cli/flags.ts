import { InvalidArgumentError } from '@commander-js/extra-typings';
import { TopKError } from '@topk-attention/core';
import { loadOrt } from '../../runtime/load.js';
import { disableTelemetry } from '../../runtime/telemetry.js';
import type { Selection } from '../build/selected-units.js';
import { readFile } from '../files/read-file.js';
import { learnAxes } from '../learn-axes.js';
import type { RewriteOptions } from '../options.js';

export function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1)
    throw new InvalidArgumentError('It is no whole number of at least 1.');
  return value;
}

export function wholes(text: string): readonly number[] {
  return text.split(',').map(whole);
}

export function fraction(text: string): number {
  const value = Number(text);
  if (text.trim() === '' || Number.isNaN(value)) throw new InvalidArgumentError('It is no number.');
  return value;
}

export type Named = { readonly [name: string]: number };

export function named(text: string, before: Named = {}): Named {
  const end = text.lastIndexOf('=');
  if (end < 1) throw new InvalidArgumentError('It is not NAME=NUMBER.');
  return { ...before, [text.slice(0, end)]: whole(text.slice(end + 1)) };
}

export interface RewriteFlags {
  readonly k?: number | undefined;
  readonly chunkBytes?: number | undefined;
  readonly fixed?: Named | undefined;
  readonly at?: Named | undefined;
  readonly strict?: true | undefined;
  readonly feedForward?: true | undefined;
  readonly feedForwardK?: number | undefined;
  readonly select?: Selection | undefined;
  readonly maxLength?: number | undefined;
  readonly target?: 'cpu' | 'webgpu' | undefined;
  readonly unrolled?: true | undefined;
  readonly learn?: true | undefined;
}

/** @throws TopKError INVALID_OPTION for a selection without a number of units. */
export function optionsOf({ k, feedForward, feedForwardK, select, ...flags }: RewriteFlags): RewriteOptions {
  const { chunkBytes, fixed, at, strict, maxLength, target, unrolled } = flags;
  if (select !== undefined && feedForwardK === undefined) {
    throw new TopKError('INVALID_OPTION', '--select: nothing to select', {
      expected: '--feed-forward-k with it',
    });
  }
  return {
    ...(k !== undefined && { attention: { k } }),
    ...(feedForward !== undefined && { feedForward: 'chunked' }),
    ...(feedForwardK !== undefined && {
      feedForward: { k: feedForwardK, ...(select !== undefined && { select }) },
    }),
    ...(maxLength !== undefined && { maxLength }),
    ...(target !== undefined && { target }),
    ...(unrolled !== undefined && { unrolled }),
    ...(chunkBytes !== undefined && { chunkBytes }),
    ...(fixed !== undefined && { fixed }),
    ...(at !== undefined && { at }),
    ...(strict !== undefined && { strict }),
  };
}

/** The same for a model that may be run first, to learn its axes. */
export async function learnedOptionsOf(model: string, flags: RewriteFlags): Promise<RewriteOptions> {
  const options = optionsOf(flags);
  if (flags.learn === undefined) return options;
  disableTelemetry();
  const { fixed } = options;
  const learned = await learnAxes(await readFile(model), await loadOrt(), { ...(fixed && { fixed }) });
  return { ...options, learned };
}
