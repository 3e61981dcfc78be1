import {
  type Activation,
  mul,
  sum,
  type Tensor,
  tensor,
  topKFeedForward,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  type ActivationOverride,
  explainFeedForwardLayer,
  type FeedForwardChoice,
  type FeedForwardLayer,
  feedForward,
  inference,
  type KeptUnits,
  type Trace,
} from '../../src/index.js';
import { countedBackend } from '../support/counted-backend.js';
import { randomTensor } from '../support/random.js';

const backend = createReferenceBackend({ floatStorage: 'f64' });
const D = 5;
const F = 11;
const x = randomTensor(backend, 1, 2, 3, D);
const wIn = randomTensor(backend, 2, D, F);
const wGate = randomTensor(backend, 3, D, F);
const wOut = randomTensor(backend, 4, F, D);
const layer = (
  choice: FeedForwardChoice,
  { gated = false, activation = 'relu' }: { gated?: boolean; activation?: Activation } = {},
): FeedForwardLayer => ({
  path: 'encoder.0.feedForward',
  weights: { wIn, wOut, ...(gated && { wGate }) },
  activation,
  choice,
});
const numbers = async (of: Tensor): Promise<number[]> => Array.from(await of.data(), Number);

async function closest(a: Tensor, b: readonly number[]): Promise<void> {
  const values = await numbers(a);
  expect(values).toHaveLength(b.length);
  for (const [at, value] of values.entries()) expect(value).toBeCloseTo(b[at] as number, 6);
}

/** Pre-activations and what a unit's row of wOut is multiplied with, by hand: [tokens][F]. */
async function bruteForce(gated: boolean): Promise<{ raw: number; activation: number }[][]> {
  const [xs, ins, gates] = [await numbers(x), await numbers(wIn), await numbers(wGate)];
  const dot = (token: number, unit: number, w: readonly number[]): number => {
    let total = 0;
    for (let d = 0; d < D; d++) total += (xs[token * D + d] as number) * (w[d * F + unit] as number);
    return total;
  };
  return Array.from({ length: 6 }, (_, token) =>
    Array.from({ length: F }, (_, unit) => {
      const raw = dot(token, unit, ins);
      return { raw, activation: Math.max(0, raw) * (gated ? dot(token, unit, gates) : 1) };
    }),
  );
}

test('a budget of the run holds for the call and its plan', () => {
  const run = { ...inference, budgetBytes: 1 };
  const refused = expect.objectContaining({ code: 'DOES_NOT_FIT' });
  for (const choice of ['exact', { k: 3 }] as const) {
    expect(() => feedForward(run, layer(choice), x)).toThrow(refused);
    expect(() => explainFeedForwardLayer(backend, layer(choice), 6, run)).toThrow(refused);
  }
});

test('feedForward is the layer of core; exact keeps all units', async () => {
  for (const choice of ['exact', { k: 4 }, { k: 4, select: 'contribution' }] as const) {
    const options = choice === 'exact' ? { k: F } : choice;
    const expected = topKFeedForward(x, { wIn, wOut, wGate }, { ...options, activation: 'silu' });
    const made = feedForward(inference, layer(choice, { gated: true, activation: 'silu' }), x);
    expect(await numbers(made)).toEqual(await numbers(expected));
  }
});

test('explainFeedForwardLayer names the call', () => {
  expect(String(explainFeedForwardLayer(backend, layer({ k: 4 }), 6))).toContain('topKFeedForward');
});

describe('the hook', () => {
  test.each([
    [4, false],
    [4, true],
    [F, false],
    [F, true],
  ])('sees the %d units kept and their activations, gated: %s', async (k, gated) => {
    let kept: KeptUnits | undefined;
    const trace: Trace = { onFeedForward: (_, given) => (kept = given) };
    const own = layer(k === F ? 'exact' : { k }, { gated });
    const traced = feedForward({ training: false, trace }, own, x);
    expect(await numbers(traced)).toEqual(await numbers(feedForward(inference, own, x)));
    const { indices, activations } = kept as unknown as KeptUnits;
    expect(indices.shape).toEqual([2, 3, k]);
    const [units, values] = [await numbers(indices), await numbers(activations)];
    for (const [token, all] of (await bruteForce(gated)).entries()) {
      const order = [...all.keys()].sort((a, b) => (all[b]?.raw ?? 0) - (all[a]?.raw ?? 0));
      const expected = order.slice(0, k).sort((a, b) => a - b);
      expect(units.slice(token * k, (token + 1) * k)).toEqual(expected);
      for (const [slot, unit] of expected.entries())
        expect(values[token * k + slot]).toBeCloseTo(all[unit]?.activation ?? Number.NaN, 6);
    }
  });

  test('nothing is computed or read for hooks of other layers', () => {
    const { backend: counted, calls } = countedBackend(createReferenceBackend());
    const of = (seed: number, ...shape: readonly number[]) => randomTensor(counted, seed, ...shape);
    const own = { ...layer({ k: 4 }), weights: { wIn: of(2, D, F), wOut: of(4, F, D), wGate: of(3, D, F) } };
    const input = of(1, 2, 3, D);
    const callsOf = (trace?: Trace): string[] => {
      calls.length = 0;
      feedForward({ training: false, ...(trace && { trace }) }, own, input).dispose();
      return [...calls];
    };
    const plain = callsOf();
    expect(callsOf({ onAttention: () => {}, overrideActivations: () => undefined })).toEqual(plain);
    expect(callsOf({ onFeedForward: () => {} }).length).toBeGreaterThan(plain.length);
    expect(calls).not.toContain('read');
  });
});

describe('an override of activations', () => {
  const overridden = (own: FeedForwardLayer, override: ActivationOverride | undefined): Tensor =>
    feedForward({ training: false, trace: { overrideActivations: () => override } }, own, x);

  test.each(['exact', { k: 4 }] as const)('by their own values changes nothing, %o', async (choice) => {
    const own = layer(choice, { gated: true });
    const all = await bruteForce(true);
    const k = choice === 'exact' ? F : choice.k;
    const activationOf = (token: number, unit: number): number => {
      const units = all[token] as (typeof all)[number];
      const rank = units.filter(({ raw }) => raw > (units[unit]?.raw ?? 0)).length;
      return rank < k ? (units[unit]?.activation ?? 0) : 0;
    };
    const units = [7, 2, 9];
    const values = Array.from({ length: 6 }, (_, token) => units.map((unit) => activationOf(token, unit)));
    const override = { units, activations: tensor(backend, values.flat(), [2, 3, 3]) };
    await closest(overridden(own, override), await numbers(feedForward(inference, own, x)));
  });

  test('by a number takes away what the unit adds and adds its row as often', async () => {
    const all = await bruteForce(false);
    const rows = await numbers(wOut);
    const unit = 6;
    for (const value of [0, 2]) {
      const expected = await numbers(feedForward(inference, layer('exact'), x));
      for (const [token, units] of all.entries()) {
        const change = value - (units[unit]?.activation ?? Number.NaN);
        for (let d = 0; d < D; d++) {
          const at = token * D + d;
          expected[at] = (expected[at] as number) + change * (rows[unit * D + d] as number);
        }
      }
      await closest(overridden(layer('exact'), { units: [unit], activations: value }), expected);
    }
  });

  test('by 0 of all units leaves nothing, and has no gradient', async () => {
    const units = [...Array(F).keys()];
    const own = layer({ k: 4 }, { gated: true });
    const zeros = new Array<number>(2 * 3 * D).fill(0);
    await closest(overridden(own, { units, activations: 0 }), zeros);
    const loss = ({ w }: { readonly w: Tensor }): Tensor =>
      sum(mul(overridden({ ...own, weights: { ...own.weights, wIn: w } }, { units, activations: 0 }), x));
    const { gradients } = valueAndGrad(loss)({ w: wIn });
    await closest(gradients.w as Tensor, new Array<number>(D * F).fill(0));
  });

  test.each<[string, ActivationOverride, string]>([
    ['a unit that is not there', { units: [F], activations: 0 }, 'INVALID_OPTION'],
    ['half a unit', { units: [0.5], activations: 0 }, 'INVALID_OPTION'],
    ['a unit twice', { units: [1, 2, 1], activations: 0 }, 'INVALID_OPTION'],
    ['no units', { units: [], activations: 0 }, 'INVALID_OPTION'],
    ['another shape', { units: [1, 2], activations: x }, 'SHAPE_MISMATCH'],
  ])('of %s is an error', (_, override, code) => {
    const call = () => overridden(layer('exact'), override);
    expect(call).toThrow(expect.objectContaining({ code }));
    expect(call).toThrow(/encoder\.0\.feedForward/);
  });
});
