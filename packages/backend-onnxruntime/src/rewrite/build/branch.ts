import type { GraphProto } from '../../onnx/messages.js';
import { innerGraph, type NodeWriter, typed } from './node-writer.js';

/** Writes values of the same types, one way or another. */
export type Emit = (writer: NodeWriter) => readonly string[];

/** One of two graphs, chosen when the model runs. Both see every value made before. */
export function emitIf(
  writer: NodeWriter,
  condition: string,
  types: readonly number[],
  whenTrue: Emit,
  whenFalse: Emit,
): readonly string[] {
  const branch = (name: string, emit: Emit): GraphProto => {
    const inner = writer.inner();
    const made = emit(inner);
    return innerGraph(
      name,
      inner,
      [],
      made.map((value, at) => typed(value, types[at] as number)),
    );
  };
  return writer.ops('If', [condition], types.length, {
    then_branch: { graph: branch('then', whenTrue) },
    else_branch: { graph: branch('else', whenFalse) },
  });
}
