import { loadTf } from '@topk-attention/app-kit/backends';
import { type Backend, exactAttention, scope, type Tensor, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import type { AttentionFunction } from '@topk-attention/models';
import { createOnnxRuntimeBackend } from '@topk-attention/onnxruntime';
import { createTfjsBackend } from '@topk-attention/tfjs';
import { expect, test } from 'vitest';
import { PlainAttention } from '../src/engine/plain-attention.js';

const HEADS = 3;
const WIDTH = 4;
const BUCKETS = 8;

const engines: readonly [string, () => Promise<Backend>][] = [
  ['reference', async () => createReferenceBackend()],
  ['onnxruntime', async () => createOnnxRuntimeBackend({ threads: 1 })],
  [
    'tfjs',
    async () => {
      const { tf, name } = await loadTf('cpu', 1);
      return createTfjsBackend({ tf, engine: name });
    },
  ],
];

test.each(engines)(
  '%s: plain attention gives the numbers of exact attention, with biases and with padding',
  async (_name, create) => {
    const backend = await create();
    const numbers = (shape: readonly number[], seed: number): Tensor => {
      const size = shape.reduce((a, b) => a * b, 1);
      return tensor(
        backend,
        Float32Array.from({ length: size }, (_, at) => 2 * Math.sin(seed + at * at)),
        shape,
      );
    };
    const table = numbers([BUCKETS, HEADS], 1);
    const plain = new PlainAttention(await table.data());
    const attend = async (
      attention: AttentionFunction,
      length: number,
      keys: number | undefined,
    ): Promise<number[]> => {
      const output = scope(() => {
        const [q, k, v] = [2, 3, 4].map((seed) => numbers([1, HEADS, length, WIDTH], seed)) as [
          Tensor,
          Tensor,
          Tensor,
        ];
        return attention(q, k, v, {
          scale: 0.7,
          relativeBias: { table, bidirectional: true, maxDistance: 16 },
          ...(keys !== undefined && { keyLengths: tensor(backend, Int32Array.of(keys), [1], 'i32') }),
        });
      });
      const values = Array.from(await output.data(), Number);
      output.dispose();
      return values;
    };
    for (const [length, keys] of [
      [40, undefined],
      [40, 33],
      [40, 33],
      [24, 24],
      [1, undefined],
    ] as const) {
      const values = await attend(plain.attend, length, keys);
      const expected = await attend(exactAttention, length, keys);
      expect(values).toHaveLength(expected.length);
      const error = Math.max(...values.map((value, at) => Math.abs(value - (expected[at] ?? Number.NaN))));
      expect(error).toBeLessThan(1e-5);
    }
    plain.dispose();
    table.dispose();
    expect(backend.memory().live).toBe(0);
    await backend.dispose();
  },
);
