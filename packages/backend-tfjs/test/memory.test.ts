import { grad, scope, sum, type Tensor, tensor, topKAttention, topKFeedForward } from '@topk-attention/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createTfjsBackend, type Tf, type TfjsBackend } from '../src/index.js';
import { cpuTf, wasmTf } from './support/engines.js';

describe.each([
  ['cpu', cpuTf],
  ['wasm', wasmTf],
] as const)('on the %s engine', (_name, load) => {
  let tf: Tf;
  const backends: TfjsBackend[] = [];
  beforeAll(async () => {
    tf = await load();
    for (const fused of [true, false]) backends.push(await createTfjsBackend({ tf, fused }));
  });
  afterAll(() => {
    for (const backend of backends) backend.dispose();
  });

  type Call = (x: Tensor, weights: Tensor) => object;
  const calls: readonly (readonly [name: string, count: number, call: Call])[] = [
    ['top-k attention', 1000, (x) => topKAttention(x, x, x, { k: 2, causal: true, returnIndices: true })],
    [
      'gradients of top-k attention',
      200,
      (x) => grad((p: { x: Tensor }) => sum(topKAttention(p.x, p.x, p.x, { k: 2 })))({ x }),
    ],
    [
      'top-k feed-forward',
      200,
      (x, w) => topKFeedForward(x, { wIn: w, wOut: w }, { k: 2, activation: 'relu' }),
    ],
  ];

  for (const [name, most, call] of calls) {
    // What is composed of primitives is also counted call by call in the conformance suite.
    test.each([
      [0, most],
      [1, most / 10],
    ] as const)(`tf.memory() stays as it is: ${name}, backend %i, %i calls`, (at, count) => {
      const backend = backends[at] as TfjsBackend;
      const x = tensor(backend, Float32Array.from({ length: 24 }, Math.sin), [1, 2, 4, 3]);
      const w = tensor(backend, Float32Array.from({ length: 9 }, Math.cos), [3, 3]);
      // On wasm a first product of a width keeps a vector of zeros.
      scope(() => {
        call(x, w);
      });
      const before = { ...tf.memory(), live: backend.memory().live };
      for (let i = 0; i < count; i++) {
        scope(() => {
          call(x, w);
        });
        const { numTensors, numDataBuffers, numBytes } = tf.memory();
        if (numTensors !== before.numTensors || numDataBuffers !== before.numDataBuffers) {
          expect({ call: i, numTensors, numDataBuffers, numBytes }).toEqual({ call: i, ...before });
        }
      }
      expect({ ...tf.memory(), live: backend.memory().live }).toEqual(before);
      x.dispose();
      w.dispose();
    });
  }

  test('a scope of tf around the calls leaves nothing either', () => {
    const backend = backends[0] as TfjsBackend;
    const before = tf.memory().numTensors;
    tf.tidy(() => {
      const x = tensor(backend, Float32Array.from({ length: 24 }, Math.sin), [1, 2, 4, 3]);
      topKAttention(x, x, x, { k: 2 }).dispose();
      x.dispose();
    });
    expect(tf.memory().numTensors).toBe(before);
  });

  test('live bytes are those of the data that tf holds; views count once', async () => {
    const { reshape } = await import('@topk-attention/core');
    const backend = backends[0] as TfjsBackend;
    const before = { live: backend.memory().live, buffers: tf.memory().numDataBuffers };
    const x = tensor(backend, new Float32Array(100), [10, 10]);
    const view = reshape(x, [100]);
    const flags = tensor(backend, new Uint8Array(7), [7], 'bool');
    expect(backend.memory().live - before.live).toBe(407);
    expect(tf.memory().numDataBuffers - before.buffers).toBe(2);
    for (const one of [x, view, flags]) one.dispose();
    expect(backend.memory().live).toBe(before.live);
  });

  test('dispose() of a backend frees what is left, once; releasing afterwards is nothing', async () => {
    const before = tf.memory().numTensors;
    const backend = await createTfjsBackend({ tf });
    const left = tensor(backend, [1, 2]);
    expect(tf.memory().numTensors).toBe(before + 1);
    backend.dispose();
    backend.dispose();
    expect(tf.memory().numTensors).toBe(before);
    left.dispose();
    expect(backend.memory().live).toBe(0);
  });
});
