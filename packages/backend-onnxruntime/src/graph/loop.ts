import { bytesPerElement, type DType, type Shape, sizeOf } from '@topk-attention/core';
import { compileModel } from '../onnx/compile.js';
import { GraphBuilder } from '../onnx/graph-builder.js';
import type { OrtArray, OrtModule, OrtTensor } from '../runtime/ort.js';
import { dtypeOfParameter } from './dtypes.js';
import type { OnnxNode } from './node.js';
import type { Segment, SessionWork } from './segment.js';

/**
 * Values that differ between turns are stacked beforehand. Above this many bytes in all, the turns run one by one, not in
 * shorter loops: sessions of several lengths would each keep their own memory.
 */
const LARGEST_STACK_BYTES = 2 ** 23;

/**
 * Consecutive equal segments, as the chunks of a composed operation are, run as one loop in one session. Running sums then
 * stay inside the engine; otherwise they would be copied into JavaScript and back for every chunk.
 *
 * A leaf is the same value in every turn, a result of the previous turn (`carried`), or a small value that differs from
 * turn to turn (`stacked`), such as positions and starts of slices.
 */
export interface LoopedSegments {
  readonly turns: readonly Segment[];
  readonly carried: readonly Carried[];
  /** Positions in `leaves`. */
  readonly stacked: readonly number[];
  /** False if stacking would cost more than it saves. */
  readonly isSmall: boolean;
}

/** Leaf number `leaf` of a turn is result number `result` of the previous turn. */
interface Carried {
  readonly leaf: number;
  readonly result: number;
}

/** The longest loop that the segments begin with, or undefined if not even the first two form one. */
export function loopOf(segments: readonly Segment[]): LoopedSegments | undefined {
  const [first, second] = segments;
  if (first === undefined || second === undefined || !isEqual(first, second)) return undefined;
  const carried: Carried[] = [];
  const stacked: number[] = [];
  for (const [leaf, node] of second.leaves.entries()) {
    if (isSameValue(node, first.leaves[leaf] as OnnxNode)) continue;
    const result = first.results.indexOf(node);
    if (result >= 0) carried.push({ leaf, result });
    else stacked.push(leaf);
  }
  const bytesOfTurn = stacked.reduce((sum, leaf) => sum + bytesOf(first.leaves[leaf] as OnnxNode), 0);
  const turns = [first];
  for (const next of segments.slice(1)) {
    const before = turns.at(-1) as Segment;
    const isTurn =
      isEqual(first, next) &&
      next.leaves.every((node, leaf) => {
        const link = carried.find((one) => one.leaf === leaf);
        if (link !== undefined) return isHandedOn(before, next, link);
        return stacked.includes(leaf) ? isAtHand(node) : isSameValue(node, first.leaves[leaf] as OnnxNode);
      });
    if (!isTurn) break;
    turns.push(next);
  }
  if (turns.length === 1) return undefined;
  return { turns, carried, stacked, isSmall: turns.length * bytesOfTurn <= LARGEST_STACK_BYTES };
}

/** Two nodes may be views of one tensor. */
function isSameValue(a: OnnxNode, b: OnnxNode): boolean {
  return a === b || (a.storage !== undefined && a.storage === b.storage);
}

/** True for uploads and deferred leaves, whose values JavaScript has. */
function isAtHand({ storage, make }: OnnxNode): boolean {
  return make !== undefined || storage?.tensor.location === 'cpu';
}

function isEqual(a: Segment, b: Segment): boolean {
  return a.key === b.key;
}

/** True when only the next turn reads the result, so that it is not needed after the loop. */
function isHandedOn(before: Segment, next: Segment, { leaf, result }: Carried): boolean {
  const node = before.results[result] as OnnxNode;
  const uses = (before.innerUses.get(node) ?? 0) + (next.innerUses.get(node) ?? 0);
  return next.leaves[leaf] === node && !node.held && node.uses === uses;
}

function bytesOf({ shape, dtype }: OnnxNode): number {
  return sizeOf(shape) * bytesPerElement(dtype);
}

/** The loop as work for one session. */
export function describeLoop(ort: OrtModule, { turns, carried, stacked }: LoopedSegments): SessionWork {
  const first = turns[0] as Segment;
  const last = turns.at(-1) as Segment;
  const isStacked = new Set(stacked);
  const isCarried = new Set(carried.map(({ result }) => result));
  const ends = carried.map(({ result }) => result);
  const collected = [...first.results.keys()].filter((result) => !isCarried.has(result));
  const withTurns = (shape: Shape): Shape => [turns.length, ...shape];
  const typeOf = (node: OnnxNode | undefined): { type: DType; shape: Shape } => {
    const { dtype, shape } = node as OnnxNode;
    return { type: dtype, shape };
  };

  const compile = () => {
    const graph = new GraphBuilder();
    const leafNames = first.leaves.map(({ dtype, shape }, at) =>
      graph.input(`x${at}`, dtype, isStacked.has(at) ? withTurns(shape) : shape),
    );
    const parameterNames = first.parameters.map((parameter, at) =>
      graph.input(`p${at}`, dtypeOfParameter(parameter), withTurns(parameter.dims)),
    );
    const outputs = graph.loop(
      turns.length,
      carried.map(({ leaf }) => ({ value: leafNames[leaf] as string, ...typeOf(first.leaves[leaf]) })),
      collected.map((result) => typeOf(first.results[result])),
      (inner, turn, carriedNames) => {
        const ofTurn = (name: string): string => inner.op('Gather', [name, turn], { axis: 0 });
        const own = leafNames.map((name, at) => (isStacked.has(at) ? ofTurn(name) : name));
        for (const [at, { leaf }] of carried.entries()) own[leaf] = carriedNames[at] as string;
        const made = first.emit(inner, own, parameterNames.map(ofTurn));
        return [...ends, ...collected].map((result) => made[result] as string);
      },
    );
    const outputNames = outputs.map((name, at) => {
      const isEnd = at < ends.length;
      const { type, shape } = typeOf(
        first.results[(isEnd ? ends[at] : collected[at - ends.length]) as number],
      );
      return graph.output(name, type, isEnd ? shape : withTurns(shape));
    });
    return compileModel(graph, [...leafNames, ...parameterNames], outputNames);
  };

  const structure = carried.map(({ leaf, result }) => `${leaf}<${result}`);
  return {
    key: `loop[${turns.length}][${structure}][${stacked}];${first.key}`,
    leaves: [
      ...new Set([
        ...first.leaves,
        ...turns.flatMap(({ leaves }) => stacked.map((at) => leaves[at] as OnnxNode)),
      ]),
    ],
    arenaBytes: first.arenaBytes,
    compile,
    feeds: (valueOf) => [
      ...first.leaves.map((leaf, at) =>
        isStacked.has(at)
          ? stackOf(
              ort,
              turns.map(({ leaves }) => valueOf(leaves[at] as OnnxNode)),
            )
          : valueOf(leaf),
      ),
      ...first.parameters.map((_, at) =>
        stackOf(
          ort,
          turns.map(({ parameters }) => parameters[at] as OrtTensor),
        ),
      ),
    ],
    settle: (outputs) => [
      ...ends.map((result, at) => ({
        node: last.results[result] as OnnxNode,
        value: outputs[at] as OrtTensor,
      })),
      ...collected.flatMap((result, at) =>
        partsOf(ort, outputs[ends.length + at] as OrtTensor).map((value, turn) => ({
          node: turns[turn]?.results[result] as OnnxNode,
          value,
        })),
      ),
    ],
  };
}

function stackOf(ort: OrtModule, parts: readonly OrtTensor[]): OrtTensor {
  const { type, dims, data } = parts[0] as OrtTensor & { readonly data: OrtArray };
  const whole = new (data.constructor as new (length: number) => OrtArray)(parts.length * data.length);
  for (const [at, part] of parts.entries()) whole.set(part.data as never, at * data.length);
  return new ort.Tensor(type, whole, [parts.length, ...dims]);
}

/** The entries of the first axis, without a copy. */
function partsOf(ort: OrtModule, { type, dims, data }: OrtTensor): readonly OrtTensor[] {
  const [count = 0, ...shape] = dims;
  const size = sizeOf(shape);
  const values = data as OrtArray;
  return Array.from(
    { length: count },
    (_, at) => new ort.Tensor(type, values.subarray(at * size, (at + 1) * size), shape),
  );
}
