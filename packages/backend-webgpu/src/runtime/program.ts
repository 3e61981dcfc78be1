import { type Blocks, packBlocks } from './blocks.js';
import { blocksBuffer, buffersOf, type CommandContext, CommandSets, kernelsOf } from './commands.js';
import { DryBuffer } from './dry-buffer.js';
import type { Encoding } from './encoding.js';
import type { Kernel, Span } from './kernel.js';
import type { Step } from './step.js';

/** Most sets of buffers whose commands a segment keeps, such as those of a model's layers: a choice. */
const MOST_SETS = 128;

/** What a program needs of its stream. */
interface Context extends CommandContext {
  destroyLater(buffer: GPUBuffer): void;
}

/** Where a program runs. */
interface Host {
  scratch(bytes: number): Span;
  release(span: Span): void;
  flush(): void;
  runSegment(segment: Segment, spans: readonly Span[]): void;
}

/** Spans have numbers: first those that the caller gives, then scratch in the order of its requests. */
type Event =
  | { readonly kind: 'scratch'; readonly number: number; readonly bytes: number }
  | { readonly kind: 'release'; readonly number: number }
  | { readonly kind: 'segment'; readonly segment: Segment }
  | { readonly kind: 'flush' };

/**
 * What a function of some buffers asked of a stream, to be asked again for other buffers: without making its uniforms,
 * and mostly without making bind groups.
 */
export class Program {
  readonly #events: readonly Event[];

  constructor(events: readonly Event[]) {
    this.#events = events;
  }

  run(host: Host, given: readonly Span[]): void {
    const spans = [...given];
    for (const event of this.#events) {
      if (event.kind === 'scratch') spans[event.number] = host.scratch(event.bytes);
      else if (event.kind === 'release') host.release(spans[event.number] as Span);
      else if (event.kind === 'segment') host.runSegment(event.segment, spans);
      else host.flush();
    }
  }

  /** Frees what it keeps on the device; it can still run. */
  forget(): void {
    for (const event of this.#events) if (event.kind === 'segment') event.segment.forget();
  }
}

/** Takes down what is asked of a stream. Scratch has no storage here. */
export class Capture {
  readonly #context: Context;
  readonly #numbers = new Map<GPUBuffer, number>();
  readonly #events: Event[] = [];
  #steps: Step[] = [];

  /** @param given spans of different buffers, in whose place the caller's spans are later */
  constructor(context: Context, given: readonly Span[]) {
    this.#context = context;
    for (const { buffer } of given) this.#numbers.set(buffer, this.#numbers.size);
  }

  scratch(size: number): Span {
    const buffer = new DryBuffer({ size, usage: 0 });
    const number = this.#numbers.size;
    this.#numbers.set(buffer, number);
    this.#events.push({ kind: 'scratch', number, bytes: size });
    return { buffer, offset: 0, size };
  }

  release({ buffer }: Span): void {
    this.#events.push({ kind: 'release', number: this.#numbers.get(buffer) as number });
  }

  step(step: Step): void {
    this.#steps.push(step);
  }

  flush(): void {
    if (this.#steps.length === 0) return;
    const segment = new Segment(this.#context, this.#steps, this.#numbers);
    this.#steps = [];
    this.#events.push({ kind: 'segment', segment }, { kind: 'flush' });
  }

  program(): Program {
    if (this.#steps.length > 0) {
      this.#events.push({
        kind: 'segment',
        segment: new Segment(this.#context, this.#steps, this.#numbers),
      });
    }
    return new Program(this.#events);
  }
}

/** The steps of a program up to its next flush. */
export class Segment {
  readonly #context: Context;
  readonly #packed: Blocks;
  readonly #commands: CommandSets;
  /** Numbers of the program's spans that it uses: others make no difference to its commands. */
  readonly #used: readonly number[];
  #blocks: GPUBuffer | undefined;
  /** Kernels that it launches; none once they are known to be ready. */
  kernels: readonly Kernel[];

  constructor(context: Context, steps: readonly Step[], numbers: ReadonlyMap<GPUBuffer, number>) {
    this.#context = context;
    this.#packed = packBlocks(steps, Number.POSITIVE_INFINITY);
    const { offsets } = this.#packed;
    const differing = [...buffersOf(steps)].filter((buffer) => numbers.has(buffer));
    this.#used = differing.map((buffer) => numbers.get(buffer) as number);
    const own = new Map(differing.map((buffer, at) => [buffer, at]));
    this.#commands = new CommandSets(context, { steps, offsets, numbers: own }, MOST_SETS);
    this.kernels = kernelsOf(steps);
  }

  /** @param spans in the order of their numbers */
  encode(encoding: Encoding, spans: readonly Span[]): void {
    this.#blocks ??= blocksBuffer(this.#context.device, this.#packed.data);
    const own = this.#used.map((number) => spans[number] as Span);
    for (const command of this.#commands.get(own, this.#blocks)) command(encoding);
    this.kernels = [];
  }

  forget(): void {
    this.#commands.clear();
    if (this.#blocks !== undefined) this.#context.destroyLater(this.#blocks);
    this.#blocks = undefined;
  }
}
