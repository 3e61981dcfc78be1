import type { BindGroups } from './bind-groups.js';
import { packBlocks } from './blocks.js';
import { Encoding } from './encoding.js';
import type { Span } from './kernel.js';
import type { Pipelines } from './pipelines.js';
import type { Profile } from './profile.js';
import type { Step } from './step.js';
import { BUFFER_USAGE } from './usage.js';

/**
 * Writes up to this size travel with the uniform blocks and are copied on the device, so that they do not end a
 * submission.
 */
const SMALL_WRITE_BYTES = 1 << 14;
/** Larger ones go to the queue in pieces of this size. */
const WRITE_PIECE_BYTES = 1 << 28;

/** Encodes steps whose pipelines are ready, and hands them to the device's queue. */
export class Submitter {
  readonly #device: GPUDevice;
  readonly #pipelines: Pipelines;
  readonly #bindGroups: BindGroups;
  #blocks: GPUBuffer | undefined;
  #launches = 0;
  #submissions = 0;

  constructor(device: GPUDevice, pipelines: Pipelines, bindGroups: BindGroups) {
    this.#device = device;
    this.#pipelines = pipelines;
    this.#bindGroups = bindGroups;
  }

  /** Counts since creation. */
  get counts(): { readonly launches: number; readonly submissions: number } {
    return { launches: this.#launches, submissions: this.#submissions };
  }

  /** @param profile measures every launch */
  submit(steps: readonly Step[], profile: Profile | undefined): void {
    const { buffer: blocks, offsets } = this.#writeBlocks(steps);
    const encoding = new Encoding(this.#device, profile);
    const destroyed: GPUBuffer[] = [];
    for (const [index, step] of steps.entries()) {
      const offset = offsets[index] as number;
      if (step.kind === 'launch') {
        const { kernel, buffers, workgroups } = step.launch;
        encoding.dispatch({
          key: kernel.key,
          pipeline: this.#pipelines.ready(kernel) as GPUComputePipeline,
          group: this.#bindGroups.get(kernel, buffers, blocks),
          blockAt: [offset],
          workgroups,
        });
      } else if (step.kind === 'segment') step.segment.encode(encoding, step.spans);
      else if (step.kind === 'replay') {
        step.recording.encode(encoding, step.seeds, step.isExchanged, step.results);
      } else if (step.kind === 'destroy') destroyed.push(step.buffer);
      else if (step.kind === 'clear') encoding.clear(step.span);
      else if (step.kind === 'copy') {
        const { from, to } = step;
        encoding.copy(from.buffer, from.offset, to.buffer, to.offset, from.size);
      } else if (offset < 0) {
        // Too long to travel with the blocks: the queue takes it between two submissions.
        encoding.submit();
        this.write(step.to, step.data);
      } else encoding.copy(blocks, offset, step.to.buffer, step.to.offset, step.data.byteLength);
    }
    encoding.submit();
    this.#launches += encoding.counts.launches;
    this.#submissions += encoding.counts.submissions;
    for (const buffer of destroyed) buffer.destroy();
  }

  /** Writes bytes now, after everything submitted so far. */
  write(to: Span, data: Uint8Array): void {
    for (let at = 0; at < data.byteLength; at += WRITE_PIECE_BYTES) {
      const size = Math.min(WRITE_PIECE_BYTES, data.byteLength - at);
      this.#device.queue.writeBuffer(
        to.buffer,
        to.offset + at,
        data.buffer as ArrayBuffer,
        data.byteOffset + at,
        size,
      );
    }
  }

  destroy(): void {
    this.#blocks?.destroy();
  }

  /** Writes blocks in a single write. One buffer serves all submissions: writes and submissions happen in order. */
  #writeBlocks(steps: readonly Step[]): { readonly buffer: GPUBuffer; readonly offsets: readonly number[] } {
    const { data, offsets } = packBlocks(steps, SMALL_WRITE_BYTES);
    if (this.#blocks === undefined || this.#blocks.size < data.byteLength) {
      const { UNIFORM, COPY_SRC, COPY_DST } = BUFFER_USAGE;
      this.#blocks?.destroy();
      const size = 2 ** Math.ceil(Math.log2(Math.max(data.byteLength, 1 << 16)));
      this.#blocks = this.#device.createBuffer({ size, usage: UNIFORM | COPY_SRC | COPY_DST });
    }
    if (data.byteLength > 0) {
      this.#device.queue.writeBuffer(this.#blocks, 0, data as Uint8Array<ArrayBuffer>);
    }
    return { buffer: this.#blocks, offsets };
  }
}
