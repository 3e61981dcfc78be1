import { createReferenceBackend } from '@topk-attention/core/reference';
import { describe, expect, test } from 'vitest';
import {
  compareStateDict,
  type Declared,
  encoderLayer,
  encoderStack,
  encodeSafetensors,
  initialize,
  initializers,
  joinInProjections,
  loadStateDict,
  openSafetensors,
  performer,
  readStateDict,
  type StateDict,
  StateDictError,
  splitInProjections,
  stateDict,
  summary,
  trainableExcept,
} from '../../src/index.js';
import { errorOf } from '../support/files.js';

const layer = encoderStack({
  ...{ layers: 1, width: 4, heads: 2, hidden: 6 },
  attention: { mechanism: performer({ features: 3 }) },
});
const names = [
  ...['q', 'k', 'v', 'out'].flatMap((role) => [
    `layers.0.self_attn.${role}_proj.weight`,
    `layers.0.self_attn.${role}_proj.bias`,
  ]),
  'layers.0.self_attn.mechanism.projection',
  ...['linear1', 'linear2', 'norm1', 'norm2'].flatMap((part) => [
    `layers.0.${part}.weight`,
    `layers.0.${part}.bias`,
  ]),
];

test('names are those of PyTorch, with separate projections', () => {
  expect(Object.keys(layer.parameters).sort()).toEqual([...names].sort());
  expect(layer.parameters['layers.0.linear1.weight']?.shape).toEqual([6, 4]);
});

test('initialize depends on names and seed, not on other layers', async () => {
  const backend = createReferenceBackend();
  const one = await stateDict(initialize(backend, layer, 3));
  const larger = encoderStack({ layers: 2, width: 4, heads: 2, hidden: 6 });
  const two = await stateDict(initialize(backend, larger, 3));
  expect(two['layers.0.linear1.weight']).toEqual(one['layers.0.linear1.weight']);
  expect(two['layers.1.linear1.weight']?.data).not.toEqual(one['layers.0.linear1.weight']?.data);
  expect(await stateDict(initialize(backend, layer, 4))).not.toEqual(one);
});

test('what was saved is loaded again, from memory and from a file, buffers too', async () => {
  const backend = createReferenceBackend();
  const saved = await stateDict(initialize(backend, layer, 3));
  const before = backend.memory().live;
  for (const source of [saved, await openSafetensors(encodeSafetensors(saved))]) {
    const loaded = await loadStateDict(backend, layer, source);
    expect(Object.keys(loaded)).toEqual(Object.keys(layer.parameters));
    expect(await stateDict(loaded)).toEqual(saved);
  }
  expect(backend.memory().live).toBe(3 * before);
});

describe('a dict that does not fit', () => {
  const declared: Declared = {
    parameters: {
      a: { shape: [2, 3], initializer: initializers.ones },
      b: { shape: [2], initializer: initializers.constant(7), aliases: ['old.b'] },
      c: { shape: [1], initializer: initializers.zeros },
    },
  };
  const f32 = (...shape: number[]): StateDict[string] => ({
    dtype: 'F32',
    shape,
    data: new Float32Array(shape.reduce((all, one) => all * one, 1)).fill(2),
  });
  const wrong: StateDict = {
    a: f32(3, 2),
    c: { dtype: 'I32', shape: [1], data: new Int32Array(1) },
    d: f32(1),
    e: f32(1),
  };

  test('is refused with everything that is wrong, before anything is uploaded', async () => {
    const backend = createReferenceBackend();
    const error = await errorOf(loadStateDict(backend, declared, wrong));
    expect(error).toBeInstanceOf(StateDictError);
    expect(error).toMatchObject({
      code: 'STATE_DICT_MISMATCH',
      missing: ['b'],
      unexpected: ['d', 'e'],
      mismatched: [
        { name: 'a', expected: [2, 3], got: [3, 2] },
        { name: 'c', expected: [1], got: 'I32' },
      ],
    });
    for (const word of ['missing b', 'unexpected d, e', 'a [3, 2] instead of [2, 3]', 'c I32']) {
      expect(error.message).toContain(word);
    }
    expect(backend.memory().peak).toBe(0);
    expect(compareStateDict(declared, wrong)).toMatchObject({ missing: ['b'], unexpected: ['d', 'e'] });
  });

  test('may lack what is initialised, hold what is ignored, and use other names', async () => {
    const backend = createReferenceBackend();
    const some: StateDict = { a: f32(2, 3), c: f32(1), 'pooler.weight': f32(1) };
    const options = { ignores: (name: string) => name.startsWith('pooler.'), initializeMissing: 1 };
    const loaded = await loadStateDict(backend, declared, some, options);
    expect(Object.keys(loaded)).toEqual(['a', 'b', 'c']);
    expect(await loaded.b?.data()).toEqual(Float32Array.of(7, 7));
    expect((await errorOf(loadStateDict(backend, declared, some))).code).toBe('STATE_DICT_MISMATCH');
    const renamed = { a: f32(2, 3), 'old.b': f32(2), c: f32(1) };
    const other = await loadStateDict(backend, declared, renamed);
    expect(await other.b?.data()).toEqual(Float32Array.of(2, 2));
  });

  test('frees what was uploaded when a later tensor cannot be read', async () => {
    const backend = createReferenceBackend();
    const file = await openSafetensors(encodeSafetensors({ a: f32(2, 3), b: f32(2), c: f32(1) }));
    const failing = {
      ...file,
      readFloat32: (name: string) =>
        name === 'c' ? Promise.reject(new Error('disk')) : file.readFloat32(name),
    };
    await expect(loadStateDict(backend, declared, failing)).rejects.toThrow('disk');
    expect(backend.memory().peak).toBeGreaterThan(0);
    expect(backend.memory().live).toBe(0);
  });
});

test('packed projections are split', () => {
  const data = Float32Array.from({ length: 12 }, (_, i) => i);
  const weight = { dtype: 'F32', shape: [6, 2], data };
  const bias = { dtype: 'F32', shape: [6], data: data.slice(0, 6) };
  expect(
    splitInProjections({
      in_proj_weight: weight,
      'a.in_proj_bias': bias,
      'a.k_proj_weight': weight,
      begin_proj_weight: weight,
    }),
  ).toEqual({
    'q_proj.weight': { dtype: 'F32', shape: [2, 2], data: Float32Array.of(0, 1, 2, 3) },
    'k_proj.weight': { dtype: 'F32', shape: [2, 2], data: Float32Array.of(4, 5, 6, 7) },
    'v_proj.weight': { dtype: 'F32', shape: [2, 2], data: Float32Array.of(8, 9, 10, 11) },
    'a.q_proj.bias': { dtype: 'F32', shape: [2], data: Float32Array.of(0, 1) },
    'a.k_proj.bias': { dtype: 'F32', shape: [2], data: Float32Array.of(2, 3) },
    'a.v_proj.bias': { dtype: 'F32', shape: [2], data: Float32Array.of(4, 5) },
    'a.k_proj.weight': weight,
    begin_proj_weight: weight,
  });
});

describe('packed projections are joined', () => {
  const floats = (shape: readonly number[], from: number) => ({
    dtype: 'F32',
    shape,
    data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => from + i),
  });

  test('the way back of splitting', () => {
    const packed: StateDict = {
      'a.in_proj_weight': floats([6, 2], 0),
      'a.in_proj_bias': floats([6], 20),
      'a.out_proj.weight': floats([2, 2], 30),
      in_proj_weight: { dtype: 'BF16', shape: [3, 1], data: Uint16Array.of(7, 8, 9) },
      // Sources of other widths.
      'b.q_proj_weight': floats([2, 2], 40),
      'b.k_proj_weight': floats([2, 3], 50),
      'b.v_proj_weight': floats([2, 4], 60),
      'b.in_proj_bias': floats([6], 70),
    };
    const joined = joinInProjections(splitInProjections(packed));
    expect(joined).toEqual(packed);
    expect(Object.keys(joined)).toEqual(Object.keys(packed));
  });

  test('what PyTorch has no packed form of stays as it is', () => {
    const grouped: StateDict = {
      'a.q_proj.weight': floats([4, 2], 0),
      'a.k_proj.weight': floats([2, 2], 10),
      'a.v_proj.weight': floats([2, 2], 20),
      'b.q_proj.weight': floats([2, 2], 30),
      'b.k_proj.bias': floats([2], 40),
    };
    expect(joinInProjections(grouped)).toEqual(grouped);
  });
});

test('all tensors of a file are read as they are stored', async () => {
  const stored: StateDict = {
    a: { dtype: 'F32', shape: [2], data: Float32Array.of(1, 2) },
    b: { dtype: 'F16', shape: [1], data: Uint16Array.of(0x3c00) },
    steps: { dtype: 'I64', shape: [], data: BigInt64Array.of(7n) },
  };
  expect(await readStateDict(await openSafetensors(encodeSafetensors(stored)))).toEqual(stored);
});

test('a file of PyTorch with packed projections is told how to load', async () => {
  const backend = createReferenceBackend();
  const layer = encoderLayer({ width: 2, heads: 1, hidden: 2 });
  const packed = joinInProjections(await stateDict(initialize(backend, layer, 1)));
  const file = await openSafetensors(encodeSafetensors(packed));
  const error = await errorOf(loadStateDict(backend, layer, file));
  expect(error.message).toContain('unexpected self_attn.in_proj_bias, self_attn.in_proj_weight');
  expect(error.fix).toMatch(/splitInProjections\(await readStateDict\(file\)\)/);
  const loaded = await loadStateDict(backend, layer, splitInProjections(await readStateDict(file)));
  expect(joinInProjections(await stateDict(loaded))).toEqual(packed);
  const { 'norm1.bias': _, ...others } = splitInProjections(packed);
  expect((await errorOf(loadStateDict(backend, layer, others))).fix).toMatch(/initializeMissing/);
});

describe('what is no state dict, and what is no layer', () => {
  const backend = createReferenceBackend();
  const layer = encoderLayer({ width: 2, heads: 1, hidden: 2 });
  const parameters = initialize(backend, layer, 1);

  test.each<[string, unknown, RegExp]>([
    ['a path', 'model.safetensors', /openSafetensors\(await openFile\(path\)\)/],
    ['parameters', parameters, /await stateDict\(parameters\)/],
    ['nothing', undefined, /openFile/],
  ])('%s: refused with what to pass', async (_, dict, fix) => {
    const error = await errorOf(loadStateDict(backend, layer, dict as StateDict));
    expect(error).toMatchObject({ code: 'INVALID_OPTION', fix: expect.stringMatching(fix) });
  });

  test('parameters are not written, and do not stand for a layer', async () => {
    expect(() => encodeSafetensors(parameters as never)).toThrow(/await stateDict\(parameters\)/);
    const dict = await stateDict(parameters);
    for (const call of [
      () => initialize(backend, parameters as never, 1),
      () => summary(parameters as never),
      () => trainableExcept(parameters as never),
      () => compareStateDict(parameters as never, dict),
    ]) {
      expect(call).toThrow(/this is not a layer.*Pass the layer itself/);
    }
  });
});
