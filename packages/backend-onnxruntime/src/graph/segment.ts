import { sizeOf } from '@topk-attention/core';
import { GraphBuilder } from '../onnx/graph-builder.js';
import { encodeModel } from '../onnx/proto.js';
import type { OrtTensor } from '../runtime/ort.js';
import type { CompiledGraph } from '../runtime/sessions.js';
import { dtypeOfParameter } from './dtypes.js';
import type { OnnxNode, Operation } from './node.js';

/**
 * A segment of the graph seen from outside: what it reads, what others will read of it, and a key that is equal for
 * equal structures. Values (weights, uploads, starts of slices) are no part of the key, so another layer, token or
 * chunk finds the session compiled.
 */
export interface Segment {
  readonly key: string;
  readonly leaves: readonly OnnxNode[];
  readonly parameters: readonly OrtTensor[];
  readonly results: readonly OnnxNode[];
  compile(): { readonly model: Uint8Array; readonly graph: CompiledGraph };
  /** Guess of what the engine keeps for it: its largest value, twice, and as much again for the others. */
  readonly arenaBytes: number;
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
  // Whatever a handle or an operation of a later step can still ask for becomes an output, so nothing runs twice.
  const results = produced.filter((node) => node.held || node.uses > (innerUses.get(node) ?? 0));
  key.push(`->${results.map((node) => ids.get(node))}`);

  const compile = () => {
    const graph = new GraphBuilder();
    const names = new Map<OnnxNode, string>();
    const inputNames = leaves.map((leaf, index) => {
      const name = graph.input(`x${index}`, leaf.dtype, leaf.shape);
      names.set(leaf, name);
      return name;
    });
    const parameterNames = parameters.map((parameter, index) =>
      graph.input(`p${index}`, dtypeOfParameter(parameter), parameter.dims),
    );
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
    const outputNames = results.map((node) =>
      graph.output(names.get(node) as string, node.dtype, node.shape),
    );
    return {
      model: encodeModel(graph.finish()),
      graph: { inputNames: [...inputNames, ...parameterNames], outputNames },
    };
  };
  const largest = produced.reduce((most, { shape }) => Math.max(most, 4 * sizeOf(shape)), 0);
  return { key: key.join(';'), leaves, parameters, results, compile, arenaBytes: 4 * largest };
}
