// The fused feed-forward against core's composed one, on one engine; values that take every way through it.
import {
  type FeedForwardOptions,
  type FeedForwardWeights,
  type Tensor,
  tensor,
  topKFeedForward,
} from '@topk-attention/core';
import type { DeviceLimits } from '@topk-attention/core/backend';
import { describe, expect, test } from 'vitest';
import { createTfjsBackend, type Tf, type TfjsBackend } from '../../src/index.js';

const [TOKENS, WIDTH, HIDDEN, OUT] = [13, 8, 48, 6];

interface Problem {
  readonly name: string;
  readonly x: Float32Array;
  readonly wIn: Float32Array;
  readonly wOut: Float32Array;
  readonly gated?: boolean;
  readonly biased?: boolean;
}

/** Numbers with few digits: sums of their products are exact, so that both ways see the same ties. */
function numbers(count: number, seed: number, steps = 64): Float32Array {
  let state = seed;
  return Float32Array.from({ length: count }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.round((state / 2 ** 32 - 0.5) * steps) / 16;
  });
}

function changed(values: Float32Array, entries: readonly (readonly [number, number])[]): Float32Array {
  const copy = values.slice();
  for (const [at, value] of entries) copy[at] = value;
  return copy;
}

const x = numbers(TOKENS * WIDTH, 1);
const wIn = numbers(WIDTH * HIDDEN, 2);
const wOut = numbers(HIDDEN * OUT, 3);
const problems: readonly Problem[] = [
  { name: 'ordinary numbers', x, wIn, wOut },
  { name: 'gate and biases', x, wIn, wOut, gated: true, biased: true },
  { name: 'ties everywhere', x: numbers(x.length, 4, 32), wIn: numbers(wIn.length, 5, 32), wOut },
  {
    name: 'NaN and infinities in tokens',
    x: changed(x, [
      [3, Number.NaN],
      [17, Number.POSITIVE_INFINITY],
    ]),
    wIn,
    wOut,
  },
  {
    name: 'NaN and infinities in wOut',
    x,
    wIn,
    wOut: changed(wOut, [
      [7, Number.NaN],
      [40, Number.NEGATIVE_INFINITY],
    ]),
  },
  { name: 'NaN in wIn', x, wIn: changed(wIn, [[5, Number.NaN]]), wOut },
];

function weightsOn(backend: TfjsBackend, problem: Problem): FeedForwardWeights {
  return {
    wIn: tensor(backend, problem.wIn, [WIDTH, HIDDEN]),
    wOut: tensor(backend, problem.wOut, [HIDDEN, OUT]),
    ...(problem.gated && { wGate: tensor(backend, numbers(WIDTH * HIDDEN, 6), [WIDTH, HIDDEN]) }),
    ...(problem.biased && {
      bIn: tensor(backend, numbers(HIDDEN, 7), [HIDDEN]),
      bOut: tensor(backend, numbers(OUT, 8), [OUT]),
    }),
  };
}

/** A backend that plans with other limits. */
function withLimits(backend: TfjsBackend, limits: Partial<DeviceLimits>): TfjsBackend {
  const { capabilities } = backend;
  const value = { ...capabilities, limits: { ...capabilities.limits, ...limits } };
  return Object.defineProperty(backend, 'capabilities', { value });
}

async function run(backend: TfjsBackend, problem: Problem, options: FeedForwardOptions): Promise<number[]> {
  const made: (Tensor | undefined)[] = [];
  const weights = weightsOn(backend, problem);
  made.push(...Object.values(weights));
  const input = tensor(backend, problem.x, [TOKENS, WIDTH]);
  const output = topKFeedForward(input, weights, options);
  made.push(input, output);
  const values = Array.from(await output.data(), Number);
  for (const one of made) one?.dispose();
  return values;
}

export function testFeedForward(tf: Tf, engine: string): void {
  describe(`the fused feed-forward on ${engine} gives what the composed one gives`, () => {
    for (const second of ['dense', 'gather'] as const) {
      const limits = { gatherCost: second === 'dense' ? 1e6 : 1e-6 };
      for (const problem of problems) {
        for (const select of ['preactivation', 'contribution'] as const) {
          test(`${problem.name}, by ${select}, ${second}`, async () => {
            const fused = withLimits(await createTfjsBackend({ tf, engine }), limits);
            // Gathered, a kept row of wOut that holds a NaN spoils what it is added to alone.
            const composed = withLimits(await createTfjsBackend({ tf, engine, fused: false }), {
              gatherCost: 1e-6,
            });
            // On wasm a first product of a width keeps a vector of zeros.
            for (const each of [fused, composed])
              await run(each, problem, { k: 1, activation: 'relu', select });
            const { numTensors } = tf.memory();
            for (const activation of ['relu', 'gelu', 'gelu_tanh', 'silu'] as const) {
              for (const k of [1, 7, HIDDEN - 1]) {
                const options = { k, activation, select };
                const got = await run(fused, problem, { ...options, tokenChunk: 5 });
                const expected = await run(composed, problem, options);
                const what = `${activation}, k ${k}`;
                expect(got.map(Number.isNaN), what).toEqual(expected.map(Number.isNaN));
                for (const [at, value] of expected.entries()) {
                  if (!Number.isFinite(value)) continue;
                  expect(Math.abs((got[at] as number) - value), `${what}, ${at}`).toBeLessThan(
                    1e-4 * Math.max(1, Math.abs(value)),
                  );
                }
              }
            }
            expect(tf.memory().numTensors).toBe(numTensors);
          });
        }
      }
    }
  });
}
