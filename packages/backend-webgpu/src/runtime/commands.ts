import type { BindGroups } from './bind-groups.js';
import type { Encoding } from './encoding.js';
import type { Kernel, Span } from './kernel.js';
import type { Pipelines } from './pipelines.js';
import type { Step } from './step.js';
import { BUFFER_USAGE } from './usage.js';

/** A command that can be encoded any number of times. */
type Command = (encoding: Encoding) => void;

/** What commands are made with. */
export interface CommandContext {
  readonly device: GPUDevice;
  readonly pipelines: Pipelines;
  readonly bindGroups: BindGroups;
}

/** The steps that commands are made of. */
interface Steps {
  readonly steps: readonly Step[];
  /** Where each step's uniform block or data lie in the blocks, in bytes. */
  readonly offsets: readonly number[];
  /** Numbers of the buffers that differ from run to run. */
  readonly numbers: ReadonlyMap<GPUBuffer, number>;
  /** In whose place another buffer always stands. */
  readonly partners?: ReadonlyMap<GPUBuffer, GPUBuffer>;
}

/** Commands of the same steps for several sets of buffers, as when work gets its buffers from a pool. */
export class CommandSets {
  readonly #context: CommandContext;
  readonly #steps: Steps;
  readonly #most: number;
  /** Of the steps whose buffers are always the same. */
  readonly #fixed: (Command | undefined)[] = [];
  /** By the buffers and offsets of the spans. */
  readonly #sets = new Map<string, readonly Command[]>();
  #latest: { readonly spans: readonly Span[]; readonly commands: readonly Command[] } | undefined;

  /** @param most sets that are kept; beyond them all are dropped */
  constructor(context: CommandContext, steps: Steps, most: number) {
    this.#context = context;
    this.#steps = steps;
    this.#most = most;
  }

  /**
   * Commands whose pipelines are ready.
   *
   * @param spans in whose places the buffers with numbers lie, by number
   * @param blocks uniform blocks and the data of writes
   */
  get(spans: readonly Span[], blocks: GPUBuffer): readonly Command[] {
    if (this.#latest !== undefined && areSame(this.#latest.spans, spans)) return this.#latest.commands;
    let key = '';
    for (const { buffer, offset } of spans) key += `${this.#context.bindGroups.idOf(buffer)},${offset} `;
    let commands = this.#sets.get(key);
    if (commands === undefined) {
      commands = this.#steps.steps.map((step, at) => this.#fixed[at] ?? this.#make(step, at, spans, blocks));
      if (this.#sets.size >= this.#most) this.#sets.clear();
      this.#sets.set(key, commands);
    }
    this.#latest = { spans, commands };
    return commands;
  }

  clear(): void {
    this.#fixed.length = 0;
    this.#sets.clear();
    this.#latest = undefined;
  }

  #make(step: Step, at: number, spans: readonly Span[], blocks: GPUBuffer): Command {
    const { offsets, numbers, partners } = this.#steps;
    let isFixed = true;
    const spanOf = (span: Span): Span => {
      const number = numbers.get(span.buffer);
      if (number === undefined) {
        const partner = partners?.get(span.buffer);
        return partner === undefined ? span : { ...span, buffer: partner };
      }
      isFixed = false;
      const { buffer, offset } = spans[number] as Span;
      return { buffer, offset: offset + span.offset, size: span.size };
    };
    const command = commandOf(this.#context, step, blocks, offsets[at] as number, spanOf);
    if (isFixed) this.#fixed[at] = command;
    return command;
  }
}

function areSame(a: readonly Span[], b: readonly Span[]): boolean {
  if (a.length !== b.length) return false;
  for (let at = 0; at < a.length; at++) {
    const [one, other] = [a[at] as Span, b[at] as Span];
    if (one.buffer !== other.buffer || one.offset !== other.offset) return false;
  }
  return true;
}

function commandOf(
  { pipelines, bindGroups }: CommandContext,
  step: Step,
  blocks: GPUBuffer,
  offset: number,
  spanOf: (span: Span) => Span,
): Command {
  if (step.kind === 'launch') {
    const { kernel, buffers, workgroups } = step.launch;
    const dispatch = {
      key: kernel.key,
      pipeline: pipelines.ready(kernel) as GPUComputePipeline,
      group: bindGroups.make(kernel, buffers.map(spanOf), blocks),
      blockAt: [offset] as const,
      workgroups: 'indirect' in workgroups ? { indirect: spanOf(workgroups.indirect) } : workgroups,
    };
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
}

/** A buffer with packed blocks, written once. */
export function blocksBuffer(device: GPUDevice, data: Uint8Array): GPUBuffer {
  const { UNIFORM, COPY_SRC, COPY_DST } = BUFFER_USAGE;
  const usage = UNIFORM | COPY_SRC | COPY_DST;
  const blocks = device.createBuffer({ size: Math.max(256, data.byteLength), usage });
  device.queue.writeBuffer(blocks, 0, data as Uint8Array<ArrayBuffer>);
  return blocks;
}

/** The kernels that steps launch, each once. */
export function kernelsOf(steps: readonly Step[]): readonly Kernel[] {
  const kernels = new Map<string, Kernel>();
  for (const step of steps) {
    if (step.kind === 'launch') kernels.set(step.launch.kernel.key, step.launch.kernel);
  }
  return [...kernels.values()];
}

/** The buffers that steps use, each once. */
export function buffersOf(steps: readonly Step[]): Set<GPUBuffer> {
  const buffers = new Set<GPUBuffer>();
  for (const step of steps) {
    if (step.kind === 'launch') {
      const { workgroups } = step.launch;
      for (const { buffer } of step.launch.buffers) buffers.add(buffer);
      if ('indirect' in workgroups) buffers.add(workgroups.indirect.buffer);
    } else if (step.kind === 'copy') buffers.add(step.from.buffer).add(step.to.buffer);
    else if (step.kind === 'write') buffers.add(step.to.buffer);
    else if (step.kind === 'clear') buffers.add(step.span.buffer);
  }
  return buffers;
}
