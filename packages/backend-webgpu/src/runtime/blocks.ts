import { UNIFORM_BYTES } from './pipelines.js';
import type { Step } from './step.js';

/** Where the uniform blocks and writes of some steps lie, packed one after the other. */
export interface Blocks {
  readonly data: Uint8Array;
  /** By step, in bytes; -1: the step has none. */
  readonly offsets: readonly number[];
}

/** Packs the uniform blocks of launches, and writes of at most `mostWriteBytes`. */
export function packBlocks(steps: readonly Step[], mostWriteBytes: number): Blocks {
  let bytes = 0;
  const offsets: number[] = [];
  for (const step of steps) {
    const size =
      step.kind === 'launch'
        ? UNIFORM_BYTES
        : step.kind === 'write' && step.data.byteLength <= mostWriteBytes
          ? Math.ceil(step.data.byteLength / UNIFORM_BYTES) * UNIFORM_BYTES
          : 0;
    offsets.push(size === 0 ? -1 : bytes);
    bytes += size;
  }
  const data = new Uint8Array(bytes);
  const words = new Uint32Array(data.buffer);
  for (const [index, step] of steps.entries()) {
    const offset = offsets[index] as number;
    if (offset < 0) continue;
    if (step.kind === 'launch') words.set(step.launch.uniforms, offset / 4);
    else if (step.kind === 'write') data.set(step.data, offset);
  }
  return { data, offsets };
}
