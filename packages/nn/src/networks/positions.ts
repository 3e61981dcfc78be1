import {
  add,
  aFunction,
  aNumber,
  cast,
  formatShape,
  narrow,
  type OptionKinds,
  readOptions,
  type Tensor,
  TopKError,
  tensor,
} from '@topk-attention/core';
import { type Context, parameterOf } from '../context.js';
import { type Initializer, normal } from '../declared/initializers.js';
import { requireWhole } from '../require.js';
import { defineLayer, type Layer } from './layer.js';
import { positionAngles } from './position-angles.js';
import { requireWidth } from './require-width.js';

export interface LearnedPositionsOptions {
  /** Default N(0, 0.02^2). */
  readonly initializer?: Initializer;
}

export interface SinusoidalPositionsOptions {
  /** Default 10000. */
  readonly base?: number;
}

const learnedKinds: OptionKinds<LearnedPositionsOptions> = { initializer: aFunction() };
const sinusoidalKinds: OptionKinds<SinusoidalPositionsOptions> = { base: aNumber };

/** Adds the vector of its position to each token; `offset` is the position of the first token, default 0. */
export type Positions = Layer<readonly [x: Tensor, offset?: number]>;

/**
 * x [..., L, width] plus learned vectors. Parameter `weight` [length, width].
 *
 * @throws TopKError INVALID_OPTION; when applied MISSING_WEIGHT, SHAPE_MISMATCH for texts that are too long.
 *
 * @example
 * const positions = learnedPositions(512, 64);
 */
export function learnedPositions(
  length: number,
  width: number,
  options?: LearnedPositionsOptions,
): Positions {
  requireWhole('learnedPositions', 'length', length, 1);
  requireWhole('learnedPositions', 'width', width, 1);
  const { initializer = normal(0.02) } = readOptions('learnedPositions', options, learnedKinds);
  const parameters = { weight: { shape: [length, width], initializer } };
  return defineLayer({ '': { parameters } }, (context: Context, x: Tensor, offset = 0) => {
    requireWidth(context, x, width);
    requireWhole('learnedPositions', 'offset', offset, 0);
    const tokens = tokensOf(x);
    if (offset + tokens > length) {
      throw new TopKError('SHAPE_MISMATCH', 'learnedPositions: more tokens than positions', {
        expected: `at most ${length}`,
        got: `${tokens} from position ${offset}`,
        fix: 'Shorten the text, or build the layer with more positions',
      });
    }
    return add(x, narrow(parameterOf(context, 'weight'), 0, offset, tokens));
  });
}

/**
 * x [..., L, width] plus sines (even elements) and cosines (odd elements) of position * base^(-2 i / width), as in
 * "Attention is all you need". No parameters.
 *
 * @throws TopKError INVALID_OPTION; when applied SHAPE_MISMATCH.
 *
 * @example
 * const positions = sinusoidalPositions(64);
 */
export function sinusoidalPositions(width: number, options?: SinusoidalPositionsOptions): Positions {
  requireWhole('sinusoidalPositions', 'width', width, 1);
  const { base = 10_000 } = readOptions('sinusoidalPositions', options, sinusoidalKinds);
  return defineLayer({}, (context: Context, x: Tensor, offset = 0) => {
    requireWidth(context, x, width);
    requireWhole('sinusoidalPositions', 'offset', offset, 0);
    const tokens = tokensOf(x);
    const angles = positionAngles(offset, tokens, width, base);
    const pairs = Math.ceil(width / 2);
    const values = Float64Array.from({ length: tokens * width }, (_, at) => {
      const element = at % width;
      const angle = angles[Math.floor(at / width) * pairs + Math.floor(element / 2)] as number;
      return element % 2 === 0 ? Math.sin(angle) : Math.cos(angle);
    });
    return add(x, cast(tensor(x.backend, values, [tokens, width]), x.dtype));
  });
}

function tokensOf(x: Tensor): number {
  const tokens = x.shape.at(-2);
  if (tokens !== undefined) return tokens;
  throw new TopKError('RANK_MISMATCH', 'positions: the input has no axis of tokens', {
    expected: '[..., L, width]',
    got: formatShape(x.shape),
  });
}
