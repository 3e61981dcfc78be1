import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { expect } from 'vitest';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { f32Bits, gridOf, type Kernel, uniformWords } from '../../src/runtime/kernel.js';
import { Profile } from '../../src/runtime/profile.js';
import { Stream } from '../../src/runtime/stream.js';

const scale: Kernel = {
  key: 'test scale',
  buffers: ['read', 'write'],
  source: () => `
struct Params { count: u32, factor: f32 }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
  if (id.x < params.count) { y[id.x] = params.factor * x[id.x]; }
}`,
};

optional('steps run in the order they were recorded', softwareGpuAvailability(), async () => {
  const { device } = await acquireDevice();
  const stream = new Stream(device);
  const profile = new Profile(device);
  stream.profile = profile;
  const x = stream.scratch(400);
  const y = stream.scratch(400);
  stream.write(x, new Uint8Array(Float32Array.from({ length: 100 }, (_, i) => i).buffer));
  for (let round = 0; round < 3; round++) {
    const uniforms = uniformWords([100, f32Bits(2 + round)]);
    stream.launch({ kernel: scale, buffers: [x, y], uniforms, workgroups: gridOf(2) });
    stream.copy(y, x);
  }
  const bytes = await stream.read(x);
  expect(Array.from(new Float32Array(bytes.buffer)).slice(0, 3)).toEqual([0, 24, 48]);
  expect((await profile.read()).launches.length).toBe(3);
  stream.release(x);
  expect(stream.scratch(390).buffer).toBe(x.buffer);
  device.destroy();
});
