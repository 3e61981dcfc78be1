import { describe, expect, test } from 'vitest';
import * as ops from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

type State = { readonly [name: string]: ops.Tensor };
type Inputs = { readonly x: ops.Tensor; readonly rate: ops.Tensor };

const WIDTH = 16;
const LENGTH = 24;

const stateOf = (backend: ops.Backend): State => ({
  project: ops.tensor(backend, new Float32Array(WIDTH * WIDTH).fill(0.1), [WIDTH, WIDTH]),
  hidden: ops.tensor(backend, new Float32Array(WIDTH * 64).fill(0.2), [WIDTH, 64]),
  out: ops.tensor(backend, new Float32Array(64 * WIDTH).fill(0.1), [64, WIDTH]),
  norm: ops.tensor(backend, new Float32Array(WIDTH).fill(1), [WIDTH]),
});

const inputsOf = (backend: ops.Backend, batch = 2): Inputs => ({
  x: ops.tensor(backend, new Float32Array(batch * LENGTH * WIDTH).fill(0.3), [batch, LENGTH, WIDTH]),
  rate: ops.tensor(backend, [0.1], []),
});

/** A step of a training through three blocks of attention and a feed-forward layer. */
function stepOf(k: number | undefined, isRecomputed: boolean) {
  return (state: State, { x, rate }: Inputs) => {
    const block = (p: State, from: ops.Tensor): ops.Tensor =>
      ops.scope(() => {
        const get = (name: string): ops.Tensor => p[name] as ops.Tensor;
        const normal = ops.matmul(ops.layerNorm(from, get('norm')), get('project'));
        const heads = ops.reshape(normal, [from.shape[0] as number, 1, LENGTH, WIDTH]);
        const attended =
          k === undefined
            ? ops.exactAttention(heads, heads, heads)
            : ops.topKAttention(heads, heads, heads, { k });
        const sum = ops.add(from, ops.reshape(attended, from.shape));
        return ops.add(sum, ops.matmul(ops.gelu(ops.matmul(sum, get('hidden'))), get('out')));
      });
    const loss = (p: State): ops.Tensor =>
      ops.scope(() => {
        let current = x;
        for (let at = 0; at < 3; at++) {
          current = isRecomputed ? ops.recompute((from) => block(p, from), current) : block(p, current);
        }
        return ops.mean(ops.mul(current, current));
      });
    return ops.scope(() => {
      const { value, gradients } = ops.valueAndGrad(loss)(state);
      const next = Object.entries(state).map(
        ([name, one]) => [name, ops.sub(one, ops.mul(gradients[name] as ops.Tensor, rate))] as const,
      );
      return { state: Object.fromEntries(next), outputs: { loss: value } };
    });
  };
}

function measured(backend: ops.Backend, step: ReturnType<typeof stepOf>): number {
  const run = ops.recordedStep(step);
  const inputs = inputsOf(backend);
  const { state, outputs } = run(stateOf(backend), inputs);
  const peak = backend.memory().peak as number;
  for (const one of [...Object.values(state), ...Object.values(inputs), outputs.loss]) one.dispose();
  return peak;
}

describe('planStep on the reference backend', () => {
  test.each([
    [true, 4, false],
    [true, undefined, true],
    [false, 4, true],
    [false, undefined, false],
  ] as const)('counts what the step takes: fused %s, k %s, recomputed %s', (fused, k, isRecomputed) => {
    const step = stepOf(k, isRecomputed);
    const peak = measured(createReferenceBackend({ fused }), step);
    const backend = createReferenceBackend({ fused });
    const dry = ops.dryBackend(backend);
    const bytes = ops.planStep(backend, step, stateOf(dry), inputsOf(dry));
    expect(bytes.peak).toBeGreaterThanOrEqual(peak);
    expect(bytes.peak).toBeLessThanOrEqual(1.1 * peak);
    expect(bytes.state).toBe(4 * (WIDTH * WIDTH + 2 * 64 * WIDTH + WIDTH));
    expect(bytes.inputs).toBe(4 * (2 * LENGTH * WIDTH + 1));
    expect(bytes.state + bytes.inputs + bytes.work).toBe(bytes.peak);
    expect(bytes.held).toBe(0);
    // Nothing was made on the backend itself.
    expect(backend.memory().peak).toBe(0);
  });

  test("takes tensors of the backend, which stay the caller's; recomputation shows", () => {
    const backend = createReferenceBackend();
    const [state, inputs] = [stateOf(backend), inputsOf(backend)];
    const plain = ops.planStep(backend, stepOf(undefined, false), state, inputs);
    const again = ops.planStep(backend, stepOf(undefined, true), state, inputs);
    expect(again.work).toBeLessThan(0.7 * plain.work);
    expect(state.norm?.isDisposed).toBe(false);
    expect(() =>
      ops.planStep(backend, stepOf(undefined, false), state, inputs, { budgetBytes: plain.peak - 1 }),
    ).toThrow(expect.objectContaining({ code: 'DOES_NOT_FIT' }));
    const bound = { budgetBytes: plain.peak };
    expect(ops.planStep(backend, stepOf(undefined, false), state, inputs, bound)).toEqual(plain);
    const held = { heldBytes: 1000 };
    expect(ops.planStep(backend, stepOf(undefined, false), state, inputs, held)).toEqual({
      ...{ ...plain, held: 1000 },
      peak: plain.peak + 1000,
    });
    expect(() =>
      ops.planStep(backend, stepOf(undefined, false), state, inputs, { ...bound, ...held }),
    ).toThrow(expect.objectContaining({ code: 'DOES_NOT_FIT' }));
  });

  test('says what it cannot plan', () => {
    const backend = createReferenceBackend();
    const outside = ops.tensor(backend, [1]);
    const uses = ({ x }: { readonly x: ops.Tensor }) => ({ state: { x: ops.mul(x, outside) }, outputs: {} });
    expect(() => ops.planStep(backend, uses, { x: outside }, {})).toThrow(
      expect.objectContaining({ code: 'MIXED_BACKENDS', fix: 'Pass it with the inputs' }),
    );
    const lazy = { ...backend, capabilities: { ...backend.capabilities, execution: 'lazy' as const } };
    expect(() => ops.planStep(lazy, uses, { x: outside }, {})).toThrow(
      expect.objectContaining({ code: 'UNSUPPORTED' }),
    );
  });
});

test('a dry backend counts and reads nothing', async () => {
  const dry = ops.dryBackend(createReferenceBackend());
  const x = ops.tensor(dry, new Float32Array(12), [3, 4]);
  const made = ops.scope(() => {
    const { values, indices } = ops.topK(x, 2);
    const table = ops.reshape(x, [1, 3, 4]);
    const rows = ops.gatherRows(table, ops.tensor(dry, Int32Array.of(0, 2), [1, 2], 'i32'));
    return [
      values,
      ops.putAlong(indices, values, 7),
      ops.concat([x, x], 0),
      ops.cast(ops.le(x, 1), 'i32'),
      ops.writeInto(ops.zeros(dry, [3, 4]), x, [0, 0]),
      ops.transpose(x),
      rows,
      ops.matmul(x, x, { transposeB: true }),
      ops.randomBits(dry, 7, [2, 2]),
    ];
  });
  expect(made.map((one) => one.shape.join())).toEqual([
    '3,2',
    '3,7',
    '6,4',
    '3,4',
    '3,4',
    '4,3',
    '1,2,4',
    '3,3',
    '2,2',
  ]);
  await expect(x.data()).rejects.toMatchObject({ code: 'UNSUPPORTED' });
  for (const one of [x, ...made]) one.dispose();
  expect(dry.memory().live).toBe(0);
});

test.each([
  [true, 0],
  [false, 4 * 512 * 64],
])('a dry run of writeInto copies unless the backend writes in place: %s', (inPlace, bytes) => {
  const backend = createReferenceBackend();
  const { capabilities } = backend;
  const limits = { ...capabilities.limits, inPlace };
  const dry = ops.dryBackend({ ...backend, capabilities: { ...capabilities, limits } });
  const cache = ops.zeros(dry, [512, 64]);
  const row = ops.zeros(dry, [1, 64]);
  const before = dry.memory().live;
  ops.writeInto(cache, row, [5, 0]);
  expect((dry.memory().peak as number) - before).toBe(bytes);
});

test('a dry run of writeAt writes in place where the backend does', () => {
  const peakOf = (of: ops.Backend): number => {
    const dry = ops.dryBackend(of);
    const cache = ops.zeros(dry, [1, 512, 64]);
    const row = ops.zeros(dry, [1, 1, 64]);
    const start = ops.tensor(dry, [5], [1], 'i32');
    const before = dry.memory().live;
    ops.writeAt(cache, row, 1, start);
    return (dry.memory().peak as number) - before;
  };
  const composed = createReferenceBackend();
  const writeAt = (): never => {
    throw new Error('a dry run computes nothing');
  };
  expect(peakOf(Object.assign(createReferenceBackend(), { writeAt }))).toBe(0);
  expect(peakOf(composed)).toBeGreaterThan(0);
});
