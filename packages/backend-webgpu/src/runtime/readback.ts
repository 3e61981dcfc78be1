import type { Span } from './kernel.js';
import { BUFFER_USAGE, MAP_MODE_READ } from './usage.js';

/** Results come back in pieces of at most this size: not every engine can map 2 GiB at once. */
const PIECE_BYTES = 1 << 28;
/** Staging buffers up to this size are kept, a few of them. */
const KEPT_BYTES = 1 << 20;
const MOST_KEPT = 8;

/** One reading of bytes: copies are recorded when it starts. */
export interface Reading {
  /** Call once, after the copies are submitted. */
  bytes(): Promise<Uint8Array>;
  /** Call at the end, whatever the outcome. */
  end(failed: boolean): void;
}

/** Staging buffers: results are copied into them and mapped. */
export class Readback {
  readonly #create: (descriptor: GPUBufferDescriptor) => GPUBuffer;
  #kept: GPUBuffer[] = [];

  constructor(create: (descriptor: GPUBufferDescriptor) => GPUBuffer) {
    this.#create = create;
  }

  start(span: Span, copy: (from: Span, to: Span) => void): Reading {
    const pieces: { readonly staging: GPUBuffer; readonly at: number; readonly size: number }[] = [];
    for (let at = 0; at < span.size; at += PIECE_BYTES) {
      const size = Math.min(PIECE_BYTES, span.size - at);
      const staging = this.#take(size);
      copy({ buffer: span.buffer, offset: span.offset + at, size }, { buffer: staging, offset: 0, size });
      pieces.push({ staging, at, size });
    }
    return {
      bytes: async () => {
        const result = new Uint8Array(span.size);
        await Promise.all(pieces.map(({ staging, size }) => staging.mapAsync(MAP_MODE_READ, 0, size)));
        for (const { staging, at, size } of pieces) {
          result.set(new Uint8Array(staging.getMappedRange(0, size)), at);
          staging.unmap();
        }
        return result;
      },
      end: (failed) => {
        for (const { staging } of pieces) {
          if (!failed && staging.size <= KEPT_BYTES && this.#kept.length < MOST_KEPT)
            this.#kept.push(staging);
          else staging.destroy();
        }
      },
    };
  }

  destroy(): void {
    for (const staging of this.#kept) staging.destroy();
    this.#kept = [];
  }

  #take(size: number): GPUBuffer {
    const found = this.#kept.findIndex((staging) => staging.size >= size);
    if (found >= 0) return this.#kept.splice(found, 1)[0] as GPUBuffer;
    const { MAP_READ, COPY_DST } = BUFFER_USAGE;
    return this.#create({ size: Math.max(size, 4096), usage: MAP_READ | COPY_DST });
  }
}
