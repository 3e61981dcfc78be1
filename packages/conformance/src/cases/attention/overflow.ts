import { exactAttention, scope, type Tensor, tensor } from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { checkClose, checkEqual } from '../../harness/support/assert.js';
import { list, type Nd, nd } from '../../harness/support/nd.js';
import { solve } from './brute-force.js';
import { checkGradients } from './check.js';
import { type AttentionProblem, outputShape, run } from './problem.js';

const NAN = Number.NaN;

const inSingle: NonNullable<ConformanceCase['notFor']> = ({ floatStorage }) =>
  floatStorage === 'f32' ? undefined : 'stores 64 bits, in which these scores do not overflow';

/** One query of width 1 against two keys with the values 1 and 2. */
interface Magnitudes {
  readonly name: string;
  readonly q: number;
  readonly k: readonly [number, number];
  readonly scale?: number;
  readonly bias?: readonly [number, number];
  readonly v?: readonly [number, number];
  readonly output: number;
}

const magnitudes: readonly Magnitudes[] = [
  { name: 'scores of 1e38', q: 1e19, k: [1e19, 1e18], output: 1 },
  { name: 'a score beyond f32', q: 1e20, k: [1e20, 1], output: NAN },
  { name: 'every score beyond f32', q: -1e20, k: [-1e20, -1e20], output: NAN },
  { name: 'a score beyond f32 on the other side is a hidden key', q: 1e20, k: [-1e20, 1], output: 2 },
  { name: 'every score beyond f32 on the other side', q: 1e20, k: [-1e20, -2e20], output: 0 },
  { name: 'a huge scale', q: 1, k: [1, 2], scale: 1e38, output: 2 },
  { name: 'a huge scale and scores beyond f32', q: 10, k: [10, 10], scale: 1e38, output: NAN },
  { name: 'a huge scale and one score beyond f32', q: 1, k: [1, 4], scale: 1e38, output: NAN },
  { name: 'a huge negative scale hides', q: 1, k: [1, 10], scale: -1e38, output: 1 },
  { name: 'a huge scale that is a power of two', q: 1, k: [1.5, 1], scale: 2 ** 127, output: 1 },
  { name: 'the same, beyond f32', q: 1, k: [2, 1], scale: 2 ** 127, output: NAN },
  { name: 'queries beyond f32 once scaled', q: 2e38, k: [2e-38, 2e-38], scale: 4, v: [3, 3], output: 3 },
  { name: 'the same, not a power of two', q: 2e38, k: [2e-38, 2e-38], scale: 3, v: [3, 3], output: 3 },
  { name: 'a huge bias', q: 0, k: [0, 0], bias: [1e38, 2e38], output: 2 },
  { name: 'a bias that takes a score beyond f32', q: 1e19, k: [2e19, 1], bias: [3e38, 0], output: NAN },
  { name: 'a bias that takes a score below f32', q: 1e19, k: [-2e19, 1], bias: [-3e38, 0], output: 2 },
  { name: 'huge values', q: 0, k: [0, 0], v: [1e38, 1e38], output: 1e38 },
];

/** Options that hide nothing here, but make engines take other paths. */
const ways: Readonly<Record<string, Partial<AttentionProblem>>> = {
  plain: {},
  causal: { causal: true },
  'a mask': { mask: nd([1, 1, 1, 1], () => 1) },
  'key lengths': { keyLengths: list(2) },
  'a bias': { bias: nd([1, 1, 1, 1], () => 0) },
  'a table': { table: nd([4, 1], () => 0), relative: { bidirectional: true, maxDistance: 8 } },
};

const row = (...data: readonly number[]): Nd => ({ shape: [1, 1, data.length, 1], data });

/** Beyond the range of f32 a score is infinite, and its effect on its row shows on every path through an engine. */
export const overflowCases: readonly ConformanceCase[] = [
  ...(['all', 2] as const).flatMap((kept) =>
    Object.entries(ways).map(
      ([way, options]): ConformanceCase => ({
        name: `magnitudes, ${kept === 'all' ? 'exact' : 'top-k'}, ${way}`,
        group: 'attention',
        notFor: inSingle,
        async run({ backend, tolerance }) {
          for (const { name, q, k, v = [1, 2], scale = 1, bias, output } of magnitudes) {
            const problem: AttentionProblem = {
              q: row(q),
              k: row(...k),
              v: row(...v),
              scale,
              kept,
              ...options,
              ...(bias && { bias: { shape: [1, 1, 1, 2], data: bias } }),
            };
            const cotangent = { shape: outputShape(problem), data: [1] };
            const solved = solve(problem, cotangent, 'f32');
            checkClose(`${name}: output of the brute force`, solved.output, [output], tolerance);
            checkClose(name, (await run(backend, problem)).output, [output], tolerance);
            const trained = await run(backend, problem, cotangent);
            checkClose(`${name}: output while training`, trained.output, [output], tolerance);
            checkGradients(trained.gradients, solved.gradients, tolerance, solved.open);
          }
        },
      }),
    ),
  ),
  {
    name: 'magnitudes: what a tensor was used for before does not matter',
    group: 'attention',
    notFor: inSingle,
    async run({ backend }) {
      const up = (value: number, shape: readonly number[] = [1, 1, 2, 2]): Tensor =>
        tensor(backend, new Float32Array(shape.reduce((size, extent) => size * extent)).fill(value), shape);
      const tensors = [up(1e20), up(1), up(-Infinity, [4, 1])] as const;
      const [large, one, table] = tensors;
      const relativeBias = { table, bidirectional: true, maxDistance: 8 };
      const calls: readonly (readonly [number, (options: { causal: true }) => Tensor])[] = [
        [1e20, (options) => exactAttention(one, one, large, options)],
        [NAN, (options) => exactAttention(large, large, one, options)],
        [0, (options) => exactAttention(one, one, one, { ...options, relativeBias })],
        [NAN, (options) => exactAttention(large, large, one, { ...options, relativeBias })],
      ];
      for (const order of [calls, [...calls].reverse(), calls]) {
        for (const [expected, call] of order) {
          const output = scope(() => call({ causal: true }));
          const got = [...(await output.data())];
          output.dispose();
          checkEqual('output', got, new Array<number>(4).fill(Math.fround(expected)));
        }
      }
      for (const x of tensors) x.dispose();
    },
  },
];
