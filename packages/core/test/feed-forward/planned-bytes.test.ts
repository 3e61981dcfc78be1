import { describe, expect, test } from 'vitest';
import {
  type Backend,
  type DeviceLimits,
  explainFeedForward,
  type FeedForwardOptions,
  fill,
  pullback,
  type Tensor,
  topKFeedForward,
} from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const sizes = { tokens: 96, inputDim: 48, hidden: 384, outputDim: 40 };

function withLimits(limits: Partial<DeviceLimits>): Backend {
  const backend = createReferenceBackend({ fused: false });
  const { capabilities } = backend;
  return { ...backend, capabilities: { ...capabilities, limits: { ...capabilities.limits, ...limits } } };
}

const engines: Readonly<Record<string, Partial<DeviceLimits>>> = {
  'gathered second product': {},
  'dense second product': { gatherCost: 1e9 },
  'two-level selection': { twoLevel: { minKeys: 16, blockSize: 8 } },
};

/** The plan's total against what the composed layer really held at its worst moment. */
function ratio(backend: Backend, options: FeedForwardOptions, gated: boolean, training: boolean): number {
  const { tokens, inputDim, hidden, outputDim } = sizes;
  const make = (...shape: number[]): Tensor => fill(backend, 0.5, shape);
  const x = make(tokens, inputDim);
  const weights = {
    wIn: make(inputDim, hidden),
    bIn: make(hidden),
    ...(gated && { wGate: make(inputDim, hidden) }),
    wOut: make(hidden, outputDim),
    bOut: make(outputDim),
  };
  const { plan } = explainFeedForward(backend, { ...sizes, gated }, { ...options, training });
  const before = backend.memory().live;
  backend.resetPeak();
  if (training) pullback((one: Tensor) => topKFeedForward(one, weights, options), x).dispose();
  else topKFeedForward(x, weights, options);
  return plan.bytes.total / ((backend.memory().peak ?? 0) - before);
}

/** The same for the backward pass, lists left out: they were there before. */
function backwardRatio(backend: Backend, options: FeedForwardOptions, gated: boolean): number {
  const { tokens, inputDim, hidden, outputDim } = sizes;
  const make = (...shape: number[]): Tensor => fill(backend, 0.5, shape);
  const inputs = {
    x: make(tokens, inputDim),
    wIn: make(inputDim, hidden),
    ...(gated && { wGate: make(inputDim, hidden) }),
    wOut: make(hidden, outputDim),
  };
  const { backward } = explainFeedForward(backend, { ...sizes, gated }, { ...options, training: true });
  const pulled = pullback(({ x, ...weights }: typeof inputs) => topKFeedForward(x, weights, options), inputs);
  const cotangent = make(tokens, outputDim);
  const before = backend.memory().live;
  backend.resetPeak();
  pulled.backward(cotangent);
  const { total = 0, saved = 0 } = backward?.plan.bytes ?? {};
  return (total - saved) / ((backend.memory().peak ?? 0) - before);
}

describe.each(Object.entries(engines))('planned bytes of the feed-forward, %s', (_, limits) => {
  for (const gated of [false, true]) {
    for (const select of ['preactivation', 'contribution'] as const) {
      for (const activation of ['relu', 'gelu', 'gelu_tanh', 'silu'] as const) {
        test(`${gated ? 'gated ' : ''}${activation} by ${select}: 1.0 to 1.5 times the measured`, () => {
          for (const k of [8, 64, 384]) {
            for (const tokenChunk of [16, 40, 96]) {
              for (const training of [false, true]) {
                const options = { k, activation, select, tokenChunk };
                const found = ratio(withLimits(limits), options, gated, training);
                const what = `k ${k}, chunk ${tokenChunk}${training ? ', training' : ''}`;
                expect(found, what).toBeGreaterThanOrEqual(1);
                expect(found, what).toBeLessThanOrEqual(1.5);
              }
            }
          }
        });
      }
    }
  }
});

describe('planned bytes of the backward pass of the feed-forward', () => {
  for (const gated of [false, true]) {
    for (const activation of ['relu', 'gelu', 'gelu_tanh', 'silu'] as const) {
      test(`${gated ? 'gated ' : ''}${activation}: 1.0 to 1.5 times the measured`, () => {
        for (const k of [8, 64, 384]) {
          for (const tokenChunk of [16, 40, 96]) {
            const options = { k, activation, tokenChunk };
            const found = backwardRatio(createReferenceBackend({ fused: false }), options, gated);
            expect(found, `k ${k}, chunk ${tokenChunk}`).toBeGreaterThanOrEqual(1);
            expect(found, `k ${k}, chunk ${tokenChunk}`).toBeLessThanOrEqual(1.5);
          }
        }
      });
    }
  }
});
