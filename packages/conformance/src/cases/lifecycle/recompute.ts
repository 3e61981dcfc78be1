import {
  add,
  mean,
  mul,
  type RecordedStep,
  recompute,
  recordedStep,
  type StepSeeds,
  scope,
  sub,
  type Tensor,
  valueAndGrad,
} from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { check, checkSameBits } from '../../harness/support/assert.js';
import {
  bitsOf,
  blockOf,
  type Inputs,
  inputsOf,
  type Outputs,
  type State,
  seedsOf,
  stateOf,
} from './recorded-steps.js';

type Way = 'kept' | 'recomputed' | 'nested';

/** A step through two blocks that share their parameters. */
function stepOf(way: Way, mostRecordings: number): RecordedStep<State, Inputs, Outputs> {
  const twoBlocks = (p: State, x: Tensor, seeds: StepSeeds): Tensor =>
    [0, 1].reduce((current, at) => {
      const block = (from: Tensor): Tensor =>
        add(
          from,
          blockOf(p, from, (path) => seeds(`${at}/${path}`)),
        );
      return way === 'kept' ? block(current) : recompute(block, current);
    }, x);
  const lossOf = (p: State, x: Tensor, seeds: StepSeeds): Tensor =>
    scope(() => {
      const last =
        way === 'nested' ? recompute((from) => twoBlocks(p, from, seeds), x) : twoBlocks(p, x, seeds);
      return mean(mul(last, last));
    });
  return recordedStep(
    (state: State, { x, rate }: Inputs, seeds) =>
      scope(() => {
        const { value, gradients } = valueAndGrad((p: State) => lossOf(p, x, seeds))(state);
        const next = Object.entries(state).map(
          ([name, one]) => [name, sub(one, mul(gradients[name] as Tensor, rate))] as const,
        );
        return { state: Object.fromEntries(next), outputs: { loss: value } };
      }),
    { mostRecordings },
  );
}

/** Functions that run again in the backward pass. */
export const recomputeCases: readonly ConformanceCase[] = [
  {
    name: 'lifecycle: recomputed blocks give the bits of kept ones, called and recorded, and leave nothing',
    group: 'lifecycle',
    run: async ({ createBackend }) => {
      const backend = await createBackend();
      const before = backend.memory().live;
      const steps = [
        stepOf('kept', 0),
        stepOf('recomputed', 0),
        stepOf('recomputed', 1),
        stepOf('nested', 1),
      ];
      const states = steps.map(() => stateOf(backend));
      for (let at = 0; at < 4; at++) {
        const inputs = inputsOf(backend, at);
        const made = steps.map((step, which) => step(states[which] as State, inputs, { seeds: seedsOf(at) }));
        const [expected, ...others] = await Promise.all(
          made.map(({ state, outputs }) => bitsOf([outputs, state])),
        );
        for (const [which, other] of others.entries()) {
          for (const [index, one] of other.entries()) {
            const what = index === 0 ? 'the loss' : `tensor ${index}`;
            checkSameBits(`step ${at}, way ${which + 1}: ${what}`, one, expected?.[index] as ArrayBufferView);
          }
        }
        for (const [which, { state, outputs }] of made.entries()) {
          states[which] = state;
          outputs.loss.dispose();
        }
        for (const one of Object.values(inputs)) one.dispose();
      }
      for (const step of steps) step.dispose();
      for (const state of states) for (const one of Object.values(state)) one.dispose();
      const { live } = backend.memory();
      check(live === before, `${live - before} bytes are still live`);
    },
  },
];
