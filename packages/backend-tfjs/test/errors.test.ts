import * as tf from '@tensorflow/tfjs-core';
import { add, mul, TopKError, tensor } from '@topk-attention/core';
import { describe, expect, test } from 'vitest';
import { createTfjsBackend, doctor, engineOf, fromTf, type Tf, toTf } from '../src/index.js';
import { convertModelArtifacts } from '../src/layers-entry.js';
import { cpuTf, wasmTf } from './support/engines.js';

async function errorOf(work: () => unknown): Promise<TopKError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('no error was thrown');
}

const asTf = (value: unknown): Tf => value as Tf;

// In this order: engines, once registered or started, stay that.
describe('an engine that is not there', () => {
  test('no tf: MISSING_PEER', async () => {
    for (const work of [
      () => createTfjsBackend({ tf: asTf(undefined) }),
      () => createTfjsBackend(asTf({}) as unknown as { tf: Tf }),
      () => engineOf(asTf(null)),
    ]) {
      const error = await errorOf(work);
      expect(error.code).toBe('MISSING_PEER');
      expect(error.expected).toContain('^4.22.0');
      expect(error.got).toMatch(/undefined|null/);
      expect(error.fix).toContain('npm install @tensorflow/tfjs');
    }
  });

  test.each([
    ['a string', 'tf'],
    ['a number', 3],
    ['an empty object', {}],
    ['a module of something else', { Tensor: class {}, ready: async () => {} }],
  ])('%s in place of tf: INVALID_OPTION', async (_what, value) => {
    for (const work of [() => createTfjsBackend({ tf: asTf(value) }), () => engineOf(asTf(value))]) {
      const error = await errorOf(work);
      expect(error.code).toBe('INVALID_OPTION');
      expect(error.expected).toContain('@tensorflow/tfjs');
      expect(error.got).toContain('setBackend');
      expect(error.fix).toContain('import * as tf');
    }
  });

  test('options that there are not: INVALID_OPTION', async () => {
    for (const [where, work] of [
      ['createTfjsBackend', () => createTfjsBackend({ tf, backend: 'cpu' } as never)],
      ['createTfjsBackend', () => createTfjsBackend({ tf, fused: 'no' as never })],
      ['doctor', () => doctor({ engine: 'cpu' } as never)],
      [
        'convertModelArtifacts',
        () => convertModelArtifacts({}, { attention: { k: 2 }, feedforward: { k: 2 } } as never),
      ],
      [
        'convertModelArtifacts',
        () => convertModelArtifacts({}, { feedForward: { k: 2, selects: 1 } } as never),
      ],
    ] as const) {
      const error = await errorOf(work);
      expect(error.code).toBe('INVALID_OPTION');
      expect(error.message).toContain(where);
    }
  });

  test('no engine is registered: NO_DEVICE', async () => {
    for (const work of [() => createTfjsBackend({ tf }), () => engineOf(tf)]) {
      const error = await errorOf(work);
      expect(error).toMatchObject({ code: 'NO_DEVICE', got: 'none registered' });
      expect(error.fix).toContain('@tensorflow/tfjs-backend-wasm');
    }
  });

  test('an engine that has to be waited for is not ready: NO_DEVICE', async () => {
    await import('@tensorflow/tfjs-backend-wasm');
    const error = await errorOf(() => engineOf(tf));
    expect(error).toMatchObject({ code: 'NO_DEVICE', got: 'registered: wasm' });
    expect(error.fix).toContain('tf.ready()');
  });

  test('an engine by a name that is not registered: NO_DEVICE', async () => {
    await cpuTf();
    const error = await errorOf(() => createTfjsBackend({ tf, engine: 'webgl' }));
    expect(error.code).toBe('NO_DEVICE');
    expect(error.message).toContain("no engine 'webgl'");
    expect(error.got).toMatch(/^registered: .*cpu/);
    expect(error.fix).toContain("Import '@tensorflow/tfjs-backend-webgl'");
    const unknown = await errorOf(() => createTfjsBackend({ tf, engine: 'nonsense' }));
    expect(unknown).toMatchObject({ code: 'NO_DEVICE', got: error.got });
    expect(unknown.fix).toContain('tf.setBackend(');
  });

  test('an engine that does not start: NO_DEVICE with the cause', async () => {
    tf.registerBackend('broken', async () => {
      throw new Error('no such hardware');
    });
    const error = await errorOf(() => createTfjsBackend({ tf, engine: 'broken' }));
    expect(error.code).toBe('NO_DEVICE');
    expect(error.message).toContain("'broken' does not start");
    tf.removeBackend('broken');
    await tf.setBackend('cpu');
  });
});

describe('another engine than the one the backend was made for', () => {
  test('ops, uploads, fromTf and toTf: MIXED_BACKENDS; data() still reads; afterwards all is well', async () => {
    await cpuTf();
    const backend = await createTfjsBackend({ tf, engine: 'cpu' });
    const x = tensor(backend, [1, 2]);
    await wasmTf();
    const own = tf.tensor1d([1]);
    for (const work of [
      () => mul(x, x),
      () => tensor(backend, [1]),
      () => toTf(x),
      () => fromTf(backend, own),
    ]) {
      const error = await errorOf(work);
      expect(error).toMatchObject({ code: 'MIXED_BACKENDS', expected: 'cpu', got: 'wasm' });
      expect(error.fix).toContain("tf.setBackend('cpu')");
    }
    expect([...(await x.data())]).toEqual([1, 2]);
    await tf.setBackend('cpu');
    const y = mul(x, x);
    expect([...(await y.data())]).toEqual([1, 4]);
    for (const one of [x, y, own]) one.dispose();
    backend.dispose();
  });

  test('a tensor that lives on another engine: MIXED_BACKENDS', async () => {
    await tf.setBackend('cpu');
    const own = tf.tensor1d([1]);
    const backend = await createTfjsBackend({ tf, engine: 'wasm' });
    const error = await errorOf(() => fromTf(backend, own));
    expect(error).toMatchObject({ code: 'MIXED_BACKENDS', expected: "a tensor on 'wasm'" });
    expect(error.got).toContain('another engine');
    expect(error.fix).toContain('await x.data()');
    own.dispose();
    backend.dispose();
    await tf.setBackend('cpu');
  });

  test('createTfjsBackend with an engine starts it', async () => {
    const backend = await createTfjsBackend({ tf, engine: 'wasm' });
    expect(tf.getBackend()).toBe('wasm');
    expect(backend.name).toBe('tfjs-wasm');
    expect(engineOf(tf).name).toBe('wasm');
    expect(engineOf(tf)).toBe(engineOf(tf));
    backend.dispose();
  });
});

describe('tensors', () => {
  test('of two backends in one op: MIXED_BACKENDS', async () => {
    const [one, other] = [await createTfjsBackend({ tf }), await createTfjsBackend({ tf })];
    const error = await errorOf(() => add(tensor(one, [1]), tensor(other, [1])));
    expect(error.code).toBe('MIXED_BACKENDS');
    for (const backend of [one, other]) backend.dispose();
  });

  test('used after the backend was disposed of: DISPOSED', async () => {
    const backend = await createTfjsBackend({ tf });
    const x = tensor(backend, [1, 2]);
    backend.dispose();
    const error = await errorOf(() => mul(x, x));
    expect(error.code).toBe('DISPOSED');
    expect(error.fix).toContain('new backend');
    await expect(x.data()).rejects.toMatchObject({ code: 'DISPOSED' });
  });

  test('of half precision: UNSUPPORTED, with what there is instead', async () => {
    const backend = await createTfjsBackend({ tf });
    const error = await errorOf(() => tensor(backend, new Uint16Array(2), [2], 'f16'));
    expect(error).toMatchObject({ code: 'UNSUPPORTED', expected: 'f32, i32, bool', got: 'f16' });
    expect(error.fix).toContain('f32');
    const direct = await errorOf(() => backend.upload(new Uint16Array(2), [2], 'f16'));
    expect(direct.code).toBe('UNSUPPORTED');
    expect(direct.message).toContain('tfjs has no 16-bit');
    backend.dispose();
  });
});
