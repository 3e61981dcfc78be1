import { type Backend, tensor } from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { sbm } from '@topk-attention/mechanisms';
import { contextOf } from '@topk-attention/nn';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { createWebGpuBackend, type WebGpuBackend } from '@topk-attention/webgpu';
import { afterAll, beforeAll, expect, vi } from 'vitest';
import { wave } from './wave.js';

const software = softwareGpuAvailability();
let backend: WebGpuBackend;
let composed: WebGpuBackend;

beforeAll(async () => {
  if (!software.available) return;
  backend = await createWebGpuBackend({ onWarning: () => {} });
  composed = await createWebGpuBackend({ onWarning: () => {}, fused: false });
});
afterAll(async () => {
  await backend?.dispose();
  await composed?.dispose();
});

const [heads, width, clusters] = [2, 8, 6];

/** The keys that each query of SBM's graph lists, as weights of values that are unit vectors show them. */
async function listed(on: Backend, tokens: number, edges: number): Promise<string[]> {
  const of = (speed: number, ...shape: readonly number[]) =>
    tensor(
      on,
      wave(
        shape.reduce((all, extent) => all * extent, 1),
        speed,
      ),
      shape,
    );
  const mlp = (at: number) => ({
    [`mlp.${at}.weight`]: of(0.9 + at, width, width),
    [`mlp.${at}.bias`]: of(1.3 + at, width),
  });
  const mechanism = sbm({ clusters, edges, exploration: 0.02, seed: 3 });
  const output = mechanism.attend({
    context: contextOf({ clusters: of(2.3, heads, clusters, width), ...mlp(0), ...mlp(1) }),
    path: '',
    query: of(0.7, 1, heads, tokens, width),
    key: of(1.7, 1, heads, tokens, width),
    value: tensor(
      on,
      Float64Array.from({ length: heads * tokens ** 2 }, (_, at) => {
        return Math.floor(at / tokens) % tokens === at % tokens ? 1 : 0;
      }),
      [1, heads, tokens, tokens],
    ),
    options: {},
  });
  const weights = Array.from(await output.data(), Number);
  return Array.from({ length: heads * tokens }, (_, query) =>
    weights
      .slice(query * tokens, (query + 1) * tokens)
      .flatMap((one, key) => (one > 0 ? [key] : []))
      .join(),
  );
}

// Small: of many drawn numbers, some lie between sums that are rounded differently elsewhere.
optional('a graph drawn on WebGPU is that of the reference', software, async () => {
  const made = await listed(backend, 40, 8);
  expect(made).toEqual(await listed(createReferenceBackend(), 40, 8));
  expect(new Set(made).size).toBeGreaterThan(40);
});

optional('searches of one launch find what those composed of ops find', software, async () => {
  const search = vi.spyOn(
    backend.fused?.countBelow as NonNullable<typeof backend.fused.countBelow>,
    'prepare',
  );
  const made = await listed(backend, 300, 16);
  expect(search.mock.results.map(({ value }) => 'refusals' in value)).toEqual([false, false]);
  search.mockRestore();
  expect(made).toEqual(await listed(composed, 300, 16));
  expect(new Set(made).size).toBeGreaterThan(300);
});
