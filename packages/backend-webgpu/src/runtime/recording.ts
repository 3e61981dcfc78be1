import { philoxKey } from '@topk-attention/core/backend';
import type { BindGroups } from './bind-groups.js';
import { type Blocks, packBlocks } from './blocks.js';
import type { Dispatch, Encoding } from './encoding.js';
import type { Kernel, Launch, Span } from './kernel.js';
import type { Pipelines } from './pipelines.js';
import type { BufferPool } from './pool.js';
import type { Step } from './step.js';
import { BUFFER_USAGE } from './usage.js';

/** Two buffers of one size that swap roles from one replay to the next. */
export type BufferPair = readonly [GPUBuffer, GPUBuffer];

/** What a replay may change. */
export interface Replaceable {
  readonly seeds: readonly number[];
  readonly pairs: readonly BufferPair[];
}

/** What a recording needs from its stream. */
interface Context {
  readonly device: GPUDevice;
  readonly pipelines: Pipelines;
  readonly bindGroups: BindGroups;
  readonly pool: BufferPool;
  destroyLater(buffer: GPUBuffer): void;
}

type Commands = readonly ((encoding: Encoding) => void)[];

/**
 * Steps that were recorded once and can run again: with the same buffers, which it reserves, and the same uniforms,
 * written to the device once. Its commands are made at the first replay, when the pipelines are ready.
 */
export class Recording {
  readonly #context: Context;
  readonly #buffers: ReadonlySet<GPUBuffer>;
  readonly #steps: readonly Step[];
  readonly #packed: Blocks;
  /** For each seed: where its two words stand in the blocks, in bytes. */
  readonly #seedsAt: readonly (readonly number[])[];
  /** As recorded, and with the buffers of the pairs exchanged; made when first needed. */
  readonly #commands: [as: Commands | undefined, exchanged: Commands | undefined] = [undefined, undefined];
  readonly #partners = new Map<GPUBuffer, GPUBuffer>();
  #blocks: GPUBuffer | undefined;
  #isDisposed = false;
  /** Kernels that it launches. */
  readonly kernels: readonly Kernel[];

  /**
   * @param steps what was recorded, without `destroy` and `replay`
   * @param replaceable seeds and pairs that were used
   */
  constructor(context: Context, steps: readonly Step[], { seeds, pairs }: Replaceable) {
    this.#context = context;
    this.#steps = steps;
    this.#packed = packBlocks(steps, Number.POSITIVE_INFINITY);
    this.#seedsAt = placesOf(seeds, steps, this.#packed);
    for (const [one, other] of pairs) this.#partners.set(one, other).set(other, one);
    const kernels = new Map<string, Kernel>();
    const buffers = new Set<GPUBuffer>();
    for (const step of steps) {
      if (step.kind === 'launch') {
        const { kernel, workgroups } = step.launch;
        kernels.set(kernel.key, kernel);
        for (const { buffer } of step.launch.buffers) buffers.add(buffer);
        if ('indirect' in workgroups) buffers.add(workgroups.indirect.buffer);
      } else if (step.kind === 'copy') buffers.add(step.from.buffer).add(step.to.buffer);
      else if (step.kind === 'write') buffers.add(step.to.buffer);
      else if (step.kind === 'clear') buffers.add(step.span.buffer);
    }
    this.kernels = [...kernels.values()];
    this.#buffers = buffers;
    for (const buffer of buffers) context.pool.pin(buffer);
  }

  /** Bytes of the buffers that it keeps, and of its uniforms. */
  get bytes(): number {
    let bytes = this.#blocks?.size ?? 0;
    for (const { size } of this.#buffers) bytes += size;
    return bytes;
  }

  /** Whether every seed was found among the uniforms, so that replays can replace it. */
  get takesSeeds(): boolean {
    return this.#seedsAt.every((places) => places.length > 0);
  }

  /**
   * @param seeds replacements for the recorded ones, in the same order
   * @param isExchanged whether the buffers of each pair are exchanged
   */
  encode(encoding: Encoding, seeds: readonly number[], isExchanged: boolean): void {
    const blocks = this.#writtenBlocks();
    const commands = this.#commands[isExchanged ? 1 : 0] ?? this.#makeCommands(blocks, isExchanged);
    this.#commands[isExchanged ? 1 : 0] = commands;
    if (seeds.length > 0) {
      // A write comes before what is submitted after it, so what is already encoded has to be submitted first.
      encoding.submit();
      for (const [at, seed] of seeds.entries()) {
        const words = new Uint32Array(philoxKey(seed));
        for (const place of this.#seedsAt[at] as readonly number[]) {
          this.#context.device.queue.writeBuffer(blocks, place, words);
        }
      }
    }
    for (const command of commands) command(encoding);
  }

  /** Gives its buffers back. Replays already requested still run; there must be none afterwards. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    for (const buffer of this.#buffers) this.#context.pool.unpin(buffer);
    if (this.#blocks !== undefined) this.#context.destroyLater(this.#blocks);
  }

  #writtenBlocks(): GPUBuffer {
    if (this.#blocks !== undefined) return this.#blocks;
    const { device } = this.#context;
    const { data } = this.#packed;
    const { UNIFORM, COPY_SRC, COPY_DST } = BUFFER_USAGE;
    const usage = UNIFORM | COPY_SRC | COPY_DST;
    const blocks = device.createBuffer({ size: Math.max(256, data.byteLength), usage });
    this.#blocks = blocks;
    if (this.#isDisposed) this.#context.destroyLater(blocks);
    device.queue.writeBuffer(blocks, 0, data as Uint8Array<ArrayBuffer>);
    return blocks;
  }

  #makeCommands(blocks: GPUBuffer, isExchanged: boolean): Commands {
    const bufferOf = (buffer: GPUBuffer): GPUBuffer =>
      (isExchanged ? this.#partners.get(buffer) : undefined) ?? buffer;
    const spanOf = (span: Span): Span => ({ ...span, buffer: bufferOf(span.buffer) });
    return this.#steps.map((step, index) => {
      const offset = this.#packed.offsets[index] as number;
      if (step.kind === 'launch') {
        const dispatch = this.#dispatchOf(step.launch, spanOf, blocks, offset);
        return (encoding) => encoding.dispatch(dispatch);
      }
      if (step.kind === 'write') {
        const to = spanOf(step.to);
        const { byteLength } = step.data;
        return (encoding) => encoding.copy(blocks, offset, to.buffer, to.offset, byteLength);
      }
      if (step.kind === 'copy') {
        const [from, to] = [spanOf(step.from), spanOf(step.to)];
        return (encoding) => encoding.copy(from.buffer, from.offset, to.buffer, to.offset, from.size);
      }
      if (step.kind === 'clear') {
        const span = spanOf(step.span);
        return (encoding) => encoding.clear(span);
      }
      return () => {};
    });
  }

  #dispatchOf(
    { kernel, buffers, workgroups }: Launch,
    spanOf: (span: Span) => Span,
    blocks: GPUBuffer,
    offset: number,
  ): Dispatch {
    return {
      key: kernel.key,
      pipeline: this.#context.pipelines.ready(kernel) as GPUComputePipeline,
      group: this.#context.bindGroups.make(kernel, buffers.map(spanOf), blocks),
      blockAt: [offset],
      workgroups: 'indirect' in workgroups ? { indirect: spanOf(workgroups.indirect) } : workgroups,
    };
  }
}

/** Words below this are used as sizes and counts everywhere: a seed of such words could not be told apart from them. */
const LEAST_SEED_WORD = 2 ** 16;

/**
 * Where seeds stand among the uniforms of launches. Every shader gets a seed as two adjacent words (`philoxKey`). The
 * words of a hash, such as seeds by path, occur elsewhere by chance with a probability of 2^-53; other seeds are not
 * searched for.
 */
function placesOf(
  seeds: readonly number[],
  steps: readonly Step[],
  { data, offsets }: Blocks,
): readonly (readonly number[])[] {
  const places = seeds.map((): number[] => []);
  if (seeds.length === 0) return places;
  const words = new Uint32Array(data.buffer);
  const bySeed = new Map<number, number[]>();
  for (const [index, seed] of seeds.entries()) {
    const [low, high] = philoxKey(seed);
    if (low < LEAST_SEED_WORD || high === 0) continue;
    bySeed.set(seed, places[index] as number[]);
  }
  for (const [index, step] of steps.entries()) {
    if (step.kind !== 'launch') continue;
    const first = (offsets[index] as number) / 4;
    for (let at = first; at + 1 < first + step.launch.uniforms.length; at++) {
      // What `philoxKey` took apart.
      const seed = (words[at + 1] as number) * 2 ** 32 + (words[at] as number);
      bySeed.get(seed)?.push(4 * at);
    }
  }
  return places;
}
