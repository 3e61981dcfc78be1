import { sizeOf } from '@topk-attention/core';
import { compileModel } from '../onnx/compile.js';
import { GraphBuilder } from '../onnx/graph-builder.js';
import type { OrtTensor } from '../runtime/ort.js';
import type { SessionSpec } from '../runtime/sessions.js';
import { dtypeOfParameter } from './dtypes.js';
import type { OnnxNode, Operation } from './node.js';

/** Work for one session: what it reads, a key that is equal for equal structures, and where its outputs go. */
export interface SessionWork extends SessionSpec {
  readonly leaves: readonly OnnxNode[];
  /** The session's inputs. */
  feeds(valueOf: (node: OnnxNode) => OrtTensor): readonly OrtTensor[];
  /** The nodes that the session's outputs belong to. */
  settle(outputs: readonly OrtTensor[]): readonly { readonly node: OnnxNode; readonly value: OrtTensor }[];
}

/**
 * A segment of the graph seen from outside: what it reads, what others will read from it, and a key that is equal for
 * equal structures. Values (weights, uploads, starts of slices) are not part of the key, so another layer, token or
 * chunk finds the session already compiled.
 */
export interface Segment extends SessionWork {
  readonly operations: readonly Operation[];
  readonly parameters: readonly OrtTensor[];
  readonly results: readonly OnnxNode[];
  /** How often its own operations read each node. */
  readonly innerUses: ReadonlyMap<OnnxNode, number>;
  /** Adds the segment's nodes to a graph and returns the names of the results. */
  emit(graph: GraphBuilder, leaves: readonly string[], parameters: readonly string[]): readonly string[];
}

export function describeSegment(operations: readonly Operation[]): Segment {
  const ids = new Map<OnnxNode, number>();
  const leaves: OnnxNode[] = [];
  const parameters: OrtTensor[] = [];
  const innerUses = new Map<OnnxNode, number>();
  const produced: OnnxNode[] = [];
  const key: string[] = [];
  for (const operation of operations) {
    const inputs = operation.inputs.map((input) => {
      innerUses.set(input, (innerUses.get(input) ?? 0) + 1);
      let id = ids.get(input);
      if (id === undefined) {
        id = ids.size;
        ids.set(input, id);
        leaves.push(input);
        key.push(`${id}=${input.dtype}[${input.shape}]`);
      }
      return id;
    });
    for (const parameter of operation.parameters) parameters.push(parameter);
    for (const output of operation.outputs) {
      ids.set(output, ids.size);
      produced.push(output);
    }
    key.push(`${operation.key}(${inputs})`);
  }
  // Every value that a handle or a later step may still need becomes an output, so nothing runs twice.
  const results = produced.filter((node) => node.held || node.uses > (innerUses.get(node) ?? 0));
  key.push(`->${results.map((node) => ids.get(node))}`);

  const emit: Segment['emit'] = (graph, leafNames, parameterNames) => {
    const names = new Map(leaves.map((leaf, index) => [leaf, leafNames[index] as string]));
    let parameter = 0;
    for (const operation of operations) {
      const own = parameterNames.slice(parameter, parameter + operation.parameters.length);
      parameter += own.length;
      const outputs = operation.emit(
        graph,
        operation.inputs.map((input) => names.get(input) as string),
        own,
      );
      for (const [index, output] of operation.outputs.entries()) names.set(output, outputs[index] as string);
    }
    return results.map((node) => names.get(node) as string);
  };
  const compile = () => {
    const graph = new GraphBuilder();
    const leafNames = leaves.map((leaf, index) => graph.input(`x${index}`, leaf.dtype, leaf.shape));
    const parameterNames = parameters.map((parameter, index) =>
      graph.input(`p${index}`, dtypeOfParameter(parameter), parameter.dims),
    );
    const outputNames = emit(graph, leafNames, parameterNames).map((name, index) => {
      const { dtype, shape } = results[index] as OnnxNode;
      return graph.output(name, dtype, shape);
    });
    return compileModel(graph, [...leafNames, ...parameterNames], outputNames);
  };
  // An estimate of the arena: the largest value twice, and as much again for all others.
  const largest = produced.reduce((most, { shape }) => Math.max(most, 4 * sizeOf(shape)), 0);
  return {
    key: key.join(';'),
    operations,
    leaves,
    parameters,
    results,
    innerUses,
    emit,
    compile,
    arenaBytes: 4 * largest,
    feeds: (valueOf) => [...leaves.map(valueOf), ...parameters],
    settle: (outputs) => results.map((node, index) => ({ node, value: outputs[index] as OrtTensor })),
  };
}
