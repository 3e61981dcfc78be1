import { TopKError, toEngineError } from '@topk-attention/core';
import type { Sessions } from '../runtime/sessions.js';
import type { Graph } from './graph.js';
import type { AnyOperation, ChunkedOperation, OnnxNode, Operation } from './node.js';
import { pendingAncestors, schedule } from './schedule.js';
import { describeSegment } from './segment.js';

/** Computes nodes: collects what they need, cuts it into steps, runs one after the other. */
export class Executor {
  readonly #graph: Graph;
  readonly #sessions: Sessions;
  /** Evaluations run one at a time: a second one then finds the first one's results instead of running them again. */
  #tail: Promise<unknown> = Promise.resolve();

  constructor(graph: Graph, sessions: Sessions) {
    this.#graph = graph;
    this.#sessions = sessions;
  }

  /** Computes the nodes and hands them to `use`; they stay alive until then even if they are released meanwhile. */
  evaluate<R>(nodes: readonly OnnxNode[], use: () => R | Promise<R>): Promise<R> {
    const letGo = this.#graph.hold(nodes);
    const result = this.#tail.then(async () => {
      try {
        await this.#evaluate(nodes);
        return await use();
      } finally {
        letGo();
      }
    });
    this.#tail = result.catch(() => undefined);
    return result;
  }

  /** Resolves when nothing is running. */
  async idle(): Promise<void> {
    await this.#tail;
  }

  async #evaluate(nodes: readonly OnnxNode[]): Promise<void> {
    const order = pendingAncestors(nodes);
    for (const operation of order) this.#inheritFailure(operation);
    for (const node of nodes) this.#check(node);
    for (const step of schedule(order)) {
      if (step.kind === 'segment') await this.#runSegment(step.operations);
      else await this.#runChunked(step.operation);
    }
  }

  #check(node: OnnxNode): void {
    if (node.failure !== undefined) throw node.failure;
    if (node.storage === undefined && node.operation === undefined) {
      throw new TopKError('DISPOSED', 'tensor of the ONNX Runtime backend used after its release');
    }
  }

  #inheritFailure(operation: AnyOperation): void {
    const failed = operation.inputs.find((input) => input.failure !== undefined);
    if (failed?.failure !== undefined) this.#graph.fail([operation], failed.failure);
  }

  async #runSegment(operations: readonly Operation[]): Promise<void> {
    const { key, leaves, parameters, results, compile } = describeSegment(operations);
    await this.#guarded(operations, leaves, async () => {
      const inputs = [...leaves.map((leaf) => this.#graph.valueOf(leaf)), ...parameters];
      const values = await this.#sessions.run(key, compile, inputs);
      return results.map((node, index) => ({ node, value: values[index] }));
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
    const unpin = this.#graph.pin(inputs);
    try {
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

type OrtTensorOrNothing = ReturnType<Graph['valueOf']> | undefined;
