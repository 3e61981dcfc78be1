import {
  evaluate,
  fill,
  mul,
  reshape,
  sum,
  type Tensor,
  TopKError,
  tensor,
  topKAttention,
} from '@topk-attention/core';
import * as ort from 'onnxruntime-node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import {
  createOnnxRuntimeBackend,
  fromOrt,
  type OnnxRuntimeBackend,
  type OrtModule,
  toOrt,
} from '../src/index.js';
import { loadOrt } from '../src/runtime/load.js';

let backend: OnnxRuntimeBackend;
beforeAll(async () => {
  backend = await createOnnxRuntimeBackend({ ort, threads: 1 });
});
afterAll(() => backend.dispose());

async function codeOf(work: () => unknown): Promise<string> {
  try {
    await work();
  } catch (error) {
    if (error instanceof TopKError) return error.code;
    throw error;
  }
  return 'no error';
}

describe('sessions', () => {
  test.each([
    ['in Node', { ...ort }, {}, { session: { intra_op: { allow_spinning: '0' } } }],
    ['in Node, with an extra of the caller', { ...ort }, { extra: { a: '1' } }, { a: '1' }],
    ['on the web', { ...ort, listSupportedBackends: undefined }, {}, undefined],
  ])('%s: threads that have nothing to do wait without a loop or not', async (_, base, options, extra) => {
    const seen: unknown[] = [];
    const create: OrtModule['InferenceSession']['create'] = (model, given) => {
      seen.push(given?.extra);
      return ort.InferenceSession.create(model, given) as ReturnType<typeof create>;
    };
    const module = { ...base, InferenceSession: { create } } as OrtModule;
    const watched = await createOnnxRuntimeBackend({
      ...{ ort: module, executionProviders: ['cpu'], threads: 2 },
      sessionOptions: options,
    });
    expect([...(await mul(tensor(watched, [1, 2]), 3).data())]).toEqual([3, 6]);
    await watched.dispose();
    // What asks for the provider, and the product.
    expect(seen.length).toBeGreaterThan(0);
    expect(seen.at(-1)).toEqual(extra);
  });

  const layer = (x: Tensor, weight: Tensor): Tensor => mul(mul(x, weight), 0.5);

  test('values are no part of the structure: other weights and numbers run the same session', async () => {
    const x = tensor(backend, [1, 2, 3]);
    await layer(x, tensor(backend, [2, 2, 2])).data();
    const before = backend.statistics().sessionsCompiled;
    expect([...(await layer(x, tensor(backend, [4, 5, 6])).data())]).toEqual([2, 5, 9]);
    expect(backend.statistics().sessionsCompiled).toBe(before);
  });

  test('two results of one graph run it once, also when asked for at the same time', async () => {
    const x = tensor(backend, [1, 2, 3]);
    const shared = mul(x, x);
    const total = sum(shared);
    const before = backend.statistics().runs;
    const [a, b] = await Promise.all([shared.data(), total.data()]);
    expect([...a, ...b]).toEqual([1, 4, 9, 14]);
    expect(backend.statistics().runs - before).toBe(1);
  });

  test('a result that is released while it is computed arrives, and leaves nothing behind', async () => {
    const x = tensor(backend, [1, 2, 3]);
    const live = backend.memory().live;
    const y = mul(x, 3);
    const pending = y.data();
    y.dispose();
    expect([...(await pending)]).toEqual([3, 6, 9]);
    // The factor is a tensor of its own and goes with the operation.
    expect(backend.memory().live).toBe(live);
  });

  test('sessions beyond the limit are released, the least recently used first', async () => {
    const small = await createOnnxRuntimeBackend({ ort, threads: 1, sessionLimit: 2 });
    const run = async (length: number): Promise<void> => {
      const x = tensor(small, new Float32Array(length));
      await mul(x, x).data();
    };
    for (const length of [1, 2, 1, 3, 1]) await run(length);
    expect(small.statistics().sessionsCompiled).toBe(3);
    await run(2);
    expect(small.statistics().sessionsCompiled).toBe(4);
    await small.dispose();
  });
});

describe('after dispose()', () => {
  /** The real module, which counts sessions made and not yet released. */
  function counting(): { module: OrtModule; open: () => number } {
    let open = 0;
    const module: OrtModule = {
      Tensor: ort.Tensor,
      listSupportedBackends: ort.listSupportedBackends,
      InferenceSession: {
        create: async (model, options) => {
          const session = await ort.InferenceSession.create(model, options);
          open++;
          return {
            run: (feeds, fetches) => session.run(feeds as never, fetches),
            release: async () => {
              await session.release();
              open--;
            },
          };
        },
      },
    };
    return { module, open: () => open };
  }

  test('everything is DISPOSED, and no session is made', async () => {
    const { module, open } = counting();
    const gone = await createOnnxRuntimeBackend({ ort: module, threads: 1 });
    const x = tensor(gone, [1, 2], [1, 1, 2, 1]);
    const pending = mul(x, 2);
    const done = mul(x, 3);
    await done.data();
    const before = gone.statistics().sessionsCompiled;
    expect(open()).toBe(before);
    await gone.dispose();
    expect(open()).toBe(0);
    for (const use of [
      () => x.data(),
      () => done.data(),
      () => pending.data(),
      () => evaluate(pending),
      () => tensor(gone, [1]).data(),
      () => fill(gone, 1, [5000]).data(),
      () => mul(x, 2).data(),
      () => reshape(x, [2]).data(),
      () => topKAttention(x, x, x, { k: 1 }).data(),
      () => toOrt(x),
      () => fromOrt(gone, new ort.Tensor('float32', Float32Array.of(1), [1])),
    ]) {
      expect(await codeOf(use)).toBe('DISPOSED');
    }
    for (const one of [x, pending, done]) one.dispose();
    expect(gone.statistics().sessionsCompiled).toBe(before);
    expect(gone.memory().live).toBe(0);
    await gone.dispose();
  });

  test('work that runs finishes or is DISPOSED, what waits is DISPOSED, and no session is left', async () => {
    const { module, open } = counting();
    const gone = await createOnnxRuntimeBackend({ ort: module, threads: 1 });
    const x = tensor(gone, new Float32Array(64 * 8), [1, 1, 64, 8]);
    const chunks = topKAttention(x, x, x, { k: 2, queryChunk: 1 }).data();
    await new Promise(setImmediate);
    const later = mul(x, 2).data();
    const outcomes = Promise.all([codeOf(() => chunks), codeOf(() => later)]);
    await gone.dispose();
    expect(open()).toBe(0);
    expect(await outcomes).toEqual(['DISPOSED', 'DISPOSED']);
    expect(gone.statistics().runs).toBeLessThan(64);
  });

  test('a single run that is under way arrives', async () => {
    const gone = await createOnnxRuntimeBackend({ ort, threads: 1 });
    const x = tensor(gone, [1, 2]);
    await mul(x, x).data();
    const values = mul(x, x).data();
    while (gone.statistics().runs < 2) await Promise.resolve();
    await gone.dispose();
    expect([...(await values)]).toEqual([1, 4]);
  });
});

describe('errors of the engine', () => {
  /** The real module, but for sessions that fail in their n-th run. */
  function failing(message: string): { module: OrtModule; fail: (now: boolean) => void } {
    let isFailing = false;
    const module: OrtModule = {
      Tensor: ort.Tensor,
      listSupportedBackends: ort.listSupportedBackends,
      InferenceSession: {
        create: async (model, options) => {
          const session = await ort.InferenceSession.create(model, options);
          return {
            run: (feeds, fetches) =>
              isFailing ? Promise.reject(new Error(message)) : session.run(feeds as never, fetches),
            release: () => session.release(),
          };
        },
      },
    };
    return {
      module,
      fail: (now) => {
        isFailing = now;
      },
    };
  }

  for (const [message, code] of [
    ['std::bad_alloc', 'OUT_OF_MEMORY'],
    ['the GPU device was lost', 'DEVICE_LOST'],
    ['Non-zero status code', 'ENGINE_FAILURE'],
  ] as const) {
    test(`"${message}" poisons what depends on it as ${code}`, async () => {
      const { module, fail } = failing(message);
      const broken = await createOnnxRuntimeBackend({ ort: module });
      const x = tensor(broken, [1, 2]);
      const y = mul(x, x);
      const z = mul(y, 2);
      fail(true);
      expect(await codeOf(() => y.data())).toBe(code);
      fail(false);
      // The engine works again, but nothing that depends on the failed run is ever returned.
      expect(await codeOf(() => y.data())).toBe(code);
      expect(await codeOf(() => z.data())).toBe(code);
      expect(await codeOf(() => evaluate(mul(z, 2)))).toBe(code);
      expect([...(await mul(x, 3).data())]).toEqual([3, 6]);
      await broken.dispose();
    });
  }

  test('a matrix that no memory holds is OUT_OF_MEMORY', async () => {
    const { matmul } = await import('@topk-attention/core');
    const column = tensor(backend, new Float32Array(2 ** 21), [2 ** 21, 1]);
    const row = tensor(backend, new Float32Array(2 ** 21), [1, 2 ** 21]);
    expect(await codeOf(() => sum(matmul(column, row)).data())).toBe('OUT_OF_MEMORY');
  });

  test('no module: MISSING_PEER names packages and range', async () => {
    const error = await loadOrt(() => Promise.reject(new Error('not found'))).catch((one) => one);
    expect(error).toBeInstanceOf(TopKError);
    expect(error.code).toBe('MISSING_PEER');
    expect(error.message).toContain('onnxruntime-node or onnxruntime-web ^1.30.0');
    expect(error.fix).toContain('npm install');
  });

  test('an execution provider that is not there: NO_DEVICE', async () => {
    expect(await codeOf(() => createOnnxRuntimeBackend({ ort, executionProviders: ['nonesuch'] }))).toBe(
      'NO_DEVICE',
    );
  });
});

describe('native in and out', () => {
  test('a borrowed ort.Tensor is read without a copy and outlives the tensor', async () => {
    const own = new ort.Tensor('float32', Float32Array.of(1, 2, 3, 4), [2, 2]);
    const x = fromOrt(backend, own);
    expect(x.shape).toEqual([2, 2]);
    expect([...(await mul(x, 2).data())]).toEqual([2, 4, 6, 8]);
    x.dispose();
    expect([...(own.data as Float32Array)]).toEqual([1, 2, 3, 4]);
  });

  test('what was borrowed comes out as the same object', async () => {
    const own = new ort.Tensor('int32', Int32Array.of(1, 2), [2]);
    expect(await toOrt(fromOrt(backend, own))).toBe(own);
  });

  test('toOrt computes, and what it hands out stays valid', async () => {
    const y = mul(tensor(backend, [1, 2]), 5);
    const out = await toOrt(y);
    y.dispose();
    expect(out.dims).toEqual([2]);
    expect([...(out.data as Float32Array)]).toEqual([5, 10]);
  });

  test('other element types and other backends are refused', async () => {
    const { createReferenceBackend } = await import('@topk-attention/core/reference');
    const wide = new ort.Tensor('float64', Float64Array.of(1), [1]);
    expect(await codeOf(() => fromOrt(backend, wide))).toBe('DTYPE_MISMATCH');
    expect(await codeOf(() => toOrt(tensor(createReferenceBackend(), [1])))).toBe('MIXED_BACKENDS');
  });
});
