import { InvalidArgumentError } from '@commander-js/extra-typings';
import { TopKError } from '@topk-attention/core';
import { decodeModel } from '../../onnx/read-model.js';
import { encodeModel } from '../../onnx/write-model.js';
import { loadOrt } from '../../runtime/load.js';
import { disableTelemetry } from '../../runtime/telemetry.js';
import type { Selection } from '../build/selected-units.js';
import { nodeModules } from '../files/node-modules.js';
import { readFile } from '../files/read-file.js';
import { withValues } from '../files/with-values.js';
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

/** Reads a number from `from` to `to`, both included. */
export function between(from: number, to: number): (text: string) => number {
  return (text) => {
    const value = Number(text);
    const isIn = Number.isFinite(value) && value >= from && value <= to;
    if (text.trim() !== '' && isIn) return value;
    const range = to === Number.POSITIVE_INFINITY ? `at least ${from}` : `${from} to ${to}`;
    throw new InvalidArgumentError(`It is no number of ${range}.`);
  };
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
  readonly contrib?: true | undefined;
  readonly learn?: true | undefined;
}

/** @throws TopKError INVALID_OPTION for a selection without a number of units. */
function optionsOf({ k, feedForward, feedForwardK, select, ...flags }: RewriteFlags): RewriteOptions {
  const { chunkBytes, fixed, at, strict, maxLength, target, unrolled, contrib } = flags;
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
    ...(contrib !== undefined && { contrib }),
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
  const { path } = await nodeModules();
  const whole = await withValues(decodeModel(await readFile(model), model), path.dirname(model));
  const learned = await learnAxes(encodeModel(whole), await loadOrt(), { ...(fixed && { fixed }) });
  return { ...options, learned };
}
