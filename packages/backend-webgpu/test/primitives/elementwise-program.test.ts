import {
  elementwiseProgram,
  erf,
  fill,
  mapElements,
  sum,
  type Term,
  tensor,
  terms,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import { limitsOf } from '../../src/limits.js';
import { elementwisePrograms } from '../../src/primitives/elementwise-program.js';
import type { DeviceFacts } from '../../src/runtime/facts.js';
import type { Stream } from '../../src/runtime/stream.js';
import { PLAIN } from '../support/recording.js';
import { createTestBackend } from '../support/software-gpu.js';

const { add, mul } = terms;
const names = ['a', 'b', 'c', 'd', 'e', 'f', 'g'] as const;
/** Seven inputs and an output: as many buffers as a device with the default limits binds. */
const total = elementwiseProgram({ inputs: names }, (x) => ({
  y: names.map((name): Term => x[name]).reduce((a, b) => add(a, b)) as typeof x.a,
}));

describe('elementwise programs in one pass', () => {
  const refusals = (facts: DeviceFacts, program = total, size = 512): readonly string[] => {
    const operation = elementwisePrograms({} as Stream, facts, () => {
      throw new Error('nothing is allocated before it runs');
    });
    const prepared = operation.prepare({ program, shape: [size] }, limitsOf(facts));
    return 'refusals' in prepared ? prepared.refusals : [];
  };

  test('refuse what the device does not bind', () => {
    expect(refusals(PLAIN)).toEqual([]);
    expect(refusals({ ...PLAIN, storageBuffers: 7 })[0]).toMatch(/^8 tensors/);
    const numbered = elementwiseProgram({ inputs: names, numbers: ['rate'] }, (x) => ({
      y: mul(x.a, x.rate),
    }));
    expect(refusals(PLAIN, numbered)[0]).toMatch(/^9 tensors/);
    expect(refusals({ ...PLAIN, bindingBytes: 2047 })[0]).toMatch(/exceeds a binding of 2047 bytes/);
    expect(refusals({ ...PLAIN, bindingBytes: 2048 })).toEqual([]);
  });

  optional('reach elements beyond one row of workgroups', softwareGpuAvailability(), async () => {
    const backend = await createTestBackend();
    // 65,535 workgroups are a row, each of 64 invocations of 4 elements.
    const row = 65_535 * 256;
    const size = row + 1000;
    const program = elementwiseProgram({ inputs: ['x'] }, ({ x }) => ({ y: add(x, 1) }));
    const { y } = mapElements(program, { x: fill(backend, 2, [size]) });
    const values = await y.data();
    expect([values.at(0), values.at(row - 1), values.at(row), values.at(-1)]).toEqual([3, 3, 3, 3]);
    expect((await sum(y).data())[0]).toBe(3 * size);
    await backend.dispose();
  });

  optional('the error function, within two roundings everywhere', softwareGpuAvailability(), async () => {
    const backend = await createTestBackend();
    const x = Float32Array.from({ length: 20_001 }, (_, at) => (at - 10_000) / 2_300);
    const [got, expected] = await Promise.all(
      [backend, createReferenceBackend()].map((on) => erf(tensor(on, x, [x.length])).data()),
    );
    const apart = x.map((_, at) => Math.abs(Number(got?.[at]) - Number(expected?.[at])));
    const relative = apart.map((one, at) => (one === 0 ? 0 : one / Math.abs(Number(expected?.[at]))));
    expect(Math.max(...relative)).toBeLessThan(1.8e-7);
    const unusual = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -0);
    expect(Array.from(await erf(tensor(backend, unusual, [4])).data())).toEqual([Number.NaN, 1, -1, -0]);
    await backend.dispose();
  });
});
