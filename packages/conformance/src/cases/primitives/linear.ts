import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { activated } from '../../harness/support/activated.js';
import {
  check,
  checkClose,
  checkSameBits,
  checkShape,
  gradientTolerance,
} from '../../harness/support/assert.js';
import { at, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';

function linearCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `linear: ${name}`, group: 'primitives', run };
}

interface Sizes {
  readonly rows: number;
  readonly inputDim: number;
  readonly outputDim: number;
}

interface Problem extends Sizes {
  readonly x: Nd;
  /** [in, out] */
  readonly weight: Nd;
  readonly bias?: Nd;
  readonly upstream: Nd;
  readonly activation: ops.Activation | undefined;
  readonly transposeWeight: boolean;
}

const named = [undefined, 'relu', 'gelu', 'gelu_tanh', 'silu'] as const;

interface Expected {
  readonly output: number[];
  readonly x: number[];
  readonly weight: number[];
  readonly bias: number[];
}

/** Every sum term by term, in f64. */
function solve({ rows, inputDim, outputDim, x, weight, bias, upstream, activation }: Problem): Expected {
  const made: Expected = {
    output: [],
    x: new Array<number>(rows * inputDim).fill(0),
    weight: new Array<number>(inputDim * outputDim).fill(0),
    bias: new Array<number>(outputDim).fill(0),
  };
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < outputDim; column++) {
      let sum = bias?.data[column] ?? 0;
      for (let i = 0; i < inputDim; i++) sum += at(x, [row, i]) * at(weight, [i, column]);
      const [output, slope] = activation === undefined ? [sum, 1] : activated(activation, sum);
      made.output.push(output);
      const g = at(upstream, [row, column]) * slope;
      (made.bias[column] as number) += g;
      for (let i = 0; i < inputDim; i++) {
        (made.x[row * inputDim + i] as number) += g * at(weight, [i, column]);
        (made.weight[i * outputDim + column] as number) += g * at(x, [row, i]);
      }
    }
  }
  return made;
}

const transposed = ({ shape, data }: Nd): Nd =>
  nd(
    [shape[1] as number, shape[0] as number],
    ([j = 0, i = 0]) => data[i * (shape[1] as number) + j] as number,
  );

function problemOf(
  sizes: Sizes,
  form: Pick<Problem, 'activation' | 'transposeWeight'> & { readonly hasBias: boolean },
): Problem {
  const { rows, inputDim, outputDim } = sizes;
  const random = new Random(`linear ${rows} ${inputDim} ${outputDim}`);
  const { hasBias, ...own } = form;
  return {
    ...{ ...sizes, ...own },
    x: random.uniform([rows, inputDim]),
    weight: random.uniform([inputDim, outputDim]),
    ...(hasBias && { bias: random.uniform([outputDim]) }),
    upstream: random.uniform([rows, outputDim]),
  };
}

type Inputs = Readonly<Record<string, ops.Tensor>>;

const inputsOf = (backend: ops.Backend, { x, weight, bias, transposeWeight }: Problem): Inputs => {
  const tensorOf = (one: Nd): ops.Tensor => ops.tensor(backend, encode(one.data, 'f32'), one.shape);
  return {
    x: tensorOf(x),
    weight: tensorOf(transposeWeight ? transposed(weight) : weight),
    ...(bias !== undefined && { bias: tensorOf(bias) }),
  };
};

const apply = ({ x, weight, bias }: Inputs, { activation, transposeWeight }: Problem): ops.Tensor =>
  ops.linear(x as ops.Tensor, weight as ops.Tensor, bias, {
    ...(activation && { activation }),
    transposeWeight,
  });

interface Made {
  readonly output: ops.Tensor;
  readonly gradients: Inputs;
  dispose(): void;
}

/** Forward and backward on a backend. */
function run(backend: ops.Backend, problem: Problem): Made {
  const inputs = inputsOf(backend, problem);
  const pulled = ops.pullback((given: Inputs) => apply(given, problem), inputs);
  const upstream = ops.tensor(backend, encode(problem.upstream.data, 'f32'), problem.upstream.shape);
  const gradients = pulled.backward(upstream);
  return {
    output: pulled.output,
    gradients,
    dispose() {
      const all = [...Object.values(inputs), ...Object.values(gradients), pulled.output, upstream, pulled];
      for (const one of all) one.dispose();
    },
  };
}

const forms = named.flatMap((activation) =>
  [true, false].flatMap((hasBias) =>
    [true, false].map((transposeWeight) => ({ activation, hasBias, transposeWeight })),
  ),
);

const nameOf = ({ activation, hasBias, transposeWeight }: (typeof forms)[number]): string =>
  `${activation ?? 'no activation'}${hasBias ? ', bias' : ''}${transposeWeight ? ', weight transposed' : ''}`;

export const linearCases: readonly ConformanceCase[] = [
  ...(
    [
      [1, 1, 1],
      [1, 5, 3],
      [3, 8, 4],
      [7, 3, 1],
      [17, 70, 6],
      [40, 33, 65],
    ] as const
  ).map(([rows, inputDim, outputDim]) =>
    linearCase(
      `${rows} rows of ${inputDim} to ${outputDim}, forward and backward`,
      async ({ backend, tolerance }) => {
        for (const form of forms) {
          const problem = problemOf({ rows, inputDim, outputDim }, form);
          const expected = solve(problem);
          const made = run(backend, problem);
          checkShape(nameOf(form), made.output.shape, [rows, outputDim]);
          checkClose(nameOf(form), await made.output.data(), expected.output, tolerance);
          for (const [of, one] of Object.entries(made.gradients)) {
            const stored = expected[of as keyof Expected];
            const isTurned = of === 'weight' && form.transposeWeight;
            const wanted = isTurned
              ? transposed({ shape: [inputDim, outputDim], data: stored }).data
              : stored;
            const what = `${nameOf(form)}: gradient of ${of}`;
            checkClose(what, await one.data(), wanted, gradientTolerance(tolerance));
          }
          // What a tape follows is computed as what none follows.
          const inputs = inputsOf(backend, problem);
          const alone = apply(inputs, problem);
          const [own, tracked] = [await alone.data(), await made.output.data()];
          checkSameBits(`${nameOf(form)}: with and without a tape`, own, tracked);
          for (const one of [...Object.values(inputs), alone]) one.dispose();
          made.dispose();
        }
      },
    ),
  ),
  linearCase('many rows, some of whose gradients are not finite', async ({ backend, tolerance }) => {
    const [rows, inputDim, outputDim] = [2_501, 20, 33];
    const spoilt: Readonly<Record<number, number>> = { 3: Number.NaN, 7: Number.POSITIVE_INFINITY };
    for (const transposeWeight of [true, false]) {
      const form = { activation: undefined, hasBias: true, transposeWeight };
      const problem = problemOf({ rows, inputDim, outputDim }, form);
      const upstream = nd(problem.upstream.shape, ([row = 0, column = 0], i) =>
        row === 1_700 && column in spoilt ? (spoilt[column] as number) : (problem.upstream.data[i] as number),
      );
      const expected = solve(problem);
      const made = run(backend, { ...problem, upstream });
      const { weight, bias } = made.gradients as Readonly<Record<'weight' | 'bias', ops.Tensor>>;
      const [ofWeight, ofBias] = [await weight.data(), await bias.data()];
      for (let column = 0; column < outputDim; column++) {
        const what = `${nameOf(form)}: column ${column}`;
        const own = Array.from({ length: inputDim }, (_, i) =>
          Number(ofWeight[transposeWeight ? column * inputDim + i : i * outputDim + column]),
        );
        if (column in spoilt) {
          checkClose(what, ofBias.slice(column, column + 1), [spoilt[column] as number], tolerance);
          check(!own.some(Number.isFinite), `${what} hides what the gradient of the output holds`);
          continue;
        }
        const wanted = own.map((_, i) => expected.weight[i * outputDim + column] as number);
        const allowed = gradientTolerance(tolerance);
        checkClose(what, own, wanted, allowed);
        checkClose(
          `${what}, bias`,
          ofBias.slice(column, column + 1),
          expected.bias.slice(column, column + 1),
          allowed,
        );
      }
      made.dispose();
    }
  }),
  linearCase('leading axes', async ({ backend, tolerance }) => {
    const problem = problemOf(
      { rows: 6, inputDim: 5, outputDim: 7 },
      { activation: 'silu', hasBias: true, transposeWeight: true },
    );
    const { x, weight, bias } = inputsOf(backend, problem);
    const folded = ops.reshape(x as ops.Tensor, [2, 1, 3, 5]);
    const y = apply({ x: folded, weight: weight as ops.Tensor, bias: bias as ops.Tensor }, problem);
    checkShape('output', y.shape, [2, 1, 3, 7]);
    checkClose('output', await y.data(), solve(problem).output, tolerance);
    for (const one of [x, weight, bias, folded, y]) one?.dispose();
  }),
  linearCase('no rows, no outputs, no inputs', async ({ backend, tolerance }) => {
    for (const [rows, inputDim, outputDim] of [
      [0, 3, 4],
      [3, 2, 0],
      [3, 0, 4],
      [0, 0, 0],
    ] as const) {
      for (const form of forms) {
        const what = `${nameOf(form)}, ${rows} rows of ${inputDim} to ${outputDim}`;
        const problem = problemOf({ rows, inputDim, outputDim }, form);
        const expected = solve(problem);
        const made = run(backend, problem);
        checkShape(what, made.output.shape, [rows, outputDim]);
        checkClose(what, await made.output.data(), expected.output, tolerance);
        for (const [of, one] of Object.entries(made.gradients)) {
          const wanted = expected[of as keyof Expected];
          checkClose(`${what}: gradient of ${of}`, await one.data(), wanted, gradientTolerance(tolerance));
        }
        made.dispose();
      }
    }
  }),
  linearCase('what a row holds stays with it', async ({ backend, tolerance }) => {
    const [rows, inputDim, outputDim] = [19, 9, 6];
    const spoilt: Readonly<Record<number, number>> = {
      2: Number.NaN,
      4: Number.POSITIVE_INFINITY,
      18: Number.NEGATIVE_INFINITY,
    };
    for (const form of forms) {
      const problem = problemOf({ rows, inputDim, outputDim }, form);
      const x = nd(problem.x.shape, ([row = 0, column = 0], i) =>
        column === 3 && row in spoilt ? (spoilt[row] as number) : (problem.x.data[i] as number),
      );
      const clean = solve(problem);
      const made = run(backend, { ...problem, x });
      const [output, gradient] = [await made.output.data(), await (made.gradients.x as ops.Tensor).data()];
      for (let row = 0; row < rows; row++) {
        const part = <T extends { slice(from: number, to: number): T }>(of: T, width: number): T =>
          of.slice(row * width, (row + 1) * width);
        const what = `${nameOf(form)}: row ${row}`;
        if (row in spoilt) {
          const own = Array.from(part(output, outputDim));
          const isShown = row === 2 ? own.every(Number.isNaN) : own.some((one) => !Number.isFinite(one));
          check(isShown, `${what} hides what x holds`);
        } else {
          checkClose(what, part(output, outputDim), part(clean.output, outputDim), tolerance);
          checkClose(
            `${what}, gradient`,
            part(gradient, inputDim),
            part(clean.x, inputDim),
            gradientTolerance(tolerance),
          );
        }
      }
      made.dispose();
    }
  }),
  linearCase('the gradient of a gradient', async ({ backend, tolerance }) => {
    for (const form of forms) {
      const problem = problemOf({ rows: 3, inputDim: 4, outputDim: 5 }, form);
      const direction = new Random('direction').uniform([3, 4]);
      /** The gradient of x along the direction. */
      const along = (x: Nd): number =>
        solve({ ...problem, x }).x.reduce((sum, one, i) => sum + one * (direction.data[i] as number), 0);
      const step = 1e-4;
      const expected = problem.x.data.map((_, i) => {
        const moved = (by: number): Nd =>
          nd([3, 4], (_place, j) => (problem.x.data[j] as number) + (i === j ? by : 0));
        return (along(moved(step)) - along(moved(-step))) / (2 * step);
      });
      const inputs = inputsOf(backend, problem);
      const { weight, bias } = inputs;
      const constants = [problem.upstream, direction].map((one) =>
        ops.tensor(backend, encode(one.data, 'f32'), one.shape),
      );
      const [upstream, towards] = constants as [ops.Tensor, ops.Tensor];
      const first = ops.grad(({ x }: { readonly x: ops.Tensor }) =>
        ops.sum(
          ops.mul(apply({ x, weight: weight as ops.Tensor, ...(bias && { bias }) }, problem), upstream),
        ),
      );
      const second = ops.grad((given: { readonly x: ops.Tensor }) =>
        ops.scope(() => ops.sum(ops.mul(first(given).x, towards))),
      );
      const made = second({ x: inputs.x as ops.Tensor }).x;
      const { absolute, relative } = gradientTolerance(gradientTolerance(tolerance));
      // Differences themselves are right to about 1e-8.
      const allowed = { absolute: Math.max(absolute, 1e-7), relative: Math.max(relative, 1e-7) };
      checkClose(nameOf(form), await made.data(), expected, allowed);
      for (const one of [...Object.values(inputs), ...constants, made]) one.dispose();
    }
  }),
];
