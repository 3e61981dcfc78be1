import { exactAttention, recordedStep, type Tensor, topKAttention } from '@topk-attention/core';
import type { WebGpuBackend } from '@topk-attention/webgpu';
import { hashed } from './data.js';

export interface HostTimeRow {
  readonly tokens: number;
  readonly kind: string;
  readonly causal: boolean;
  /** Medians of the time in JavaScript and Dawn until a call is with the device's queue. */
  readonly calledMs: number;
  readonly recordedMs: number;
  /** Means of calls in a row, until the GPU is done with all of them. */
  readonly calledWholeMs: number;
  readonly recordedWholeMs: number;
}

interface Heads {
  readonly [name: string]: Tensor;
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

/** Calls in flight at a time. */
const BATCH = 10;

/** What a call of attention costs the host, made anew each time and as a recorded step. */
export async function hostTimes(
  backend: WebGpuBackend,
  {
    heads,
    dim,
    tokens,
    k,
    calls,
  }: { heads: number; dim: number; tokens: readonly number[]; k: number; calls: number },
): Promise<readonly HostTimeRow[]> {
  const rows: HostTimeRow[] = [];
  for (const length of tokens) {
    const shape = [1, heads, length, dim];
    const kinds: readonly [string, boolean, (heads: Heads) => Tensor][] = [true, false].flatMap((causal) => [
      [`top-k ${k}`, causal, ({ q, k: key, v }) => topKAttention(q, key, v, { k, causal })],
      ['exact', causal, ({ q, k: key, v }) => exactAttention(q, key, v, { causal })],
    ]);
    for (const [kind, causal, attend] of kinds) {
      let state: Heads = {
        q: await hashed(backend, shape, 1),
        k: await hashed(backend, shape, 2),
        v: await hashed(backend, shape, 3),
      };
      const called = await measure(backend, calls, () => attend(state));
      const step = recordedStep((own: Heads, _inputs: Record<string, never>) => ({
        state: own,
        outputs: { out: attend(own) },
      }));
      const recorded = await measure(backend, calls, () => {
        const next = step(state, {});
        state = next.state;
        return next.outputs.out;
      });
      if (step.counts.replayed === 0) throw new Error(`${kind}: ${step.refusal ?? 'never replayed'}`);
      rows.push({
        tokens: length,
        ...{ kind, causal },
        calledMs: called.median,
        recordedMs: recorded.median,
        calledWholeMs: called.whole,
        recordedWholeMs: recorded.whole,
      });
      step.dispose();
      for (const one of Object.values(state)) one.dispose();
    }
    backend.stream.pool.trim();
  }
  return rows;
}

async function measure(
  backend: WebGpuBackend,
  calls: number,
  call: () => Tensor,
): Promise<{ readonly median: number; readonly whole: number }> {
  const times: number[] = [];
  let whole = 0;
  // The first fifth warms up the engine's compiler.
  for (let round = -calls / 5; round < calls; round += BATCH) {
    const from = performance.now();
    for (let at = 0; at < BATCH; at++) {
      const began = performance.now();
      const out = call();
      backend.flush();
      if (round >= 0) times.push(performance.now() - began);
      out.dispose();
    }
    await backend.stream.finish();
    if (round >= 0) whole += performance.now() - from;
  }
  times.sort((a, b) => a - b);
  return { median: times[times.length >> 1] as number, whole: whole / times.length };
}
