/** Buffers above this size are rounded to an eighth of their power of two, smaller ones to a power of two. */
const COARSE_BYTES = 1 << 16;

/**
 * Buffers for reuse. Work runs in the order it was recorded, so a buffer may be handed out again as soon as its last user
 * was recorded.
 */
export class BufferPool {
  readonly #device: GPUDevice;
  readonly #free = new Map<number, GPUBuffer[]>();
  #pooled = 0;

  constructor(device: GPUDevice) {
    this.#device = device;
  }

  /** Bytes that lie ready. */
  get pooledBytes(): number {
    return this.#pooled;
  }

  /** A buffer of at least `bytes`, its content undefined. */
  acquire(bytes: number): GPUBuffer {
    const size = bufferSize(bytes);
    const found = this.#free.get(size)?.pop();
    if (found !== undefined) {
      this.#pooled -= size;
      return found;
    }
    const { STORAGE, COPY_SRC, COPY_DST, INDIRECT } = GPUBufferUsage;
    return this.#device.createBuffer({ size, usage: STORAGE | COPY_SRC | COPY_DST | INDIRECT });
  }

  release(buffer: GPUBuffer): void {
    const list = this.#free.get(buffer.size);
    if (list === undefined) this.#free.set(buffer.size, [buffer]);
    else list.push(buffer);
    this.#pooled += buffer.size;
  }

  /** Takes every free buffer out of the pool, for the caller to destroy when no recorded work names them. */
  drain(): readonly GPUBuffer[] {
    const buffers = Array.from(this.#free.values()).flat();
    this.#free.clear();
    this.#pooled = 0;
    return buffers;
  }
}

/** Bytes of the buffer that serves a request: a few sizes, so that buffers are found again. */
export function bufferSize(bytes: number): number {
  const least = Math.max(256, bytes);
  const power = 2 ** Math.ceil(Math.log2(least));
  if (power <= COARSE_BYTES) return power;
  const step = power / 16;
  return Math.ceil(least / step) * step;
}
