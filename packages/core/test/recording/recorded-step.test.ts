import { describe, expect, test } from 'vitest';
import type { RecordedWork } from '../../src/contract/backend.js';
import * as ops from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

type State = { readonly x: ops.Tensor };
type Inputs = { readonly y: ops.Tensor };

const listOf = async (x: ops.Tensor): Promise<number[]> => Array.from(await x.data(), Number);
const codeOf = (call: () => unknown): string => {
  try {
    call();
  } catch (error) {
    return error instanceof ops.TopKError ? error.code : String(error);
  }
  return 'nothing was thrown';
};

/** x + y, and x as it was. */
const addInputs = ({ x }: State, { y }: Inputs) => ({
  state: { x: ops.add(x, y) },
  outputs: { old: ops.mul(x, 1) },
});

const own = createReferenceBackend();
type Value = Parameters<typeof own.release>[0];

/** The reference backend, recording; its replays add the first two tensors, as `addInputs` does. */
function recordingBackend(log: string[], canRecord = true): typeof own {
  const work: RecordedWork<Value> = {
    bytes: 100,
    replay(inputs, seeds) {
      log.push(seeds.length === 0 ? 'replay' : `replay with ${seeds}`);
      const [x, y] = inputs as readonly [Value, Value];
      return [own.binary('add', x, y), own.reshape(x, x.shape)];
    },
    dispose: () => {
      log.push('dispose');
    },
  };
  return {
    ...own,
    record(inputs, _stateCount, body) {
      log.push('record');
      const { results } = body(inputs.map((one) => own.reshape(one, one.shape)));
      return { work: canRecord ? work : undefined, outputs: results };
    },
  };
}

/** Calls a step so many times with y = 1, from x = 0, and gives x at the end. */
async function runTimes(
  step: ops.RecordedStep<State, Inputs, { readonly old: ops.Tensor }>,
  backend: ops.Backend,
  times: number,
  call?: (at: number) => ops.StepCall,
): Promise<number[]> {
  let state: State = { x: ops.tensor(backend, [0, 0]) };
  const y = ops.tensor(backend, [1, 2]);
  for (let at = 0; at < times; at++) {
    const made = step(state, { y }, call?.(at));
    expect(await listOf(made.outputs.old)).toEqual([at, 2 * at]);
    made.outputs.old.dispose();
    state = made.state;
  }
  const result = await listOf(state.x);
  state.x.dispose();
  y.dispose();
  return result;
}

describe('a step on a backend that does not record', () => {
  test('is called each time, and leaves nothing', async () => {
    const backend = createReferenceBackend();
    const step = ops.recordedStep(addInputs);
    expect(await runTimes(step, backend, 4)).toEqual([4, 8]);
    expect(step.counts).toEqual({ called: 4, recorded: 0, replayed: 0 });
    expect([step.bytes, step.refusal]).toEqual([0, undefined]);
    step.dispose();
    step.dispose();
    expect(backend.memory().live).toBe(0);
  });

  test('uses the state up, and leaves inputs to the caller', async () => {
    const step = ops.recordedStep(addInputs);
    const [x, y] = [ops.tensor(own, [1]), ops.tensor(own, [2])];
    const { state } = step({ x }, { y });
    expect(codeOf(() => ops.add(x, y))).toBe('DISPOSED');
    expect(await listOf(ops.add(state.x, y))).toEqual([5]);
  });

  test('may pass its state and inputs on as they are', async () => {
    const step = ops.recordedStep((state: State, inputs: Inputs) => ({
      state: { x: inputs.y },
      outputs: { first: state.x, second: state.x, third: inputs.y },
    }));
    const y = ops.tensor(own, [2]);
    const { state, outputs } = step({ x: ops.tensor(own, [1]) }, { y });
    outputs.first.dispose();
    state.x.dispose();
    expect(await listOf(outputs.second)).toEqual([1]);
    expect(await listOf(outputs.third)).toEqual([2]);
    expect(await listOf(y)).toEqual([2]);
  });

  test('takes empty trees, and empty tensors', () => {
    const nothing = ops.recordedStep((_: Record<string, ops.Tensor>, { y }: Inputs) => ({
      state: {},
      outputs: [ops.mul(y, y)],
    }));
    const y = ops.tensor(own, [], [0, 3]);
    expect(nothing({}, { y }).outputs[0]?.shape).toEqual([0, 3]);
  });
});

describe('a step on a backend that records', () => {
  test('is called, then recorded, then replayed', async () => {
    const log: string[] = [];
    const step = ops.recordedStep(addInputs);
    expect(await runTimes(step, recordingBackend(log), 5)).toEqual([5, 10]);
    expect(log).toEqual(['record', 'replay', 'replay', 'replay']);
    expect(step.counts).toEqual({ called: 1, recorded: 1, replayed: 3 });
    expect(step.bytes).toBe(100);
    step.dispose();
    expect(log.at(-1)).toBe('dispose');
    expect(step.bytes).toBe(0);
  });

  test('of mostRecordings 0 is only called', async () => {
    const log: string[] = [];
    const step = ops.recordedStep(addInputs, { mostRecordings: 0 });
    await runTimes(step, recordingBackend(log), 3);
    expect(log).toEqual([]);
    expect(step.counts.called).toBe(3);
  });

  test('forgets the recording that was used least lately', async () => {
    const log: string[] = [];
    const backend = recordingBackend(log);
    const step = ops.recordedStep(addInputs, { mostRecordings: 1 });
    const statics = (at: number): ops.StepCall => ({ statics: [at < 3 ? 'a' : 'b'] });
    await runTimes(step, backend, 6, statics);
    expect(log).toEqual(['record', 'replay', 'record', 'dispose', 'replay']);
    expect(step.bytes).toBe(100);
    // What was forgotten is recorded again at once.
    await runTimes(step, backend, 1, statics);
    expect(log.slice(5)).toEqual(['record', 'dispose']);
  });

  test('that cannot be recorded is called, and says why', async () => {
    const log: string[] = [];
    const step = ops.recordedStep(addInputs);
    await runTimes(step, recordingBackend(log, false), 4);
    expect(log).toEqual(['record']);
    expect(step.counts).toEqual({ called: 3, recorded: 1, replayed: 0 });
    expect(step.refusal).toMatch(/cannot record/);
  });

  test('is called inside of an open tape', async () => {
    const log: string[] = [];
    const backend = recordingBackend(log);
    const step = ops.recordedStep(addInputs);
    await runTimes(step, backend, 3);
    const followed = ops.grad(({ y }: Inputs) => {
      const made = step({ x: ops.tensor(backend, [1, 1]) }, { y });
      return ops.sum(ops.mul(made.state.x, made.state.x));
    });
    const { y } = followed({ y: ops.tensor(backend, [3, 4]) });
    expect(await listOf(y)).toEqual([8, 10]);
    expect(step.counts).toEqual({ called: 2, recorded: 1, replayed: 1 });
  });

  test('is called inside of an open tape that follows only what the step brings itself', async () => {
    const backend = recordingBackend([]);
    let weight = ops.tensor(backend, [1, 1]);
    const step = ops.recordedStep(({ x }: State, { y }: Inputs) => ({
      state: { x: ops.add(x, y) },
      outputs: { old: ops.mul(x, weight) },
    }));
    const once = (): ops.Tensor =>
      step({ x: ops.tensor(backend, [3, 4]) }, { y: ops.tensor(backend, [1, 1]) }).outputs.old;
    for (let at = 0; at < 3; at++) once();
    const followed = ops.grad(({ w }: { w: ops.Tensor }) => {
      weight = w;
      return ops.sum(once());
    });
    expect(await listOf(followed({ w: ops.tensor(backend, [1, 1]) }).w)).toEqual([3, 4]);
  });

  test('inside of another that is recorded is part of it', async () => {
    const log: string[] = [];
    const backend = recordingBackend(log);
    const inner = ops.recordedStep(addInputs);
    const outer = ops.recordedStep((state: State, inputs: Inputs) => {
      const { state: next, outputs } = inner({ x: state.x.alias() }, inputs);
      return { state: next, outputs };
    });
    expect(await runTimes(outer, backend, 4)).toEqual([4, 8]);
    expect(log).toEqual(['record', 'replay', 'replay']);
    expect(inner.counts).toEqual({ called: 2, recorded: 0, replayed: 0 });
  });

  test('has recordings of their own for two backends, and for statics that JSON writes alike', async () => {
    const log: string[] = [];
    const step = ops.recordedStep(addInputs);
    await runTimes(step, recordingBackend(log), 2);
    await runTimes(step, recordingBackend(log), 2);
    expect(log).toEqual(['record', 'record']);
    const statics = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 0, -0, '0', 'NaN'];
    const other = ops.recordedStep(addInputs);
    await runTimes(other, recordingBackend(log), statics.length, (at) => ({
      statics: [statics[at] as string | number],
    }));
    expect(other.counts.called).toBe(statics.length);
  });

  test('does not remember statics without end, and frees the recording that it forgets', async () => {
    const log: string[] = [];
    const backend = recordingBackend(log);
    const step = ops.recordedStep(addInputs);
    await runTimes(step, backend, 2);
    await runTimes(step, backend, 1100, (at) => ({ statics: [at] }));
    expect(log).toEqual(['record', 'dispose']);
    expect(step.bytes).toBe(0);
  });

  test('hands new seeds to replays, and refuses seeds that do not come by a path', async () => {
    const log: string[] = [];
    const backend = recordingBackend(log);
    const drawing = (seedOf: (seeds: ops.StepSeeds) => number) =>
      ops.recordedStep((state: State, inputs: Inputs, seeds) => {
        ops.randomBits(backend, seedOf(seeds), [2]);
        return addInputs(state, inputs);
      });
    const seeded = drawing((seeds) => seeds('dropout'));
    await runTimes(seeded, backend, 3, (at) => ({ seeds: () => 2 ** 40 + at }));
    expect(log).toEqual(['record', `replay with ${2 ** 40 + 2}`]);
    const foreign = drawing(() => 2 ** 41);
    await runTimes(foreign, backend, 3, () => ({ seeds: () => 2 ** 40 }));
    expect(foreign.counts).toEqual({ called: 2, recorded: 1, replayed: 0 });
    expect(foreign.refusal).toMatch(/seeds\(path\)/);
  });

  test('that throws while it is recorded leaves the state, and is recorded at the next call', async () => {
    const log: string[] = [];
    let isBroken = false;
    const step = ops.recordedStep((state: State, inputs: Inputs) => {
      if (isBroken) throw new RangeError('broken');
      return addInputs(state, inputs);
    });
    const backend = recordingBackend(log);
    const y = ops.tensor(backend, [1]);
    const { state } = step({ x: ops.tensor(backend, [1]) }, { y });
    isBroken = true;
    expect(() => step(state, { y })).toThrow('broken');
    expect(await listOf(state.x)).toEqual([2]);
    isBroken = false;
    expect(await listOf(step(state, { y }).state.x)).toEqual([3]);
    expect(step.counts).toEqual({ called: 1, recorded: 1, replayed: 0 });
  });
});

describe('bad steps', () => {
  const x = ops.tensor(own, [1, 2]);
  const keeps = (make: () => Record<string, ops.Tensor>) =>
    ops.recordedStep((_: Record<string, ops.Tensor>) => ({ state: make(), outputs: {} }));

  test('options are checked', () => {
    // What callers without types may pass.
    const untyped = (text: string) => JSON.parse(text);
    expect(codeOf(() => ops.recordedStep(untyped('1')))).toBe('INVALID_OPTION');
    for (const mostRecordings of [-1, 1.5, Number.NaN]) {
      expect(codeOf(() => ops.recordedStep(addInputs, { mostRecordings }))).toBe('INVALID_OPTION');
    }
    expect(codeOf(() => ops.recordedStep(addInputs, untyped('{ "mostRecording": 1 }')))).toBe(
      'INVALID_OPTION',
    );
    const step = ops.recordedStep(addInputs);
    expect(codeOf(() => step({ x }, { y: x }, untyped('{ "seeds": 1 }')))).toBe('INVALID_OPTION');
    expect(codeOf(() => step(untyped('{ "x": 1 }'), { y: x }))).toBe('INVALID_OPTION');
    expect(codeOf(() => step({ x }, untyped('{ "y": [null] }')))).toBe('INVALID_OPTION');
  });

  test.each<[string, () => Record<string, ops.Tensor>]>([
    ['fewer tensors', () => ({})],
    ['more tensors', () => ({ x: x.alias(), y: x.alias() })],
    ['another shape', () => ({ x: ops.reshape(x, [1, 2]) })],
    ['another dtype', () => ({ x: ops.cast(x, 'i32') })],
  ])('a new state of %s is refused, and the old one stays', async (_, make) => {
    expect(codeOf(() => keeps(make)({ x }, {}))).toBe('INVALID_OPTION');
    expect(await listOf(x)).toEqual([1, 2]);
  });

  test('a seed that the call does not bring is refused', () => {
    const step = ops.recordedStep((state: State, _: Inputs, seeds) => {
      seeds('dropout');
      return { state, outputs: {} };
    });
    expect(codeOf(() => step({ x }, { y: x }))).toBe('INVALID_OPTION');
  });

  test('tensors of two backends are refused', () => {
    const other = ops.tensor(createReferenceBackend(), [1, 2]);
    expect(codeOf(() => ops.recordedStep(addInputs)({ x }, { y: other }))).toBe('MIXED_BACKENDS');
  });
});
