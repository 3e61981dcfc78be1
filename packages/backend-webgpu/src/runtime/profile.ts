import { BUFFER_USAGE, MAP_MODE_READ } from './usage.js';

const CAPACITY = 2048;

/** GPU time of each launch between two reads, from timestamps. Needs the feature 'timestamp-query'. */
export class Profile {
  readonly #device: GPUDevice;
  readonly #queries: GPUQuerySet;
  #keys: string[] = [];

  constructor(device: GPUDevice) {
    this.#device = device;
    this.#queries = device.createQuerySet({ type: 'timestamp', count: 2 * CAPACITY });
  }

  /** Timestamps of the next launch; undefined when no more can be taken before `read`. */
  next(key: string): GPUComputePassTimestampWrites | undefined {
    if (this.#keys.length === CAPACITY) return undefined;
    const at = 2 * this.#keys.push(key) - 2;
    return { querySet: this.#queries, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  /**
   * Milliseconds since the last read: of every launch in order, and from the start of the first to the end of the
   * last. Call after `Stream.finish`.
   */
  async read(): Promise<{
    readonly launches: readonly { key: string; ms: number }[];
    readonly total: number;
  }> {
    const keys = this.#keys;
    this.#keys = [];
    if (keys.length === 0) return { launches: [], total: 0 };
    const device = this.#device;
    const size = 16 * keys.length;
    const { QUERY_RESOLVE, COPY_SRC, COPY_DST, MAP_READ } = BUFFER_USAGE;
    const resolved = device.createBuffer({ size, usage: QUERY_RESOLVE | COPY_SRC });
    const staging = device.createBuffer({ size, usage: MAP_READ | COPY_DST });
    const encoder = device.createCommandEncoder();
    encoder.resolveQuerySet(this.#queries, 0, 2 * keys.length, resolved, 0);
    encoder.copyBufferToBuffer(resolved, 0, staging, 0, size);
    device.queue.submit([encoder.finish()]);
    await staging.mapAsync(MAP_MODE_READ);
    const times = new BigUint64Array(staging.getMappedRange().slice(0));
    resolved.destroy();
    staging.destroy();
    const ms = (from: number, to: number): number =>
      Number((times[to] as bigint) - (times[from] as bigint)) / 1e6;
    const launches = keys.map((key, index) => ({ key, ms: ms(2 * index, 2 * index + 1) }));
    return { launches, total: ms(0, times.length - 1) };
  }

  destroy(): void {
    this.#queries.destroy();
  }
}
