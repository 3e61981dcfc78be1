import { TopKError } from '@topk-attention/core';
import { toEngineError } from '@topk-attention/core/backend';
import { usedAfterDispose } from '../runtime/errors.js';
import type { Sessions } from '../runtime/sessions.js';
import type { Graph } from './graph.js';
import { describeLoop, loopOf } from './loop.js';
import type { AnyOperation, ChunkedOperation, OnnxNode } from './node.js';
import { pendingAncestors, type Step, schedule } from './schedule.js';
import { describeSegment, type Segment, type SessionWork } from './segment.js';

interface Waiting {
  readonly nodes: readonly OnnxNode[];
  /** Hands the computed nodes to the caller. */
  readonly deliver: () => Promise<void>;
  readonly reject: (error: unknown) => void;
}

/** Computes nodes: collects the operations that they need, cuts them into steps, and runs the steps in order. */
export class Executor {
  readonly #graph: Graph;
  readonly #sessions: Sessions;
  readonly #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #isClosed = false;

  constructor(graph: Graph, sessions: Sessions) {
    this.#graph = graph;
    this.#sessions = sessions;
  }

  /**
   * Computes the nodes and hands them to `use`; until then they stay alive even if they are released. Calls in the
   * same turn of the event loop are computed together; calls during a run wait for its end and use its results.
   */
  evaluate<R>(nodes: readonly OnnxNode[], use: () => R | Promise<R>): Promise<R> {
    if (this.#isClosed) return Promise.reject(usedAfterDispose());
    const letGo = this.#graph.hold(nodes);
    return new Promise<R>((resolve, reject) => {
      this.#waiting.push({ nodes, deliver: async () => resolve(await use()), reject });
      this.#running ??= this.#drain();
    }).finally(letGo);
  }

  /** Rejects waiting and later calls; resolves when nothing is running. */
  async close(): Promise<void> {
    this.#isClosed = true;
    for (const { reject } of this.#waiting.splice(0)) reject(usedAfterDispose());
    await this.#running;
  }

  async #drain(): Promise<void> {
    // Waits until all calls of the same turn have been made.
    await Promise.resolve();
    while (this.#waiting.length > 0) await this.#serve(this.#waiting.splice(0));
    this.#running = undefined;
  }

  async #serve(batch: readonly Waiting[]): Promise<void> {
    try {
      await this.#evaluate(batch.flatMap(({ nodes }) => nodes));
      for (const one of batch) await one.deliver().catch(one.reject);
    } catch (error) {
      // Run separately, each call gets its own error, or its result if another call failed.
      if (batch.length === 1) batch[0]?.reject(error);
      else for (const one of batch) await this.#serve([one]);
    }
  }

  async #evaluate(nodes: readonly OnnxNode[]): Promise<void> {
    const order = pendingAncestors(nodes);
    for (const operation of order) this.#inheritFailure(operation);
    for (const node of nodes) this.#check(node);
    this.#graph.supply(nodes);
    const steps = schedule(order);
    try {
      await this.#runSteps(steps);
    } finally {
      this.#graph.forgetSpare();
    }
  }

  async #runSteps(steps: readonly Step[]): Promise<void> {
    for (let at = 0; at < steps.length; ) {
      const step = steps[at] as Step;
      if (step.kind === 'chunked') {
        await this.#runChunked(step.operation);
        at++;
      } else {
        at += await this.#runSegments(segmentsFrom(steps, at));
      }
    }
  }

  #check(node: OnnxNode): void {
    if (node.failure !== undefined) throw node.failure;
    if (node.storage === undefined && node.operation === undefined && node.make === undefined) {
      throw new TopKError('DISPOSED', 'onnxruntime: a tensor was used after its storage was released');
    }
  }

  #inheritFailure(operation: AnyOperation): void {
    const failed = operation.inputs.find((input) => input.failure !== undefined);
    if (failed?.failure !== undefined) this.#graph.fail([operation], failed.failure);
  }

  /** Runs the first segment, or all segments that are turns of one loop; returns how many it ran. */
  async #runSegments(segments: readonly Segment[]): Promise<number> {
    const looped = loopOf(segments);
    if (looped?.isSmall) {
      await this.#runWork(describeLoop(this.#graph.ort, looped), looped.turns);
      return looped.turns.length;
    }
    const turns = looped?.turns ?? segments.slice(0, 1);
    for (const turn of turns) await this.#runWork(turn, [turn]);
    return turns.length;
  }

  async #runWork(work: SessionWork, segments: readonly Segment[]): Promise<void> {
    const operations = segments.flatMap((segment) => segment.operations);
    await this.#guarded(operations, work.leaves, async () => {
      const inputs = work.feeds((node) => this.#graph.valueOf(node));
      return work.settle(await this.#sessions.run(work, inputs));
    });
  }

  async #runChunked(operation: ChunkedOperation): Promise<void> {
    await this.#guarded([operation], operation.inputs, async () => {
      const values = await operation.execute(operation.inputs.map((input) => this.#graph.valueOf(input)));
      return operation.outputs.map((node, index) => ({ node, value: values[index] }));
    });
  }

  /** Pins the inputs while the work runs, settles its results, and poisons its operations if it throws. */
  async #guarded(
    operations: readonly AnyOperation[],
    inputs: readonly OnnxNode[],
    work: () => Promise<readonly { readonly node: OnnxNode; readonly value: OrtTensorOrNothing }[]>,
  ): Promise<void> {
    let unpin = (): void => undefined;
    try {
      this.#graph.supply(inputs);
      unpin = this.#graph.pin(inputs);
      for (const { node, value } of await work()) if (value !== undefined) this.#graph.settle(node, value);
      this.#graph.finish(operations);
    } catch (error) {
      const failure = toEngineError(error, 'onnxruntime');
      this.#graph.fail(operations, failure);
      throw failure;
    } finally {
      unpin();
    }
  }
}

/** The segments from a step on that have the same structure as the first. */
function segmentsFrom(steps: readonly Step[], start: number): readonly Segment[] {
  const segments: Segment[] = [];
  for (let at = start; at < steps.length; at++) {
    const step = steps[at] as Step;
    if (step.kind === 'chunked') break;
    const segment = describeSegment(step.operations);
    if (segment.key !== (segments[0] ?? segment).key) break;
    segments.push(segment);
  }
  return segments;
}

type OrtTensorOrNothing = ReturnType<Graph['valueOf']> | undefined;
