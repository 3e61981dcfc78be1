import {
  add,
  concat,
  gatherRows,
  logicalAnd,
  lt,
  matmul,
  narrow,
  reshape,
  scatterAddRows,
  scope,
  type Tensor,
  where,
} from '@topk-attention/core';
import {
  defineOperation,
  type GraphProductInputs,
  type GraphProductOutputs,
  type GraphProductRequest,
  type PassDefinition,
  runOperation,
} from '@topk-attention/core/backend';
import { chunksOf, pairsAtATime } from './query-chunks.js';

type Inputs = GraphProductInputs<Tensor>;
type Outputs = GraphProductOutputs<Tensor>;

/** Always with a bound: what the composed version makes is a row per slot. */
type Request = GraphProductRequest & Required<Pick<GraphProductRequest, 'most'>>;

/** One of the two products. */
interface Side {
  /** Rows that go in, and rows that come out, of a group. */
  readonly given: (request: GraphProductRequest) => number;
  readonly made: (request: GraphProductRequest) => number;
  /** All of some groups. */
  readonly compose: (inputs: Inputs, request: Request) => Tensor;
}

const isEmpty = ({ groups, queries, keys, slots, width }: Request): boolean =>
  groups * queries * keys * slots * width === 0;

function passOf({ given, made, compose }: Side): PassDefinition<Request, Inputs, Outputs> {
  return {
    bytes: (request) => ({
      inputs: 4 * request.groups * (2 * request.queries * request.slots + given(request) * request.width),
      output: 4 * request.groups * made(request) * request.width,
      saved: 0,
    }),
    composed: (request) => ({
      // A row per slot of a part, and the parts before they are joined.
      scratchBytes: () => {
        const { groups, queries, slots, width, most } = request;
        const listed = Math.min(groups * queries * slots * width, Math.max(most, slots * width));
        return 4 * (listed + groups * made(request) * width);
      },
      run: (inputs) => ({ output: composedOf(inputs, request, compose) }),
    }),
  };
}

/** Some groups at a time, whose rows have sums of their own. */
function composedOf(inputs: Inputs, request: Request, compose: Side['compose']): Tensor {
  const { groups, queries, slots, width, most } = request;
  return scope(() => {
    const parts = chunksOf(groups, queries * slots * width, most).map(({ start, size }) =>
      scope(() => {
        const of = (x: Tensor): Tensor => narrow(x, 0, start, size);
        const { weights, graph, rows } = inputs;
        const part = { weights: of(weights), graph: of(graph), rows: of(rows) };
        return compose(part, { ...request, groups: size });
      }),
    );
    return concat(parts, 0);
  });
}

/** Where one group is too large, some of its queries at a time. */
function queryChunks({ groups, queries, slots, width, most }: Request): ReturnType<typeof chunksOf> {
  return chunksOf(queries, groups * slots * width, most);
}

function listedSums({ weights, graph, rows }: Inputs, request: Request): Tensor {
  const { groups, keys, slots, width } = request;
  const parts = queryChunks(request).map(({ start, size }) => {
    rows.backend.flush();
    return scope(() => {
      const at = narrow(graph, 1, start, size);
      const isUsed = logicalAnd(lt(-1, at), lt(at, keys));
      const used = where(isUsed, narrow(weights, 1, start, size), 0);
      const listed = gatherRows(rows, reshape(where(isUsed, at, -1), [groups, size * slots]));
      const sums = matmul(
        reshape(used, [groups * size, 1, slots]),
        reshape(listed, [groups * size, slots, width]),
      );
      return reshape(sums, [groups, size, width]);
    });
  });
  return concat(parts, 1);
}

function passedSums({ weights, graph, rows }: Inputs, request: Request): Tensor {
  const { groups, keys, slots, width } = request;
  let sums: Tensor | undefined;
  for (const { start, size } of queryChunks(request)) {
    rows.backend.flush();
    const next = scope(() => {
      const of = (x: Tensor, shape: readonly number[]): Tensor => reshape(narrow(x, 1, start, size), shape);
      const own = of(weights, [groups * size, 1, slots]);
      const passed = matmul(own, of(rows, [groups * size, 1, width]), { transposeA: true });
      const ofKeys = scatterAddRows(
        keys,
        of(graph, [groups, size * slots]),
        reshape(passed, [groups, size * slots, width]),
      );
      return sums === undefined ? ofKeys : add(sums, ofKeys);
    });
    sums?.dispose();
    sums = next;
  }
  // There is at least one chunk.
  return sums as Tensor;
}

const productOperation = defineOperation<Request, Inputs, Outputs>({
  name: 'graphProduct',
  title: 'graph product',
  outputs: ({ groups, queries, width }) => ({ output: { shape: [groups, queries, width], dtype: 'f32' } }),
  isEmpty,
  forward: passOf({ given: ({ keys }) => keys, made: ({ queries }) => queries, compose: listedSums }),
});

const transposedOperation = defineOperation<Request, Inputs, Outputs>({
  name: 'graphProductTransposed',
  title: 'transposed graph product',
  outputs: ({ groups, keys, width }) => ({ output: { shape: [groups, keys, width], dtype: 'f32' } }),
  isEmpty,
  forward: passOf({ given: ({ queries }) => queries, made: ({ keys }) => keys, compose: passedSums }),
});

/**
 * For each query the weighted sum of the rows that its slots list, f32 [G, Lq, D]. A slot with -1, or any other number
 * outside of the rows, is unused, whatever its weight. One launch on WebGPU; composed it gathers a row per slot, for some
 * queries at a time.
 *
 * @param inputs weights f32 [G, Lq, M], graph i32 [G, Lq, M], rows f32 [G, Lk, D]
 * @param most numbers that the composed version gathers at a time
 */
export function graphProduct(inputs: Inputs, most: number = pairsAtATime(inputs.rows.backend)): Tensor {
  const [groups, queries, slots] = inputs.graph.shape as readonly [number, number, number];
  const [, keys, width] = inputs.rows.shape as readonly [number, number, number];
  const request = { groups, queries, keys, slots, width, most };
  return runOperation(productOperation, { where: 'graphProduct', request, inputs }).output;
}

/**
 * The transpose: for each of `keys` keys the sum over the slots that list it of the row of their query times their weight,
 * f32 [G, keys, D]. On WebGPU the slots are sorted by key; composed it makes a row per slot, for some queries at a time.
 *
 * @param inputs weights f32 [G, Lq, M], graph i32 [G, Lq, M], rows f32 [G, Lq, D]
 * @param most numbers that are made at a time
 */
export function graphProductTransposed(
  inputs: Inputs,
  keys: number,
  most: number = pairsAtATime(inputs.rows.backend),
): Tensor {
  const [groups, queries, slots] = inputs.graph.shape as readonly [number, number, number];
  const request = { groups, queries, keys, slots, width: inputs.rows.shape[2] as number, most };
  const call = { where: 'graphProductTransposed', request, inputs };
  return runOperation(transposedOperation, call).output;
}
