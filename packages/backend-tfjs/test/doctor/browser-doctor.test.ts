import { optional } from '@topk-attention/vitest-preset';
import { browserAvailability } from '@topk-attention/vitest-preset/browser';
import { withTestPage } from '@topk-attention/vitest-preset/browser-page';
import { expect } from 'vitest';
import type { DoctorReport } from '../../src/index.js';

/** A page each: what tf found out about WebGL stays. */
function examine(engine: string, flags: Record<string, boolean> = {}): Promise<DoctorReport> {
  const folder = new URL('../support/doctor-page/', import.meta.url);
  return withTestPage({ folder, ready: 'examine', exclude: ['vitest'] }, async (page) => {
    const report = (await page.evaluate(`examine('${engine}', ${JSON.stringify(flags)})`)) as DoctorReport;
    expect(page.errors).toEqual([]);
    return report;
  });
}

optional('doctor() on WebGL and WebGPU in headless Chromium', browserAvailability(), async () => {
  const webgl = await examine('webgl');
  expect(webgl).toMatchObject({
    ok: true,
    engine: 'webgl',
    device: {
      kind: 'gpu',
      isSoftware: true,
      description: expect.stringContaining('SwiftShader'),
      facts: { webglVersion: 2, float32Textures: true },
    },
  });
  expect(webgl.problems.map(({ code }) => code)).toEqual(['SOFTWARE_GPU']);

  const webgpu = await examine('webgpu');
  expect(webgpu).toMatchObject({ ok: true, engine: 'webgpu', device: { kind: 'gpu', isSoftware: true } });
  expect(webgpu.engines.map(({ name, state }) => [name, state])).toEqual([
    ['webgpu', 'running'],
    ['webgl', 'registered'],
  ]);
});

// As on the phones whose GPUs draw to no textures of 32 bits.
optional(
  'doctor() finds WebGL textures of 16 bits, and that products suffer',
  browserAvailability(),
  async () => {
    const { ok, device, problems } = await examine('webgl', { WEBGL_FORCE_F16_TEXTURES: true });
    expect(device?.facts.float32Textures).toBe(false);
    expect(problems.map(({ code, severity }) => [code, severity])).toEqual([
      ['SOFTWARE_GPU', 'warning'],
      ['HALF_FLOAT_TEXTURES', 'warning'],
      ['LOW_PRECISION', 'warning'],
    ]);
    expect(ok).toBe(true);
  },
);
