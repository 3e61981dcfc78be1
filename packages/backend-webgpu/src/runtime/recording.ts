import { philoxKey } from '@topk-attention/core/backend';
import { type Blocks, packBlocks } from './blocks.js';
import { blocksBuffer, buffersOf, type CommandContext, CommandSets, kernelsOf } from './commands.js';
import type { Encoding } from './encoding.js';
import type { Kernel, Span } from './kernel.js';
import type { BufferPool } from './pool.js';
import type { Step } from './step.js';

/** Two buffers of one size that swap roles from one replay to the next. */
export type BufferPair = readonly [GPUBuffer, GPUBuffer];

/** What a replay may change. */
export interface Replaceable {
  readonly seeds: readonly number[];
  readonly pairs: readonly BufferPair[];
  /** Buffers that another takes the place of in every replay: what they hold beforehand does not count. */
  readonly results: readonly GPUBuffer[];
}

/** Most sets of results whose commands are kept, those that a caller holds at a time: a choice. */
const MOST_SETS = 8;

/** What a recording needs from its stream. */
interface Context extends CommandContext {
  readonly pool: BufferPool;
  destroyLater(buffer: GPUBuffer): void;
}

/**
 * Steps that were recorded once and can run again: with the same buffers, which it reserves, and the same uniforms,
 * written to the device once. Its commands are made at the first replay, when the pipelines are ready.
 */
export class Recording {
  readonly #context: Context;
  readonly #buffers: ReadonlySet<GPUBuffer>;
  readonly #packed: Blocks;
  /** For each seed: where its two words stand in the blocks, in bytes. */
  readonly #seedsAt: readonly (readonly number[])[];
  /** As recorded, and with the buffers of the pairs exchanged. */
  readonly #commands: readonly [as: CommandSets, exchanged: CommandSets];
  #blocks: GPUBuffer | undefined;
  #isDisposed = false;
  /** Kernels that it launches. */
  readonly kernels: readonly Kernel[];

  /**
   * @param steps what was recorded, without `destroy` and `replay`
   * @param replaceable seeds and pairs that were used
   */
  constructor(context: Context, steps: readonly Step[], { seeds, pairs, results }: Replaceable) {
    this.#context = context;
    this.#packed = packBlocks(steps, Number.POSITIVE_INFINITY);
    this.#seedsAt = placesOf(seeds, steps, this.#packed);
    const { offsets } = this.#packed;
    const numbers = new Map(results.map((buffer, number) => [buffer, number]));
    const partners = new Map<GPUBuffer, GPUBuffer>();
    for (const [one, other] of pairs) partners.set(one, other).set(other, one);
    this.#commands = [
      new CommandSets(context, { steps, offsets, numbers }, MOST_SETS),
      new CommandSets(context, { steps, offsets, numbers, partners }, MOST_SETS),
    ];
    this.kernels = kernelsOf(steps);
    const buffers = buffersOf(steps);
    for (const buffer of results) buffers.delete(buffer);
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
   * @param results in whose places the results go, in the recorded order
   */
  encode(encoding: Encoding, seeds: readonly number[], isExchanged: boolean, results: readonly Span[]): void {
    const blocks = this.#writtenBlocks();
    const commands = this.#commands[isExchanged ? 1 : 0].get(results, blocks);
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
    const blocks = blocksBuffer(this.#context.device, this.#packed.data);
    this.#blocks = blocks;
    if (this.#isDisposed) this.#context.destroyLater(blocks);
    return blocks;
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
