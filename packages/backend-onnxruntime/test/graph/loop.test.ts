import {
  add,
  type Backend,
  evaluate,
  exactAttention,
  mul,
  narrow,
  pullback,
  type Tensor,
  tensor,
  topKAttention,
  zeros,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createOnnxRuntimeBackend, type OnnxRuntimeBackend, type OrtModule } from '../../src/index.js';

let backend: OnnxRuntimeBackend;
beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ ort, threads: 1 });
});
afterAll(() => backend.dispose());

async function runsOf<R>(work: () => Promise<R>): Promise<{ result: R; runs: number }> {
  const before = backend.statistics().runs;
  const result = await work();
  return { result, runs: backend.statistics().runs - before };
}

describe('a graph that is cut by flush()', () => {
  /** Running sums of the rows of x times their number, cut after each, as the chunks of an operation are. */
  function partialSums(x: Tensor): Tensor[] {
    const sums = [zeros(backend, [1, 3])];
    for (let row = 0; row < (x.shape[0] as number); row++) {
      const scaled = mul(narrow(x, 0, row, 1), tensor(backend, [row], [1]));
      sums.push(add(sums.at(-1) as Tensor, scaled));
      backend.flush();
    }
    return sums;
  }
  const rows = 12;
  const values = Float32Array.from({ length: 3 * rows }, (_, at) => at % 7);
  const expected = (count: number): number[] =>
    [0, 1, 2].map((column) => {
      let sum = 0;
      for (let row = 0; row < count; row++) sum += row * (values[3 * row + column] as number);
      return sum;
    });

  test('equal parts are turns of one loop in one run', async () => {
    const sums = partialSums(tensor(backend, values, [rows, 3]));
    const last = sums.pop() as Tensor;
    for (const one of sums) one.dispose();
    const { result, runs } = await runsOf(() => last.data());
    expect([...result]).toEqual(expected(rows));
    expect(runs).toBe(1);
  });

  test('what somebody holds of a turn is there afterwards, and the loop goes on behind it', async () => {
    const sums = partialSums(tensor(backend, values, [rows, 3]));
    const held = [3, 4, 9, rows];
    sums.forEach((one, at) => {
      if (!held.includes(at)) one.dispose();
    });
    const kept = held.map((at) => sums[at] as Tensor);
    await evaluate(...kept);
    for (const [at, count] of held.entries()) {
      expect([...((await kept[at]?.data()) ?? [])]).toEqual(expected(count));
    }
  });
});

describe('composed operations', () => {
  const [heads, length, dim] = [2, 96, 8];
  const shape = [1, heads, length, dim];
  const numbers = (seed: number): Float32Array =>
    Float32Array.from({ length: heads * length * dim }, (_, at) => Math.sin(seed * 1000 + at * 1.7));

  function gradients(on: Backend, k: number | undefined, queryChunk: number): readonly Tensor[] {
    const inputs = { q: numbers(1), k: numbers(2), v: numbers(3) };
    const tensors = {
      q: tensor(on, inputs.q, shape),
      k: tensor(on, inputs.k, shape),
      v: tensor(on, inputs.v, shape),
    };
    const options = { queryChunk, causal: true, dropout: { rate: 0.25, seed: 5 } };
    const pulled = pullback(
      (p: typeof tensors) =>
        k === undefined
          ? exactAttention(p.q, p.k, p.v, options)
          : topKAttention(p.q, p.k, p.v, { k, ...options }),
      tensors,
    );
    const made = pulled.backward(tensor(on, numbers(4), shape));
    pulled.dispose();
    return [pulled.output, made.q, made.k, made.v];
  }
  const read = (all: readonly Tensor[]) => Promise.all(all.map(async (one) => [...(await one.data())]));

  for (const k of [undefined, 6]) {
    const name = k === undefined ? 'exact' : 'top-k';
    test(`${name}: gradients in chunks, with a rest, are those of the reference, and the same bits again`, async () => {
      const oracle = await read(gradients(createReferenceBackend(), k, length));
      // 96 is five chunks of 17 and a rest of 11.
      for (const queryChunk of [16, 17]) {
        const first = await read(gradients(backend, k, queryChunk));
        for (const [at, one] of first.entries()) {
          const worst = Math.max(
            ...one.map((value, index) => Math.abs(value - (oracle[at]?.[index] as number))),
          );
          expect(worst).toBeLessThan(1e-5);
        }
        expect(await read(gradients(backend, k, queryChunk))).toEqual(first);
      }
    });

    test(`${name}: more chunks are no more sessions`, async () => {
      const compiled = async (queryChunk: number): Promise<number> => {
        const own = await createOnnxRuntimeBackend({ ort, threads: 1 });
        const made = gradients(own, k, queryChunk);
        await evaluate(...made);
        const { sessionsCompiled } = own.statistics();
        await own.dispose();
        return sessionsCompiled;
      };
      expect(await compiled(4)).toBe(await compiled(16));
    });
  }

  test('random numbers of chunks to come are not made yet', async () => {
    const q = tensor(backend, numbers(1), shape);
    const before = backend.memory().live;
    const output = exactAttention(q, q, q, { queryChunk: 4, dropout: { rate: 0.5, seed: 1 } });
    // All factors at once would be a matrix of all scores.
    expect(backend.memory().live - before).toBeLessThan(length * length);
    await evaluate(output);
    output.dispose();
    q.dispose();
  });

  test('a chunk that fails poisons what depends on it, and nothing else', async () => {
    let left = Number.POSITIVE_INFINITY;
    const module: OrtModule = {
      Tensor: ort.Tensor,
      listSupportedBackends: ort.listSupportedBackends,
      InferenceSession: {
        create: async (model, options) => {
          const session = await ort.InferenceSession.create(model, options);
          return {
            run: (feeds, fetches) =>
              left-- > 0 ? session.run(feeds as never, fetches) : Promise.reject(new Error('std::bad_alloc')),
            release: () => session.release(),
          };
        },
      },
    };
    const own = await createOnnxRuntimeBackend({ ort: module, threads: 1 });
    const [output, ...made] = gradients(own, 6, 16);
    await output?.data();
    left = 0;
    const asked = await Promise.allSettled(made.map((one) => one.data()));
    for (const one of asked) {
      expect(one).toMatchObject({ status: 'rejected', reason: { code: 'OUT_OF_MEMORY' } });
    }
    left = Number.POSITIVE_INFINITY;
    await expect(made[0]?.data()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
    expect((await output?.data())?.length).toBe(heads * length * dim);
    await own.dispose();
  });
});
