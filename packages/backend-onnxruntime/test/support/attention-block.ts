import * as ort from 'onnxruntime-node';
import { expect } from 'vitest';
import { subgraphsOf } from '../../src/onnx/attributes.js';
import type { Dims } from '../../src/onnx/dims.js';
import { GraphBuilder } from '../../src/onnx/graph-builder.js';
import type { GraphProto, NodeProto } from '../../src/onnx/messages.js';
import { decodeModel } from '../../src/onnx/read-model.js';
import { encodeModel } from '../../src/onnx/write-model.js';
import { operatorOf } from '../../src/rewrite/graph/attributes.js';
import { largestGap, type Output, runOutputs } from './run-model.js';

/** The operator of ONNX Runtime that blocks may become. */
export const multiHead = 'com.microsoft.MultiHeadAttention';
export const HEADS = 3;

/** The values of a block: queries, keys with their last two axes exchanged, values, and an input [l, s] to make masks of. */
export interface Block {
  readonly onnx: GraphBuilder;
  readonly q: string;
  readonly k: string;
  readonly v: string;
  readonly mask: string;
}
export type Shapes = Readonly<Record<'q' | 'k' | 'v' | 'mask', Dims>>;

export const usual: Shapes = {
  q: ['b', HEADS, 'l', 8],
  k: ['b', HEADS, 8, 's'],
  v: ['b', HEADS, 's', 8],
  mask: ['l', 's'],
};

export function modelOf(build: (block: Block) => string, shapes: Partial<Shapes> = {}): Uint8Array {
  const { q, k, v, mask } = { ...usual, ...shapes };
  const onnx = new GraphBuilder();
  const inputs = { q, k, v, mask };
  for (const [name, dims] of Object.entries(inputs)) onnx.input(name, 'f32', dims);
  // Keys and values that are inputs stay where they are: here they are computed.
  const [computedK, computedV] = [onnx.op('Neg', ['k']), onnx.op('Neg', ['v'])];
  const output = build({ onnx, q: 'q', k: computedK, v: computedV, mask: 'mask' });
  onnx.output(output, 'f32', [...q.slice(0, -1), v.at(-1) as number]);
  return encodeModel(onnx.model());
}

function feedsOf(
  bytes: Uint8Array,
  lengths: Readonly<Record<string, number>>,
): Readonly<Record<string, ort.Tensor>> {
  const inputs = (decodeModel(bytes).graph as GraphProto).input;
  return Object.fromEntries(
    inputs.map(({ name = '', type }) => {
      const dims = (type?.tensorType?.shape?.dim ?? []).map(
        ({ dimParam, dimValue }) => lengths[dimParam ?? ''] ?? Number(dimValue),
      );
      const size = dims.reduce((all, extent) => all * extent, 1);
      const seed = name.charCodeAt(0);
      const data = Float32Array.from({ length: size }, (_, at) => 2 * Math.sin((at + seed) * 12.9898 + seed));
      return [name, new ort.Tensor('float32', data, dims)];
    }),
  );
}

export function nodesOf(bytes: Uint8Array): readonly NodeProto[] {
  const all = ({ node }: GraphProto): readonly NodeProto[] =>
    node.flatMap((one) => [one, ...subgraphsOf(one).flatMap(all)]);
  return all(decodeModel(bytes).graph as GraphProto);
}

export const operatorsOf = (bytes: Uint8Array): readonly NodeProto[] =>
  nodesOf(bytes).filter((node) => operatorOf(node) === multiHead);

export async function expectSame(
  original: Uint8Array,
  rewritten: Uint8Array,
  lengths: readonly Readonly<Record<string, number>>[] = [
    { b: 2, l: 13, s: 17 },
    { b: 1, l: 70, s: 90 },
    { b: 2, l: 1, s: 5 },
  ],
): Promise<void> {
  for (const one of lengths) {
    const feeds = feedsOf(original, one);
    const expected = await runOutputs(original, feeds);
    for (const [at, { dims, data }] of (await runOutputs(rewritten, feeds)).entries()) {
      expect(dims).toEqual(expected[at]?.dims);
      expect(largestGap(data, (expected[at] as Output).data), JSON.stringify(one)).toBeLessThan(1e-5);
    }
  }
}

export const product = ({ onnx, q, k }: Block): string => onnx.op('MatMul', [q, k]);
export const softmax = ({ onnx }: Block, scores: string): string =>
  onnx.op('Softmax', [scores], { axis: -1 });
export const finish = (block: Block, scores: string): string =>
  block.onnx.op('MatMul', [softmax(block, scores), block.v]);
export const plain = (block: Block): string => finish(block, product(block));
export const times = ({ onnx }: Block, value: string, factor: number): string =>
  onnx.op('Mul', [value, onnx.f32(factor)]);
