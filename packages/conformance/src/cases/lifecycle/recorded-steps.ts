import {
  add,
  type Backend,
  dropout,
  exactAttention,
  layerNorm,
  le,
  linear,
  matmul,
  mean,
  mul,
  type RecordedStep,
  randomBits,
  recordedStep,
  reshape,
  type Step,
  type StepCall,
  type StepSeeds,
  scope,
  sub,
  sum,
  type Tensor,
  tensor,
  topKAttention,
  valueAndGrad,
  where,
  writeAt,
} from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { check, checkEqual, checkSameBits, checkThrows } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';

export type State = { readonly [name: string]: Tensor };
export type Inputs = { readonly x: Tensor; readonly rate: Tensor };
export type Outputs = { readonly loss: Tensor };

function lifecycle(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `lifecycle: ${name}`, group: 'lifecycle', run };
}

const WIDTH = 8;

export function stateOf(backend: Backend): State {
  const random = new Random('recorded steps');
  const matrix = (): Tensor => {
    const { data } = random.uniform([WIDTH, WIDTH]);
    return tensor(backend, Float32Array.from(data), [WIDTH, WIDTH]);
  };
  const ones = tensor(backend, new Float32Array(WIDTH).fill(1), [WIDTH]);
  return { project: matrix(), hidden: matrix(), norm: ones };
}

export function inputsOf(backend: Backend, step: number, rows = 6): Inputs {
  const { data } = new Random(`inputs ${step}`).uniform([rows, WIDTH]);
  return {
    x: tensor(backend, Float32Array.from(data), [rows, WIDTH]),
    rate: tensor(backend, [0.01 / (step + 1)], []),
  };
}

/** A number with 53 well-mixed bits for a step and a path. */
export function seedsOf(step: number): (path: string) => number {
  return (path) => {
    const mix = (start: number): number =>
      [...`${path}/${step}`].reduce((bits, one) => Math.imul(bits ^ one.charCodeAt(0), 0x01000193), start);
    return (mix(0x811c9dc5) >>> 0) * 2 ** 21 + (mix(0x12345) >>> 11);
  };
}

/** Attention, a norm, products and dropout: [rows, WIDTH] -> [rows, WIDTH]. */
export function blockOf(p: State, x: Tensor, seeds: StepSeeds): Tensor {
  return scope(() => {
    const get = (name: string): Tensor => p[name] as Tensor;
    const projected = matmul(layerNorm(x, get('norm')), get('project'));
    const heads = reshape(projected, [1, 1, ...projected.shape]);
    const topK = topKAttention(heads, heads, heads, { k: 3, dropout: { rate: 0.3, seed: seeds('top') } });
    const exact = exactAttention(heads, heads, heads, { causal: true });
    const attended = reshape(add(topK, exact), x.shape);
    const hidden = linear(attended, get('hidden'), get('norm'), { activation: 'gelu' });
    const kept = dropout(hidden, { rate: 0.2, seed: seeds('kept') });
    return where(le(-(2 ** 30), randomBits(x.backend, seeds('hidden'), hidden.shape)), kept, 0);
  });
}

/** A block and gradients: the parts of a training step. */
const train: Step<State, Inputs, Outputs> = (state, { x, rate }, seeds) => {
  const loss = (p: State): Tensor =>
    scope(() => {
      const kept = blockOf(p, x, seeds);
      return mean(mul(kept, kept));
    });
  return scope(() => {
    const { value, gradients } = valueAndGrad(loss)(state);
    const next = Object.entries(state).map(
      ([name, one]) => [name, sub(one, mul(gradients[name] as Tensor, rate))] as const,
    );
    return { state: Object.fromEntries(next), outputs: { loss: value } };
  });
};

export async function bitsOf(trees: readonly State[]): Promise<ArrayBufferView[]> {
  return Promise.all(trees.flatMap((tree) => Object.values(tree).map((one) => one.data())));
}

async function numberOf(x: Tensor): Promise<number> {
  return (await x.data())[0] as number;
}

async function runBoth(
  backend: Backend,
  calls: readonly { readonly inputs: () => Inputs; readonly call: StepCall }[],
): Promise<RecordedStep<State, Inputs, Outputs>> {
  // The first only calls the function.
  const steps = [recordedStep(train, { mostRecordings: 0 }), recordedStep(train)] as const;
  const states = [stateOf(backend), stateOf(backend)];
  for (const [at, { inputs, call }] of calls.entries()) {
    const given = inputs();
    const made = steps.map((step, which) => step(states[which] as State, given, call));
    const [a, b] = await Promise.all(made.map(({ state, outputs }) => bitsOf([outputs, state])));
    check(
      Number.isFinite(await numberOf((made[0] as (typeof made)[number]).outputs.loss)),
      'the loss is finite',
    );
    for (const [index, one] of (a as ArrayBufferView[]).entries()) {
      checkSameBits(
        `call ${at}, ${index === 0 ? 'loss' : `tensor ${index}`}`,
        one,
        b?.[index] as ArrayBufferView,
      );
    }
    for (const [which, { state, outputs }] of made.entries()) {
      states[which] = state;
      outputs.loss.dispose();
    }
    given.x.dispose();
    given.rate.dispose();
  }
  for (const state of states) for (const one of Object.values(state)) one.dispose();
  return steps[1];
}

function doubling(): RecordedStep<State, Record<string, Tensor>, { readonly sum: Tensor }> {
  return recordedStep(({ a, b }: State, _: Record<string, Tensor>) => ({
    state: { a: mul(a as Tensor, 2), b: add(b as Tensor, a as Tensor) },
    outputs: { sum: add(a as Tensor, b as Tensor) },
  }));
}

/** Writes a row into a cache at a position that is data. */
function appending(): RecordedStep<State, Record<string, Tensor>, { readonly sum: Tensor }> {
  return recordedStep(({ cache }: State, { row, position }: Record<string, Tensor>) => {
    const next = writeAt(cache as Tensor, row as Tensor, 1, position as Tensor);
    return { state: { cache: next }, outputs: { sum: sum(next, { axes: [1] }) } };
  });
}

/** Writes over its state, and then leaves a new tensor. */
function overwriting(): RecordedStep<State, Record<string, Tensor>, { readonly sum: Tensor }> {
  return recordedStep(({ cache }: State, { row, position }: Record<string, Tensor>) => {
    const written = writeAt(cache as Tensor, row as Tensor, 1, position as Tensor);
    return { state: { cache: mul(written, 0.5) }, outputs: { sum: sum(written, { axes: [1] }) } };
  });
}

/** Steps that are recorded once and replayed; a backend that cannot record calls the function each time. */
export const recordedStepCases: readonly ConformanceCase[] = [
  lifecycle(
    'replayed steps have the bits of called ones, with new values, rates and seeds',
    async ({ backend }) => {
      const calls = Array.from({ length: 6 }, (_, step) => ({
        inputs: () => inputsOf(backend, step),
        call: { seeds: seedsOf(step) },
      }));
      const step = await runBoth(backend, calls);
      const expected = backend.record === undefined ? { called: 6, recorded: 0 } : { called: 1, recorded: 1 };
      check(
        step.counts.called === expected.called && step.counts.recorded === expected.recorded,
        `counts ${JSON.stringify(step.counts)}, refusal ${step.refusal}`,
      );
      step.dispose();
    },
  ),
  lifecycle('a step of other shapes or statics is another step', async ({ backend }) => {
    const rows = [6, 6, 5, 6, 5, 5, 6, 5];
    const calls = rows.map((count, step) => ({
      inputs: () => inputsOf(backend, step, count),
      call: { seeds: seedsOf(step), statics: [step === 6 ? 'other' : 'usual'] },
    }));
    const step = await runBoth(backend, calls);
    check(
      backend.record === undefined || step.counts.replayed === 3,
      `${step.counts.replayed} replays where 3 were expected`,
    );
    step.dispose();
  }),
  lifecycle('a step that writes over its state leaves views of it alone', async ({ backend }) => {
    const step = overwriting();
    let state: State = { cache: tensor(backend, new Float32Array(8).fill(8), [1, 4, 2]) };
    const row = tensor(backend, [1, 1], [1, 1, 2]);
    const position = tensor(backend, [0], [], 'i32');
    for (let call = 0; call < 5; call++) {
      const [view, before] = [reshape(state.cache as Tensor, [8]), await (state.cache as Tensor).data()];
      const made = step(state, { row, position });
      checkSameBits(`the view at call ${call}`, await view.data(), before);
      state = made.state;
      made.outputs.sum.dispose();
      view.dispose();
    }
    (state.cache as Tensor).dispose();
    row.dispose();
    position.dispose();
    step.dispose();
  }),
  lifecycle('a step writes into a cache at positions that tensors hold', async ({ backend }) => {
    const step = appending();
    let state: State = { cache: tensor(backend, new Float32Array(2 * 8 * 3), [2, 8, 3]) };
    const expected = new Float32Array(2 * 8 * 3);
    for (const [at, place] of [0, 1, 2, 3, 7, 5].entries()) {
      const values = Float32Array.from({ length: 6 }, (_, i) => 10 * at + i + 1);
      for (let i = 0; i < 6; i++) expected[(i < 3 ? 0 : 24) + 3 * place + (i % 3)] = values[i] as number;
      const row = tensor(backend, values, [2, 1, 3]);
      const position = tensor(backend, [place], [1], 'i32');
      const made = step(state, { row, position });
      state = made.state;
      const sums = Array.from({ length: 6 }, (_, i) => {
        let total = 0;
        for (let key = 0; key < 8; key++) total += expected[(i < 3 ? 0 : 24) + 3 * key + (i % 3)] as number;
        return total;
      });
      checkEqual(`sums after ${at}`, (await made.outputs.sum.data()) as Float32Array, sums);
      for (const one of [row, position, made.outputs.sum]) one.dispose();
    }
    checkEqual('the cache', (await (state.cache as Tensor).data()) as Float32Array, expected);
    check(
      backend.record === undefined || step.counts.replayed === 4,
      `${step.counts.replayed} replays where 4 were expected`,
    );
    (state.cache as Tensor).dispose();
    step.dispose();
  }),
  lifecycle('a seed that a step brings itself is never replayed', async ({ backend }) => {
    let calls = 0;
    const step = recordedStep(({ x }: { x: Tensor }, _: Record<string, Tensor>) => {
      calls++;
      return { state: { x: mul(x, 1) }, outputs: { bits: randomBits(x.backend, 2 ** 50 + calls, [4]) } };
    });
    let state = { x: tensor(backend, [1]) };
    const seen = new Set<string>();
    for (let at = 0; at < 4; at++) {
      const made = step(state, {});
      state = made.state;
      seen.add(String(await made.outputs.bits.data()));
      made.outputs.bits.dispose();
    }
    check(seen.size === 4, `${seen.size} different draws of 4`);
    state.x.dispose();
    step.dispose();
  }),
  lifecycle('tensors of an old state that somebody keeps are not overwritten', async ({ backend }) => {
    const step = doubling();
    let state: State = { a: tensor(backend, [1, 2]), b: tensor(backend, [0, 0]) };
    const kept: Tensor[] = [];
    for (let at = 0; at < 7; at++) {
      // In turns: a second handle, a view, none.
      if (at % 3 === 0) kept.push((state.a as Tensor).alias());
      if (at % 3 === 1) kept.push(reshape(state.a as Tensor, [2, 1]));
      const made = step(state, {});
      made.outputs.sum.dispose();
      state = made.state;
    }
    const powers = [0, 1, 3, 4, 6].map((power) => 2 ** power);
    for (const [at, one] of kept.entries()) {
      const power = powers[at] as number;
      checkEqual(`the state kept at ${at}`, (await one.data()) as Float32Array, [power, 2 * power]);
      one.dispose();
    }
    checkEqual('a', (await (state.a as Tensor).data()) as Float32Array, [128, 256]);
    checkEqual('b', (await (state.b as Tensor).data()) as Float32Array, [127, 254]);
    for (const one of Object.values(state)) one.dispose();
    step.dispose();
  }),
  lifecycle('a state that changes places, or is passed on, is replayed', async ({ backend }) => {
    const step = recordedStep(({ a, b, c }: State, _: Record<string, Tensor>) => ({
      state: { a: (b as Tensor).alias(), b: (a as Tensor).alias(), c: (c as Tensor).alias() },
      outputs: { old: (a as Tensor).alias() },
    }));
    let state: State = { a: tensor(backend, [1]), b: tensor(backend, [2]), c: tensor(backend, [3]) };
    for (let at = 0; at < 5; at++) {
      const made = step(state, {});
      checkEqual(`the old a at ${at}`, (await made.outputs.old.data()) as Float32Array, [
        at % 2 === 0 ? 1 : 2,
      ]);
      made.outputs.old.dispose();
      state = made.state;
    }
    const values = await Promise.all(Object.values(state).map((one) => one.data()));
    checkEqual(
      'the state',
      values.map(([value]) => value as number),
      [2, 1, 3],
    );
    for (const one of Object.values(state)) one.dispose();
    step.dispose();
  }),
  lifecycle('recorded steps give their memory back', async ({ createBackend }) => {
    const backend = await createBackend();
    const before = backend.memory().live;
    const step = doubling();
    let state: State = { a: tensor(backend, [1, 2]), b: tensor(backend, [0, 0]) };
    for (let at = 0; at < 4; at++) {
      const made = step(state, {});
      made.outputs.sum.dispose();
      state = made.state;
    }
    check(step.bytes > 0 === (backend.record !== undefined), `${step.bytes} bytes kept`);
    step.dispose();
    checkEqual('after dispose()', (await (state.a as Tensor).data()) as Float32Array, [16, 32]);
    for (const one of Object.values(state)) one.dispose();
    const { live } = backend.memory();
    check(live === before, `${live - before} bytes are still live`);
  }),
  lifecycle('a step that throws while it is recorded leaves nothing', async ({ createBackend }) => {
    const backend = await createBackend();
    const before = backend.memory().live;
    let calls = 0;
    const step = recordedStep(({ a, b }: State, _: Record<string, Tensor>) => {
      // One tensor for the whole of the state and the outputs.
      const sum = add(a as Tensor, b as Tensor);
      if (++calls === 2) throw new RangeError('broken');
      return { state: { a: sum, b: sum }, outputs: { sum } };
    });
    let state: State = { a: tensor(backend, [1, 2]), b: tensor(backend, [2, 4]) };
    for (let at = 0; at < 6; at++) {
      try {
        const made = step(state, {});
        state = made.state;
        made.outputs.sum.dispose();
      } catch (error) {
        check(at === 1 && error instanceof RangeError, `call ${at}: ${String(error)}`);
      }
    }
    checkEqual('a', (await (state.a as Tensor).data()) as Float32Array, [48, 96]);
    checkEqual('b', (await (state.b as Tensor).data()) as Float32Array, [48, 96]);
    for (const one of Object.values(state)) one.dispose();
    step.dispose();
    const { live } = backend.memory();
    check(live === before, `${live - before} bytes are still live`);
  }),
  lifecycle('steps that cannot be recorded are refused', async ({ backend }) => {
    const grows = recordedStep(({ x }: State, _: Record<string, Tensor>) => ({
      state: { x: reshape(x as Tensor, [2, 1]) },
      outputs: {},
    }));
    const x = tensor(backend, [1, 2]);
    checkThrows('another shape', () => grows({ x }, {}), 'INVALID_OPTION');
    const keeps = recordedStep((state: State, _: Record<string, Tensor>) => ({ state, outputs: {} }));
    const withNumber = Object.fromEntries([
      ['x', x],
      ['count', JSON.parse('1')],
    ]);
    checkThrows('a number', () => keeps(withNumber, {}), 'INVALID_OPTION');
    const draws = recordedStep((state: State, _: Record<string, Tensor>, seeds) => {
      seeds('dropout');
      return { state, outputs: {} };
    });
    checkThrows('no seeds', () => draws({ x }, {}), 'INVALID_OPTION');
    checkEqual('the state after errors', (await x.data()) as Float32Array, [1, 2]);
    x.dispose();
  }),
];
