import { TopKError } from '@topk-attention/core';
import { BUFFER_USAGE } from './usage.js';

/** Buffers above this size are rounded to a sixteenth of their power of two, smaller ones to a power of two. */
const COARSE_BYTES = 1 << 16;

/** Bytes that are kept for reuse however little was ever in use. */
const DEFAULT_CAP_BYTES = 2 ** 31;

export interface PoolOptions {
  /** Most bytes kept for reuse. Default: 2 GiB, or as many as make up what was once in use at a time. */
  readonly capBytes?: number;
  /** Makes a buffer and reports later if that failed. */
  readonly create: (descriptor: GPUBufferDescriptor) => GPUBuffer;
  /** Destroys a buffer after everything recorded so far. */
  readonly discard: (buffer: GPUBuffer) => void;
}

/**
 * Buffers for reuse. Work runs in the order it was recorded, so a buffer may be handed out again as soon as its last
 * user was recorded. Among the free buffers of a size, the oldest is handed out, so that repeating work, such as
 * training steps, soon gets the same buffers in the same places and finds its bind groups again; the most recently
 * released one would differ in every step.
 *
 * Above the cap, the buffers go that were released longest ago, whatever their size. A loop that takes and returns the
 * same scratch keeps it that way. Were the largest to go first, then a loop whose scratch is larger than what lies idle
 * would lose it in every round, and making a large buffer takes longer than most work on it. Without a cap of the caller's,
 * work of more than 2 GiB keeps all it needs from step to step: the device has held as much before.
 */
export class BufferPool {
  readonly #options: PoolOptions;
  readonly #largest: number;
  /** By size, the oldest last. */
  readonly #free = new Map<number, GPUBuffer[]>();
  /** The free buffers of all sizes, those released longest ago first. */
  readonly #idle = new Set<GPUBuffer>();
  /** Every buffer with its age: a number that grows with each one made. */
  readonly #all = new Map<GPUBuffer, number>();
  /** Number of recordings that use a buffer: while there are any, it is not handed out. */
  readonly #pins = new Map<GPUBuffer, number>();
  /** Pinned buffers that nobody else uses: freed with the last pin. */
  readonly #waiting = new Set<GPUBuffer>();
  /** While steps are recorded: buffers handed out since recording began. */
  #since: Set<GPUBuffer> | undefined;
  /** While steps are recorded: buffers that were in use before recording began and have been released since. */
  #held: GPUBuffer[] = [];
  #made = 0;
  #pooled = 0;
  #allocated = 0;
  #peakUsed = 0;
  /** Most bytes in use at a time since creation. */
  #mostUsed = 0;

  constructor(device: GPUDevice, options: PoolOptions) {
    this.#options = options;
    this.#largest = device.limits.maxBufferSize - (device.limits.maxBufferSize % 4);
  }

  /** Bytes in free buffers. */
  get pooledBytes(): number {
    return this.#pooled;
  }

  /** Bytes of all buffers of the pool, in use or not. */
  get allocatedBytes(): number {
    return this.#allocated;
  }

  /** Largest number of bytes in use at a time, by tensors and scratch, since creation or `resetPeak`. */
  get peakUsedBytes(): number {
    return this.#peakUsed;
  }

  resetPeak(): void {
    this.#peakUsed = this.#used;
  }

  get #used(): number {
    return this.#allocated - this.#pooled;
  }

  #noteUse(): void {
    this.#peakUsed = Math.max(this.#peakUsed, this.#used);
    this.#mostUsed = Math.max(this.#mostUsed, this.#used);
  }

  /** Gives back what lies idle above the cap; `more`: bytes about to be made. */
  #trimToCap(more = 0): void {
    const cap = this.#options.capBytes ?? Math.max(DEFAULT_CAP_BYTES, this.#mostUsed - this.#used - more);
    if (this.#pooled > cap) this.trim(cap);
  }

  /** A buffer of at least `bytes`, with undefined content. */
  acquire(bytes: number): GPUBuffer {
    if (bytes > this.#largest) {
      throw new TopKError('OUT_OF_MEMORY', 'webgpu: a buffer larger than the device allows', {
        expected: `at most ${this.#largest} bytes`,
        got: `${bytes} bytes`,
        fix: 'Use a smaller queryChunk or budgetBytes, or a shorter input',
      });
    }
    const size = Math.min(bufferSize(bytes), this.#largest);
    const buffer = this.#free.get(size)?.pop() ?? this.#create(size);
    this.#idle.delete(buffer);
    this.#since?.add(buffer);
    this.#pooled -= size;
    this.#noteUse();
    return buffer;
  }

  /** A buffer that no recorded work uses. */
  acquireFresh(bytes: number): GPUBuffer {
    const buffer = this.#create(Math.min(bufferSize(bytes), this.#largest));
    this.#pooled -= buffer.size;
    this.#noteUse();
    return buffer;
  }

  /** Counts a new buffer as pooled; the caller takes it out. */
  #create(size: number): GPUBuffer {
    this.#trimToCap(size);
    const { STORAGE, COPY_SRC, COPY_DST, INDIRECT } = BUFFER_USAGE;
    const buffer = this.#options.create({ size, usage: STORAGE | COPY_SRC | COPY_DST | INDIRECT });
    this.#all.set(buffer, this.#made++);
    this.#allocated += size;
    this.#pooled += size;
    return buffer;
  }

  release(buffer: GPUBuffer): void {
    if (this.#pins.has(buffer)) {
      this.#waiting.add(buffer);
      return;
    }
    if (this.#since !== undefined && !this.#since.has(buffer)) {
      this.#held.push(buffer);
      return;
    }
    const list = this.#free.get(buffer.size);
    if (list === undefined) this.#free.set(buffer.size, [buffer]);
    else list.splice(this.#placeOf(buffer, list), 0, buffer);
    this.#idle.add(buffer);
    this.#pooled += buffer.size;
    this.#trimToCap();
  }

  /**
   * From now until `endRecording` no buffer is destroyed, and a buffer already in use is not handed out when it is
   * released: a replay finds every buffer as the recorded steps found it. So that a recording of other sizes does not come on
   * top of all that an earlier one left, no more than 2 GiB of that is kept.
   */
  beginRecording(): void {
    this.trim(this.#options.capBytes ?? DEFAULT_CAP_BYTES);
    this.#since = new Set();
  }

  endRecording(): void {
    this.#since = undefined;
    const held = this.#held;
    this.#held = [];
    for (const buffer of held) this.release(buffer);
    this.#trimToCap();
  }

  /** Reserves a buffer, now if it is free, otherwise once it is released. */
  pin(buffer: GPUBuffer): void {
    this.#pins.set(buffer, (this.#pins.get(buffer) ?? 0) + 1);
    if (!this.#idle.has(buffer)) return;
    this.#takeOut(buffer);
    this.#noteUse();
    this.#waiting.add(buffer);
  }

  /** Whether a recording uses it. */
  isPinned(buffer: GPUBuffer): boolean {
    return this.#pins.has(buffer);
  }

  unpin(buffer: GPUBuffer): void {
    const pins = (this.#pins.get(buffer) ?? 0) - 1;
    if (pins > 0) {
      this.#pins.set(buffer, pins);
      return;
    }
    this.#pins.delete(buffer);
    if (this.#waiting.delete(buffer)) this.release(buffer);
  }

  /** A free buffer is free no more. */
  #takeOut(buffer: GPUBuffer): void {
    this.#idle.delete(buffer);
    const list = this.#free.get(buffer.size) as GPUBuffer[];
    list.splice(this.#placeOf(buffer, list), 1);
    if (list.length === 0) this.#free.delete(buffer.size);
    this.#pooled -= buffer.size;
  }

  /** Where a buffer is, or belongs, in a list of free buffers. */
  #placeOf(buffer: GPUBuffer, list: readonly GPUBuffer[]): number {
    const age = this.#all.get(buffer) ?? 0;
    let [low, high] = [0, list.length];
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#all.get(list[middle] as GPUBuffer) ?? 0) > age) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Gives the buffers released longest ago back to the device, until at most `bytes` remain free. */
  trim(bytes = 0): void {
    if (this.#since !== undefined) return;
    for (const buffer of this.#idle) {
      if (this.#pooled <= bytes) return;
      this.#takeOut(buffer);
      this.forget(buffer);
      this.#options.discard(buffer);
    }
  }

  /** Hands a buffer in use over to the caller. */
  forget(buffer: GPUBuffer): void {
    if (this.#all.delete(buffer)) this.#allocated -= buffer.size;
  }

  /** Destroys all buffers at once, including those in use. */
  destroy(): void {
    for (const buffer of this.#all.keys()) buffer.destroy();
    this.#all.clear();
    this.#free.clear();
    this.#idle.clear();
    this.#pins.clear();
    this.#waiting.clear();
    this.#pooled = 0;
    this.#allocated = 0;
  }
}

/** Bytes of the buffer that serves a request: a small set of sizes, so that buffers are reused. */
export function bufferSize(bytes: number): number {
  const least = Math.max(256, bytes);
  const power = 2 ** Math.ceil(Math.log2(least));
  if (power <= COARSE_BYTES) return power;
  const step = power / 16;
  return Math.ceil(least / step) * step;
}
