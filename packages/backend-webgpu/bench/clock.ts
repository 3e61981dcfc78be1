/// <reference types="@webgpu/types" />
import type { WebGpuBackend } from '@topk-attention/webgpu';

const CAPACITY = 2048;
const QUERY_RESOLVE = 0x200;
const COPY_SRC = 0x4;
const COPY_DST = 0x8;
const MAP_READ = 0x1;

/** GPU time from the start of the first launch to the end of the last, and of each kernel. Plugs into `Stream.profile`. */
export class Timestamps {
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  #keys: string[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#queries = device.createQuerySet({ type: 'timestamp', count: 2 * CAPACITY });
  }

  next(key: string): GPUComputePassTimestampWrites | undefined {
    if (this.#keys.length === CAPACITY) return undefined;
    const at = 2 * this.#keys.push(key) - 2;
    return { querySet: this.#queries, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  async read(): Promise<{ readonly total: number; readonly byKernel: ReadonlyMap<string, number> }> {
    const keys = this.#keys;
    this.#keys = [];
    const byKernel = new Map<string, number>();
    if (keys.length === 0) return { total: 0, byKernel };
    const size = 16 * keys.length;
    const resolved = this.#device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    const staging = this.#device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    const encoder = this.#device.createCommandEncoder();
    encoder.resolveQuerySet(this.#queries, 0, 2 * keys.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    this.#device.queue.submit([encoder.finish()]);
    await staging.mapAsync(1);
    const times = new BigUint64Array(staging.getMappedRange().slice(0));
    resolved.destroy();
    staging.destroy();
    const ms = (from: number, to: number): number =>
      Number((times[to] as bigint) - (times[from] as bigint)) / 1e6;
    for (const [at, key] of keys.entries()) {
      const name = (key.split('{')[0] as string).slice(0, 48).trim();
      byKernel.set(name, (byKernel.get(name) ?? 0) + ms(2 * at, 2 * at + 1));
    }
    // More launches than timestamps: the end is unknown.
    return { total: keys.length === CAPACITY ? Number.NaN : ms(0, times.length - 1), byKernel };
  }
}

export interface Timing {
  /** Median. */
  readonly ms: number;
  readonly fastest: number;
  readonly slowest: number;
  readonly rounds: number;
  readonly by: 'GPU timestamps' | 'submit and wait';
  /** Milliseconds per kernel, in the last round. */
  readonly kernels: Readonly<Record<string, number>>;
}

export interface TimingOptions {
  /** Default 20. */
  readonly rounds?: number;
  /** Milliseconds of work before the first round, so that clocks have ramped up. Default 300. */
  readonly heatMs?: number;
}

/** Times `run`, which starts work on the backend and returns a function that frees its results. */
export async function time(
  backend: WebGpuBackend,
  run: () => () => void,
  { rounds = 20, heatMs = 300 }: TimingOptions = {},
): Promise<Timing> {
  const { stream, device } = backend;
  const once = async (): Promise<number> => {
    const from = performance.now();
    const free = run();
    await stream.finish();
    const ms = performance.now() - from;
    free();
    return ms;
  };
  const start = performance.now();
  do await once();
  while (performance.now() - start < heatMs);
  const hasStamps = (device.features as ReadonlySet<string>).has('timestamp-query');
  const stamps = hasStamps ? new Timestamps(device) : undefined;
  Object.assign(stream, { profile: stamps });
  const times: number[] = [];
  let kernels: Readonly<Record<string, number>> = {};
  let hasOverflown = false;
  for (let round = 0; round < rounds; round++) {
    const waited = await once();
    const stamped = await stamps?.read();
    hasOverflown ||= Number.isNaN(stamped?.total ?? 0);
    times.push(stamped === undefined || hasOverflown ? waited : stamped.total);
    if (stamped !== undefined) kernels = Object.fromEntries(stamped.byKernel);
  }
  Object.assign(stream, { profile: undefined });
  times.sort((a, b) => a - b);
  return {
    ms: times[times.length >> 1] as number,
    fastest: times[0] as number,
    slowest: times.at(-1) as number,
    rounds,
    by: stamps === undefined || hasOverflown ? 'submit and wait' : 'GPU timestamps',
    kernels,
  };
}

/** Peak bytes in use during `run`, beyond those in use before it and those it returns. */
export async function extraBytes(
  backend: WebGpuBackend,
  run: () => () => void,
  outputBytes: number,
): Promise<number> {
  const { pool } = backend.stream;
  await backend.stream.finish();
  pool.resetPeak();
  const before = pool.peakUsedBytes;
  const free = run();
  await backend.stream.finish();
  free();
  return Math.max(0, pool.peakUsedBytes - before - outputBytes);
}
