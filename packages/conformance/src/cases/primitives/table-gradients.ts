import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { checkEqual, checkSameBits } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';

interface Problem {
  readonly rows: number;
  readonly width: number;
  readonly tokens: number;
  /** The row of a token. */
  readonly idOf: (random: Random, at: number) => number;
}

const anyOf = (rows: number) => (random: Random) => random.integer(0, rows - 1);

const problems: Readonly<Record<string, Problem>> = {
  'a table of 256 rows': { rows: 256, width: 64, tokens: 3000, idOf: anyOf(256) },
  'a vocabulary of 32,100': { rows: 32_100, width: 4, tokens: 1500, idOf: anyOf(32_100) },
  'rows of an odd width': { rows: 40, width: 7, tokens: 700, idOf: anyOf(40) },
  'one id in most tokens': {
    rows: 50,
    width: 20,
    tokens: 5000,
    idOf: (random) => (random.next() < 0.9 ? 17 : random.integer(0, 49)),
  },
  'two rows': { rows: 2, width: 12, tokens: 2600, idOf: (_, at) => (at < 1234 ? 0 : 1) },
  padding: {
    rows: 30,
    width: 8,
    tokens: 1200,
    idOf: (random, at) => (at % 100 > 60 ? -1 : random.integer(0, 29)),
  },
};

/** Gradients of a table of embeddings: sums over the tokens of each row, exact here because they are of whole numbers. */
export const tableGradientCases: readonly ConformanceCase[] = Object.entries(problems).map(
  ([name, { rows, width, tokens, idOf }]): ConformanceCase => ({
    name: `gradient of a table: ${name}`,
    group: 'primitives',
    async run({ backend }) {
      const random = new Random(name);
      const ids = Int32Array.from({ length: tokens }, (_, at) => idOf(random, at));
      const upstream = random.integers([1, tokens, width], -4, 4);
      const expected = new Float64Array(rows * width);
      for (const [at, id] of ids.entries()) {
        if (id < 0) continue;
        for (let j = 0; j < width; j++) {
          (expected[id * width + j] as number) += upstream.data[at * width + j] as number;
        }
      }
      const at = ops.tensor(backend, ids, [1, tokens]);
      const given = ops.tensor(backend, Float32Array.from(upstream.data), upstream.shape);
      const table = ops.zeros(backend, [1, rows, width]);
      const gradientOf = (): ops.Tensor =>
        ops.grad((x: ops.Tensor) => ops.scope(() => ops.sum(ops.mul(ops.gatherRows(x, at), given))))(table);
      const [made, again] = [gradientOf(), gradientOf()];
      checkEqual('gradient', await made.data(), expected);
      checkSameBits('a second call', await made.data(), await again.data());
      for (const one of [at, given, table, made, again]) one.dispose();
    },
  }),
);
