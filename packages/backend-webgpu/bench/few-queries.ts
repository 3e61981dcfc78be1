import { exactAttention, type Tensor, topKAttention } from '@topk-attention/core';
import type { WebGpuBackend } from '@topk-attention/webgpu';
import { time } from './clock.js';
import { hashed, readElements } from './data.js';
import { exactRow, RelativeError } from './oracle.js';

export interface FewQueriesRow {
  readonly keys: number;
  readonly kind: string;
  /** The mean of calls in a row, host time included. */
  readonly callMs: number;
  readonly gpuMs: number;
  readonly kernels: Readonly<Record<string, number>>;
  readonly error: number;
}

export interface FewQueriesOptions {
  readonly heads: number;
  readonly dim: number;
  readonly queries: number;
  readonly keys: readonly number[];
  readonly k: number;
  readonly calls: number;
}

/** One query, or a few, over cached keys: as a decoder's attention without its caches. */
export async function fewQueries(
  backend: WebGpuBackend,
  { heads, dim, queries, keys, k, calls }: FewQueriesOptions,
): Promise<readonly FewQueriesRow[]> {
  const rows: FewQueriesRow[] = [];
  for (const length of keys) {
    const q = await hashed(backend, [1, heads, queries, dim], 1);
    const [key, value] = [
      await hashed(backend, [1, heads, length, dim], 2),
      await hashed(backend, [1, heads, length, dim], 3),
    ];
    const kinds: Readonly<Record<string, () => Tensor>> = {
      [`top-k ${k}`]: () => topKAttention(q, key, value, { k }),
      exact: () => exactAttention(q, key, value),
    };
    for (const [kind, attend] of Object.entries(kinds)) {
      const first = attend();
      const error = await errorOf(backend, [q, key, value, first], kind === 'exact' ? undefined : k);
      first.dispose();
      if (!(error < 1e-4)) throw new Error(`${kind}, ${length} keys: off by ${error}`);
      const once = (): (() => void) => {
        const out = attend();
        backend.flush();
        return () => out.dispose();
      };
      const { ms, kernels } = await time(backend, once, { rounds: 9, heatMs: 200 });
      const from = performance.now();
      for (let call = 0; call < calls; call++) once()();
      await backend.stream.finish();
      const callMs = (performance.now() - from) / calls;
      rows.push({ keys: length, kind, callMs, gpuMs: ms, kernels, error });
    }
    for (const one of [q, key, value]) one.dispose();
    backend.stream.pool.trim();
  }
  return rows;
}

/** Against f64, for the first and the last head. */
async function errorOf(
  backend: WebGpuBackend,
  [q, k, v, out]: readonly [Tensor, Tensor, Tensor, Tensor],
  kept: number | undefined,
): Promise<number> {
  const [, heads, queries, dim] = q.shape as readonly [number, number, number, number];
  const keys = k.shape[2] as number;
  const error = new RelativeError();
  for (const head of new Set([0, heads - 1])) {
    const part = (x: Tensor, rows: number) => readElements(backend, x, head * rows * dim, rows * dim);
    const own = { k: await part(k, keys), v: await part(v, keys), keys, dim, valueDim: dim };
    const [query, got] = [await part(q, queries), await part(out, queries)];
    const last = (queries - 1) * dim;
    error.add(
      got.subarray(last, last + dim),
      exactRow(own, query.subarray(last, last + dim), keys, kept).output,
    );
  }
  return error.value;
}
