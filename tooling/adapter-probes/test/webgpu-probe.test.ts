import { describeConformance } from '@topk-attention/conformance';
import { evaluate, matmul, tensor, topK } from '@topk-attention/core';
import { type Availability, optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterAll, afterEach, describe, expect } from 'vitest';
import { createWebGpuProbe, type WebGpuProbe } from '../src/webgpu-probe.ts';
import { probeCases } from './probe-cases.ts';

/** The driver may be there and still find no adapter, on a machine of another kind. */
async function startable(): Promise<Availability> {
  const unpacked = softwareGpuAvailability();
  if (!unpacked.available) return unpacked;
  try {
    const backend = await createWebGpuProbe();
    await backend.dispose();
    return unpacked;
  } catch (error) {
    return { ...unpacked, available: false, reason: String(error) };
  }
}

const software = await startable();
const cases = await probeCases();
const made: WebGpuProbe[] = [];

async function create(): Promise<WebGpuProbe> {
  const backend = await createWebGpuProbe();
  made.push(backend);
  return backend;
}

async function closeAll(): Promise<void> {
  for (const backend of made.splice(0)) {
    await backend.dispose();
  }
}

if (software.available) {
  await describeConformance({ name: 'webgpu-probe', createBackend: createWebGpuProbe, cases });
} else {
  describe('conformance of webgpu-probe', () => {
    for (const { name } of cases) optional(name, software, () => {});
  });
}

describe('webgpu-probe', () => {
  afterEach(closeAll);
  afterAll(closeAll);

  optional(
    'ops return before their work is submitted, and reading twice gives the same',
    software,
    async () => {
      const backend = await create();
      const x = tensor(backend, [3, 1, 2, 5, 4, 5], [2, 3]);
      const product = matmul(x, x, { transposeB: true });
      const kept = topK(product, 1);
      expect(kept.values.shape).toEqual([2, 1]);
      x.dispose();
      product.dispose(); // recorded commands still use both
      expect(Array.from(await kept.indices.data())).toEqual([1, 1]);
      expect(Array.from(await kept.values.data())).toEqual([29, 66]);
      expect(Array.from(await kept.values.data())).toEqual([29, 66]);
      kept.indices.dispose();
      kept.values.dispose();
      expect(backend.memory().live).toBe(0);
    },
  );

  optional('a failed allocation poisons what depends on it, and nothing else', software, async () => {
    const backend = await create();
    const sound = tensor(backend, [1, 2], [1, 2]);
    const long = tensor(backend, new Float32Array(20_000), [20_000, 1]);
    backend.flush();
    const tooLarge = matmul(long, long, { transposeB: true }); // 1.6 GB: the device says so only later
    backend.flush();
    const dependent = matmul(tooLarge, long);
    backend.flush();
    const independent = matmul(sound, sound, { transposeB: true });
    await expect(tooLarge.data()).rejects.toMatchObject({ code: 'ENGINE_FAILURE' });
    await expect(dependent.data()).rejects.toMatchObject({ code: 'ENGINE_FAILURE' });
    await expect(evaluate(sound, dependent)).rejects.toMatchObject({ code: 'ENGINE_FAILURE' });
    const late = matmul(tooLarge, long); // made when the failure is long known
    await expect(late.data()).rejects.toMatchObject({ code: 'ENGINE_FAILURE' });
    expect(Array.from(await independent.data())).toEqual([5]);
  });

  optional('a read after dispose() rejects', software, async () => {
    const backend = await create();
    const x = tensor(backend, [1, 2], [2]);
    await backend.dispose();
    await expect(x.data()).rejects.toMatchObject({ code: 'DISPOSED' });
  });
});
