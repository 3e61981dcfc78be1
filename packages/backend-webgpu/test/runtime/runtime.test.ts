import {
  add,
  evaluate,
  matmul,
  mul,
  scope,
  sub,
  sum,
  type Tensor,
  TopKError,
  tensor,
  topKAttention,
  valueAndGrad,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { optional, thoroughAvailability } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { afterEach, describe, expect, onTestFinished, vi } from 'vitest';
import {
  createWebGpuBackend,
  doctor,
  fromGpuBuffer,
  toGpuBuffer,
  type WebGpuBackend,
  type WebGpuOptions,
  type WebGpuWarning,
} from '../../src/index.js';
import { acquireDevice, importDawn } from '../../src/runtime/acquire.js';
import type { Kernel } from '../../src/runtime/kernel.js';
import { BUFFER_USAGE } from '../../src/runtime/usage.js';
import { createTestBackend } from '../support/software-gpu.js';

const software = softwareGpuAvailability();
/** Some ten seconds each. */
const thorough = software.available ? thoroughAvailability() : software;
const made: WebGpuBackend[] = [];

async function create(options: WebGpuOptions = {}): Promise<WebGpuBackend> {
  const backend = await createTestBackend(options);
  made.push(backend);
  return backend;
}

afterEach(async () => {
  for (const backend of made.splice(0)) await backend.dispose();
});

async function errorOf(work: () => unknown): Promise<TopKError> {
  try {
    await work();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('no error');
}

const codeOf = async (work: () => unknown): Promise<string> => (await errorOf(work)).code;

/** What every failure has to look like afterwards, and that the process goes on. */
async function expectDead(
  backend: WebGpuBackend,
  code: string,
  ...tensors: readonly Tensor[]
): Promise<void> {
  for (const one of tensors) expect(await codeOf(() => one.data())).toBe(code);
  expect(await codeOf(() => tensor(backend, [1]).data())).toBe(code);
  expect(await codeOf(() => backend.evaluate([]))).toBe(code);
  for (const one of tensors) one.dispose();
  backend.flush();
  expect(backend.memory().live).toBe(0);
  await backend.dispose();
  const again = await create();
  expect(Array.from(await mul(tensor(again, [1, 2]), 3).data())).toEqual([3, 6]);
}

describe('making a backend', () => {
  optional('one clear warning for an adapter on the CPU', software, async () => {
    const warnings: WebGpuWarning[] = [];
    const backend = await create({ onWarning: (warning) => warnings.push(warning) });
    expect(backend.facts.isSoftware).toBe(true);
    expect(warnings.map(({ code }) => code)).toEqual(['SOFTWARE_ADAPTER']);
    expect(warnings[0]?.message).toContain('CPU');
  });

  optional("the caller's device is used and outlives the backend", software, async () => {
    const { device } = await acquireDevice();
    const first = await create({ device });
    expect(first.device).toBe(device);
    expect(Array.from(await add(tensor(first, [1]), 1).data())).toEqual([2]);
    await first.dispose();
    const second = await create({ device });
    expect(Array.from(await add(tensor(second, [2]), 1).data())).toEqual([3]);
    await second.dispose();
    device.destroy();
  });

  optional('default limits and no features are enough', software, async () => {
    const backend = await create({ defaultLimits: true });
    expect(backend.facts.bindingBytes).toBe(128 * 2 ** 20);
    expect(backend.facts.features.has('subgroups')).toBe(false);
    const x = tensor(
      backend,
      Float32Array.from({ length: 1024 }, (_, i) => Math.cos(i)),
      [1, 2, 64, 8],
    );
    const reference = createReferenceBackend();
    const y = tensor(reference, await x.data(), [1, 2, 64, 8]);
    const expected = await topKAttention(y, y, y, { k: 5, causal: true }).data();
    const got = await topKAttention(x, x, x, { k: 5, causal: true }).data();
    expect(got.every((value, i) => Math.abs(value - (expected[i] as number)) < 1e-5)).toBe(true);
  });

  optional('limits and features that the adapter has are requested', software, async () => {
    const { adapter, device } = await acquireDevice();
    expect(device.limits.maxStorageBufferBindingSize).toBe(adapter.limits.maxStorageBufferBindingSize);
    expect(device.features.has('subgroups')).toBe(adapter.features.has('subgroups'));
    device.destroy();
  });

  optional('100 backends in one process', thorough, async () => {
    for (let i = 0; i < 100; i++) {
      const backend = await createTestBackend();
      const x = tensor(backend, [i, 1]);
      expect(Array.from(await mul(x, 2).data())).toEqual([2 * i, 2]);
      await backend.dispose();
    }
  });

  optional('no package and no navigator.gpu: MISSING_PEER', software, async () => {
    const error = await errorOf(() => importDawn(() => Promise.reject(new Error('not found'))));
    expect(error.code).toBe('MISSING_PEER');
    expect(error.message).toContain('webgpu ^0.6.0');
    expect(error.fix).toContain('npm install webgpu');
  });

  optional('a doctor that tells what is there', software, async () => {
    vi.stubGlobal('navigator', undefined); // as in Node without the tests' own navigator.gpu
    onTestFinished(() => void vi.unstubAllGlobals());
    const { ok, adapter, device, problems, provider } = await doctor();
    expect({ ok, provider }).toEqual({ ok: true, provider: 'webgpu package' });
    expect(adapter?.isSoftware).toBe(true);
    expect(adapter?.features.length).toBeGreaterThan(0);
    expect(device?.bindingBytes).toBeGreaterThan(0);
    expect(problems).toEqual([expect.stringContaining('CPU')]);
  });
});

describe('memory', () => {
  optional(
    'live bytes are those of the tensors, the rest of what is held counts as pooled',
    software,
    async () => {
      const backend = await create();
      const x = tensor(backend, new Float32Array(1000));
      expect(backend.memory().live).toBe(4000);
      expect(backend.memory().pooled).toBe(96); // 4,096 bytes are held
      const y = mul(x, x);
      expect(backend.memory().live).toBe(8000);
      y.dispose();
      expect(backend.memory()).toMatchObject({ live: 4000, peak: 8000, pooled: 96 + 4096 });
      backend.resetPeak();
      expect(backend.memory().peak).toBe(4000);
      x.dispose();
      expect(backend.memory().live).toBe(0);
    },
  );

  optional('1,000 calls need no buffer beyond those of the first few', thorough, async () => {
    const backend = await create();
    const x = tensor(
      backend,
      Float32Array.from({ length: 256 }, (_, i) => Math.sin(i)),
      [1, 2, 16, 8],
    );
    const held: number[] = [];
    for (let i = 0; i < 1000; i++) {
      // The conformance suite makes many calls of attention; what is held by the pool shows in any.
      const y = i % 20 === 0 ? topKAttention(x, x, x, { k: 3 }) : mul(x, 2);
      if (i % 20 < 2) await y.data();
      y.dispose();
      if (i === 99 || i === 999) held.push(backend.memory().live + (backend.memory().pooled ?? 0));
    }
    expect(held[1]).toBe(held[0]);
    expect(backend.memory().live).toBe(1024);
  });

  optional('steps of a training that repeat make no new bind groups', thorough, async () => {
    const { device } = await acquireDevice();
    const groups = vi.spyOn(device, 'createBindGroup');
    const backend = await create({ device });
    const x = tensor(
      backend,
      Float32Array.from({ length: 1024 }, (_, i) => Math.sin(i)),
      [1, 2, 16, 32],
    );
    const both = valueAndGrad(({ q, w }: { q: Tensor; w: Tensor }) =>
      scope(() => sum(topKAttention(mul(q, w), mul(x, w), x, { k: 3 }))),
    );
    let parameters = { q: mul(x, 0.5), w: mul(x, 2) };
    let before = 0;
    const fresh: number[] = [];
    for (let step = 0; step < 12; step++) {
      const { value, gradients } = both(parameters);
      const next = scope(() => ({
        q: sub(parameters.q, mul(gradients.q, 1e-3)),
        w: sub(parameters.w, mul(gradients.w, 1e-3)),
      }));
      // Every third loss is looked at.
      if (step % 3 === 0) await value.data();
      for (const old of [value, gradients.q, gradients.w, parameters.q, parameters.w]) old.dispose();
      parameters = next;
      await evaluate(parameters.q, parameters.w);
      fresh.push(groups.mock.calls.length - before);
      before = groups.mock.calls.length;
    }
    expect(fresh[0]).toBeGreaterThan(10);
    expect(fresh.slice(8)).toEqual([0, 0, 0, 0]);
  });

  optional('free buffers beyond the cap go back to the device', software, async () => {
    const backend = await create({ poolCapBytes: 10_000 });
    const tensors = Array.from({ length: 8 }, () => tensor(backend, new Float32Array(1024)));
    const whole = backend.memory().pooled;
    for (const one of tensors) one.dispose();
    expect(whole).toBe(0);
    expect(backend.memory().pooled).toBe(8192);
    backend.trim();
    expect(backend.memory().pooled).toBe(0);
    expect(Array.from(await mul(tensor(backend, [1]), 4).data())).toEqual([4]);
  });

  optional('large uploads are copied at once and come back whole', software, async () => {
    const backend = await create();
    const data = Float32Array.from({ length: 1 << 19 }, (_, i) => i);
    const x = tensor(backend, data);
    data.fill(0);
    const got = await x.data();
    expect([got[0], got[1], got.at(-1)]).toEqual([0, 1, (1 << 19) - 1]);
  });
});

describe('failures', () => {
  optional('a device that its owner destroys', software, async () => {
    const { device } = await acquireDevice();
    const backend = await create({ device });
    const x = tensor(backend, new Float32Array(1 << 16), [256, 256]);
    const y = matmul(x, x);
    const pending = codeOf(() => y.data());
    device.destroy();
    expect(await pending).toBe('DEVICE_LOST');
    await expectDead(backend, 'DEVICE_LOST', x, y, sum(y));
  });

  optional('a buffer that the device has no memory for', software, async () => {
    const backend = await create();
    const column = tensor(backend, new Float32Array(16_384), [16_384, 1]);
    const sound = mul(column, 2);
    const product = matmul(column, column, { transposeB: true }); // 1 GiB: the device says so only later
    const pending = codeOf(() => product.data());
    expect(await pending).toBe('OUT_OF_MEMORY');
    await expectDead(backend, 'OUT_OF_MEMORY', column, sound, product, mul(product, 2));
  });

  optional('a tensor larger than any buffer poisons itself, and nothing else', software, async () => {
    const backend = await create();
    const column = tensor(backend, new Float32Array(2 ** 17), [2 ** 17, 1]);
    const product = matmul(column, column, { transposeB: true });
    const error = await errorOf(() => mul(product, 2).data());
    expect(error.code).toBe('OUT_OF_MEMORY');
    expect(error.message).toContain('68719476736 bytes');
    expect((await column.data()).length).toBe(2 ** 17);
  });

  optional('a launch that the device does not accept', software, async () => {
    const backend = await create();
    const x = tensor(backend, [1, 2, 3]);
    const allocated = backend.allocate([4], 'f32');
    const { span } = allocated;
    const kernel: Kernel = {
      key: 'test: one buffer to read and to write',
      buffers: ['read', 'write'],
      source: () => `
@group(0) @binding(0) var<uniform> params: vec4u;
@group(0) @binding(1) var<storage, read> a: array<u32>;
@group(0) @binding(2) var<storage, read_write> b: array<u32>;
@compute @workgroup_size(1) fn main() { b[0] = a[0] + params.x; }`,
    };
    backend.stream.launch({
      kernel,
      buffers: [span, span],
      uniforms: new Uint32Array(4),
      workgroups: [1, 1, 1],
    });
    const y = mul(x, 2);
    expect(await codeOf(() => y.data())).toBe('ENGINE_FAILURE');
    backend.release(allocated);
    await expectDead(backend, 'ENGINE_FAILURE', x, y);
  });

  optional('a shader that does not compile names its line', software, async () => {
    const backend = await create();
    const kernel: Kernel = {
      key: 'test: no shader',
      buffers: [],
      source: () => '@compute @workgroup_size(1) fn main() {\n  let x = nonesuch;\n}',
    };
    backend.stream.launch({ kernel, buffers: [], uniforms: new Uint32Array(4), workgroups: [1, 1, 1] });
    const x = tensor(backend, [1]);
    const error = await errorOf(() => x.data());
    expect(error.code).toBe('ENGINE_FAILURE');
    expect(error.message).toMatch(/test: no shader.*2:\d+.*nonesuch/s);
    await expectDead(backend, 'ENGINE_FAILURE', x);
  });

  optional('use after dispose()', software, async () => {
    const backend = await create();
    const x = tensor(backend, [1, 2]);
    const pending = codeOf(() => mul(x, 2).data());
    await backend.dispose();
    expect(['DISPOSED', 'no error']).toContain(await pending.catch(() => 'no error'));
    expect(await codeOf(() => x.data())).toBe('DISPOSED');
    expect(await codeOf(() => mul(x, 2))).toBe('DISPOSED');
    x.dispose();
    backend.flush();
    await backend.dispose();
  });
});

describe('native in and out', () => {
  const { STORAGE, COPY_SRC, COPY_DST } = BUFFER_USAGE;

  optional('a borrowed buffer is read in place, at an offset, and never destroyed', software, async () => {
    const backend = await create();
    const { device } = backend;
    const buffer = device.createBuffer({ size: 1024, usage: STORAGE | COPY_SRC | COPY_DST });
    device.queue.writeBuffer(buffer, 512, Float32Array.of(1, 2, 3, 4));
    const live = backend.memory().live;
    const x = fromGpuBuffer(backend, buffer, { shape: [2, 2], offset: 512, size: 16 });
    expect(backend.memory().live).toBe(live);
    expect(Array.from(await mul(x, 2).data())).toEqual([2, 4, 6, 8]);
    const out = await toGpuBuffer(x);
    expect(out).toEqual({ buffer, offset: 512, size: 16, shape: [2, 2], dtype: 'f32' });
    x.dispose();
    const y = fromGpuBuffer(backend, buffer, { shape: [2], offset: 512 });
    expect(Array.from(await y.data())).toEqual([1, 2]);
    buffer.destroy();
  });

  optional('what is handed out is computed, without a copy, and outlives its tensor', software, async () => {
    const backend = await create();
    const y = mul(tensor(backend, [1, 2, 3]), 5);
    const { buffer, offset, size } = await toGpuBuffer(y);
    y.dispose();
    const overwrite = Array.from({ length: 8 }, () => tensor(backend, [9, 9, 9]));
    await backend.evaluate([]);
    const again = fromGpuBuffer(backend, buffer, { shape: [3], offset });
    expect(size).toBe(12);
    expect(Array.from(await again.data())).toEqual([5, 10, 15]);
    for (const one of overwrite) one.dispose();
    buffer.destroy();
  });

  optional('a scalar that is handed out is no longer shared', software, async () => {
    const backend = await create();
    const { fill } = await import('@topk-attention/core');
    const { buffer } = await toGpuBuffer(fill(backend, 7, []));
    backend.device.queue.writeBuffer(buffer, 0, Float32Array.of(1));
    expect(Array.from(await fill(backend, 7, []).data())).toEqual([7]);
    buffer.destroy();
  });

  optional('ranges that cannot be tensors are refused with what to do', software, async () => {
    const backend = await create();
    const { device } = backend;
    const buffer = device.createBuffer({ size: 1024, usage: STORAGE | COPY_SRC });
    const write = device.createBuffer({ size: 1024, usage: COPY_DST });
    const refused = (call: () => unknown): Promise<TopKError> => errorOf(call);
    const offset = await refused(() => fromGpuBuffer(backend, buffer, { shape: [4], offset: 64 }));
    expect(offset.code).toBe('INVALID_OPTION');
    expect(offset.message).toContain('256');
    expect(offset.fix).toContain('copyBufferToBuffer');
    expect(await codeOf(() => fromGpuBuffer(backend, buffer, { shape: [300] }))).toBe('INVALID_OPTION');
    expect(await codeOf(() => fromGpuBuffer(backend, buffer, { shape: [4], size: 8 }))).toBe(
      'INVALID_OPTION',
    );
    const usage = await refused(() => fromGpuBuffer(backend, write, { shape: [4] }));
    expect(usage.message).toContain('STORAGE');
    const foreign = tensor(createReferenceBackend(), [1]);
    expect(await codeOf(() => toGpuBuffer(foreign))).toBe('MIXED_BACKENDS');
    buffer.destroy();
    write.destroy();
  });
});

optional('a backend is made with the given GPU object', software, async () => {
  const dawn = await import('webgpu');
  const backend = await createWebGpuBackend({ gpu: dawn.create([]), onWarning: () => {} });
  expect(Array.from(await mul(tensor(backend, [2]), 2).data())).toEqual([4]);
  await backend.dispose();
});
