import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  disposeParameters,
  encodeSafetensors,
  loadParameters,
  openSafetensors,
  type ParameterSpec,
  type TensorReader,
  type TensorToWrite,
} from '../src/index.js';
import { errorOf } from './support/files.js';

const specs: readonly ParameterSpec[] = [
  { name: 'linear', shape: [2, 3], transposed: true },
  { name: 'norm', shape: [3], aliases: ['old.norm'] },
];
const linear: TensorToWrite = { dtype: 'F32', shape: [2, 3], data: Float32Array.of(1, 2, 3, 4, 5, 6) };
const norm: TensorToWrite = { dtype: 'F16', shape: [3], data: Uint16Array.of(0x3c00, 0x4000, 0xc000) };
const read = (tensors: { readonly [name: string]: TensorToWrite }): Promise<TensorReader> =>
  openSafetensors(encodeSafetensors(tensors));

describe('loadParameters', () => {
  test('widens, transposes and reports progress', async () => {
    const backend = createReferenceBackend();
    const progress: string[] = [];
    const parameters = await loadParameters(backend, await read({ linear, norm }), specs, {
      onProgress: (done, total) => progress.push(`${done}/${total}`),
    });
    expect(Object.keys(parameters)).toEqual(['linear', 'norm']);
    expect(parameters.linear?.shape).toEqual([3, 2]);
    expect(await parameters.linear?.data()).toEqual(Float32Array.of(1, 4, 2, 5, 3, 6));
    expect(await parameters.norm?.data()).toEqual(Float32Array.of(1, 2, -2));
    expect(progress).toEqual(['1/2', '2/2']);
    disposeParameters(parameters);
    disposeParameters(parameters);
    expect(backend.memory().live).toBe(0);
  });

  test('takes an alias', async () => {
    const parameters = await loadParameters(
      createReferenceBackend(),
      await read({ linear, 'old.norm': norm }),
      specs,
    );
    expect(await parameters.norm?.data()).toEqual(Float32Array.of(1, 2, -2));
  });

  test('only matrices are transposed', async () => {
    const vector: ParameterSpec = { name: 'norm', shape: [3], transposed: true };
    const loading = loadParameters(createReferenceBackend(), await read({ norm }), [vector]);
    expect((await errorOf(loading)).code).toBe('RANK_MISMATCH');
  });

  const wrong: readonly [string, { readonly [name: string]: TensorToWrite }, string][] = [
    ['a missing weight', { linear }, 'MISSING_WEIGHT'],
    ['an extra weight', { linear, norm, more: norm }, 'EXTRA_WEIGHT'],
    ['a wrong shape', { linear: { ...linear, shape: [3, 2] }, norm }, 'SHAPE_MISMATCH'],
    ['another rank', { linear: { ...linear, shape: [6] }, norm }, 'SHAPE_MISMATCH'],
    ['integers', { linear, norm: { dtype: 'I32', shape: [3], data: new Int32Array(3) } }, 'DTYPE_MISMATCH'],
  ];
  for (const [what, tensors, code] of wrong) {
    test(`${what} is ${code}, before anything is read or uploaded`, async () => {
      const backend = createReferenceBackend();
      const file = await read(tensors);
      let reads = 0;
      const watched: TensorReader = {
        ...file,
        readFloat32: (name) => {
          reads++;
          return file.readFloat32(name);
        },
      };
      const error = await errorOf(loadParameters(backend, watched, specs));
      expect(error.code).toBe(code);
      expect(error.fix).toBeDefined();
      expect(reads).toBe(0);
      expect(backend.memory().peak).toBe(0);
    });
  }

  test('an ignorable weight is passed over', async () => {
    const reader = await read({ linear, norm, copy: norm });
    const parameters = await loadParameters(createReferenceBackend(), reader, specs, {
      ignores: (name) => name === 'copy',
    });
    expect(Object.keys(parameters)).toEqual(['linear', 'norm']);
  });

  test('a weight that cannot be read frees those uploaded', async () => {
    const backend = createReferenceBackend();
    const file = await read({ linear, norm });
    const failing: TensorReader = {
      ...file,
      readFloat32: (name) => (name === 'norm' ? Promise.reject(new Error('disk')) : file.readFloat32(name)),
    };
    await expect(loadParameters(backend, failing, specs)).rejects.toThrow('disk');
    expect(backend.memory().peak).toBeGreaterThan(0);
    expect(backend.memory().live).toBe(0);
  });

  test('an engine that runs out of memory makes loading fail, not the first result', async () => {
    const inner = createReferenceBackend();
    let uploads = 0;
    const backend: typeof inner = {
      ...inner,
      upload: (data, shape, dtype) => {
        if (++uploads === 2) throw new RangeError('Array buffer allocation failed');
        return inner.upload(data, shape, dtype);
      },
    };
    expect((await errorOf(loadParameters(backend, await read({ linear, norm }), specs))).code).toBe(
      'OUT_OF_MEMORY',
    );
    expect(inner.memory().live).toBe(0);
  });

  test('an abort between two weights frees the first', async () => {
    const backend = createReferenceBackend();
    const controller = new AbortController();
    const error = await errorOf(
      loadParameters(backend, await read({ linear, norm }), specs, {
        signal: controller.signal,
        onProgress: () => controller.abort('enough'),
      }),
    );
    expect(error.code).toBe('ABORTED');
    expect(error.cause).toBe('enough');
    expect(backend.memory().live).toBe(0);
  });
});
