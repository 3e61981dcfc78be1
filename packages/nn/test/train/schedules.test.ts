import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import * as nn from '../../src/index.js';

interface Golden {
  readonly schedule: keyof typeof made;
  readonly options: object;
  readonly rateFactor: readonly number[];
  readonly momentum?: readonly number[];
}

const made = {
  constantSchedule: nn.constantSchedule,
  linearSchedule: nn.linearSchedule,
  cosineSchedule: nn.cosineSchedule,
  cosineWithRestartsSchedule: nn.cosineWithRestartsSchedule,
  polynomialSchedule: nn.polynomialSchedule,
  inverseSqrtSchedule: nn.inverseSqrtSchedule,
  warmupStableDecaySchedule: nn.warmupStableDecaySchedule,
  constantLR: nn.constantLR,
  linearLR: nn.linearLR,
  cosineAnnealingLR: nn.cosineAnnealingLR,
  stepLR: nn.stepLR,
  multiStepLR: nn.multiStepLR,
  oneCycleSchedule: nn.oneCycleSchedule,
} as const;

const goldens: readonly Golden[] = JSON.parse(
  readFileSync(new URL('../goldens/schedules.json', import.meta.url), 'utf8'),
);

describe('factors are those of PyTorch and transformers', () => {
  test.each(
    goldens.map((golden) => [`${golden.schedule} ${JSON.stringify(golden.options)}`, golden] as const),
  )('%s', (_, { schedule, options, rateFactor, momentum }) => {
    const at = (made[schedule] as (options: object) => nn.Schedule)(options);
    rateFactor.forEach((expected, step) => {
      expect(at(step).rateFactor, `step ${step}`).toBeCloseTo(expected, 12);
      expect(at(step).momentum, `momentum, step ${step}`).toEqual(
        momentum === undefined ? undefined : expect.closeTo(momentum[step] as number, 12),
      );
    });
  });
});

test('rsqrt rises to its warm-up and falls with the root', () => {
  const at = nn.rsqrtSchedule({ warmupSteps: 4, scale: 2 });
  expect([0, 1, 3, 15].map((step) => at(step).rateFactor)).toEqual([0.25, 0.5, 1, 0.5]);
});

test('one cycle that turns at its first step begins at the full rate', () => {
  const at = nn.oneCycleSchedule({ totalSteps: 10, pctStart: 0.1 });
  expect(at(0)).toEqual({ rateFactor: 1, momentum: 0.85 });
  expect(at(9).rateFactor).toBeCloseTo(1 / 25 / 1e4, 12);
});

test('schedules follow one another, each from its own step 0', () => {
  const at = nn.sequentialLR([nn.linearLR({ startFactor: 0.25, totalIters: 3 }), nn.exponentialLR(0.5)], [3]);
  expect([0, 1, 2, 3, 4, 5].map((step) => at(step).rateFactor)).toEqual([0.25, 0.5, 0.75, 1, 0.5, 0.25]);
});

test('a plateau lowers the rate after `patience` bad evaluations, and not while it cools down', () => {
  const plateau = nn.reduceOnPlateau({ patience: 1, factor: 0.5, cooldown: 1 });
  const seen: number[] = [];
  let state = plateau.init();
  for (const metric of [1, 1, 1, 1, 1, 1, 0.5]) {
    state = plateau.next(state, metric);
    seen.push(state.rateFactor);
  }
  // By hand: the third is the second bad one; the fourth cools down; the fifth and sixth are bad again.
  expect(seen).toEqual([1, 1, 0.5, 0.5, 0.5, 0.25, 0.25]);
  expect(state.best).toBe(0.5);
});

test.each([
  ['fewer steps than warm-up', () => nn.linearSchedule({ warmupSteps: 5, totalSteps: 4 })],
  ['no total', () => nn.cosineSchedule({} as never)],
  ['half a step', () => nn.stepLR({ stepSize: 0.5 })],
  ['milestones out of order', () => nn.multiStepLR({ milestones: [5, 2] })],
  ['a milestone too few', () => nn.sequentialLR([nn.constantLR(), nn.constantLR()], [])],
  ['a rise longer than the run', () => nn.oneCycleSchedule({ totalSteps: 5, pctStart: 1.5 })],
  ['a misspelt option', () => nn.oneCycleSchedule({ totalSteps: 5, pct_start: 0.3 } as never)],
])('%s is refused', (_, run) => {
  expect(run).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
});
