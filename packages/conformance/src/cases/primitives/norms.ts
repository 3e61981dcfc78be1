import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { check, checkClose, checkShape, gradientTolerance } from '../../harness/support/assert.js';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';

type Kind = 'layer' | 'rms';

const EPSILON = 1e-3;

function normCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `norms: ${name}`, group: 'primitives', run };
}

interface Problem {
  readonly kind: Kind;
  /** [rows, width], as the upstream gradient. */
  readonly x: Nd;
  readonly upstream: Nd;
  readonly weight: Nd;
  /** Layer norms only. */
  readonly bias?: Nd;
}

interface Expected {
  readonly output: number[];
  readonly x: number[];
  readonly weight: number[];
  readonly bias: number[];
}

/** By the derivatives of mean and variance, as the paper on batch norm writes them; all in f64. */
function solve({ kind, x, upstream, weight, bias }: Problem): Expected {
  const [rows = 0, width = 0] = x.shape;
  const made: Expected = {
    output: [],
    x: [],
    weight: new Array<number>(width).fill(0),
    bias: new Array<number>(width).fill(0),
  };
  for (let row = 0; row < rows; row++) {
    const own = x.data.slice(row * width, (row + 1) * width);
    const given = upstream.data.slice(row * width, (row + 1) * width);
    const mean = kind === 'layer' ? own.reduce((sum, one) => sum + one, 0) / width : 0;
    const variance = own.reduce((sum, one) => sum + (one - mean) ** 2, 0) / width;
    const deviation = Math.sqrt(variance + EPSILON);
    const g = given.map((one, j) => one * (weight.data[j] as number));
    const ofVariance =
      g.reduce((sum, one, j) => sum - (one * ((own[j] as number) - mean)) / 2, 0) / deviation ** 3;
    const ofMean = kind === 'layer' ? -g.reduce((sum, one) => sum + one, 0) / deviation : 0;
    for (const [j, one] of own.entries()) {
      const unit = (one - mean) / deviation;
      made.output.push(unit * (weight.data[j] as number) + (bias?.data[j] ?? 0));
      made.x.push((g[j] as number) / deviation + (2 * ofVariance * (one - mean) + ofMean) / width);
      (made.weight[j] as number) += (given[j] as number) * unit;
      (made.bias[j] as number) += given[j] as number;
    }
  }
  return made;
}

function problemOf(kind: Kind, rows: number, width: number, hasBias: boolean): Problem {
  const random = new Random(`norm ${kind} ${rows} ${width}`);
  const shape = [rows, width];
  return {
    kind,
    x: nd(shape, () => 3 * random.next() - 1),
    upstream: random.uniform(shape),
    weight: random.uniform([width]),
    ...(hasBias && { bias: random.uniform([width]) }),
  };
}

interface Made {
  readonly output: ops.Tensor;
  readonly gradients: Readonly<Record<string, ops.Tensor>>;
  dispose(): void;
}

/** Forward and backward on a backend. */
function run(backend: ops.Backend, { kind, x, upstream, weight, bias }: Problem): Made {
  const tensorOf = (one: Nd): ops.Tensor => ops.tensor(backend, encode(one.data, 'f32'), one.shape);
  const inputs: Record<string, ops.Tensor> = {
    x: tensorOf(x),
    weight: tensorOf(weight),
    ...(bias !== undefined && { bias: tensorOf(bias) }),
  };
  const pulled = ops.pullback((given: Readonly<Record<string, ops.Tensor>>) => {
    const [own, scale] = [given.x as ops.Tensor, given.weight as ops.Tensor];
    return kind === 'layer'
      ? ops.layerNorm(own, scale, given.bias, EPSILON)
      : ops.rmsNorm(own, scale, EPSILON);
  }, inputs);
  const given = tensorOf(upstream);
  const gradients = pulled.backward(given);
  return {
    output: pulled.output,
    gradients,
    dispose() {
      for (const one of [
        ...Object.values(inputs),
        ...Object.values(gradients),
        pulled.output,
        given,
        pulled,
      ]) {
        one.dispose();
      }
    },
  };
}

const kinds: readonly { readonly kind: Kind; readonly hasBias: boolean; readonly name: string }[] = [
  { kind: 'layer', hasBias: true, name: 'layer norm' },
  { kind: 'layer', hasBias: false, name: 'layer norm without bias' },
  { kind: 'rms', hasBias: false, name: 'RMS norm' },
];

/** x with some of its rows replaced. */
function withRows(x: Nd, replaced: Readonly<Record<number, (value: number, column: number) => number>>): Nd {
  return nd(x.shape, ([row = 0, column = 0], at) => {
    const value = x.data[at] as number;
    return replaced[row]?.(value, column) ?? value;
  });
}

export const normCases: readonly ConformanceCase[] = [
  ...[1, 3, 64, 257, 1024].map((width) =>
    normCase(`rows of ${width} numbers, forward and backward`, async ({ backend, tolerance }) => {
      for (const { kind, hasBias, name } of kinds) {
        // Sums over many rows do not depend on their width, and the widest rows cost seconds.
        for (const rows of [1, 5, width > 300 ? 70 : 300]) {
          const problem = problemOf(kind, rows, width, hasBias);
          const expected = solve(problem);
          const made = run(backend, problem);
          const what = `${name} of ${rows} rows`;
          checkShape(what, made.output.shape, [rows, width]);
          checkClose(what, await made.output.data(), expected.output, tolerance);
          for (const [of, one] of Object.entries(made.gradients)) {
            const wanted = expected[of as keyof Expected];
            checkClose(`${what}: gradient of ${of}`, await one.data(), wanted, gradientTolerance(tolerance));
          }
          made.dispose();
        }
      }
    }),
  ),
  normCase('what a row holds stays with it', async ({ backend, tolerance }) => {
    const [rows, width] = [9, 70];
    const bad = { 2: Number.NaN, 4: Number.POSITIVE_INFINITY, 6: Number.NEGATIVE_INFINITY };
    for (const { kind, hasBias, name } of kinds) {
      const problem = problemOf(kind, rows, width, hasBias);
      const x = withRows(problem.x, {
        1: () => 2.5,
        2: (value, column) => (column === 69 ? bad[2] : value),
        4: (value, column) => (column === 0 ? bad[4] : value),
        6: (value, column) => (column === 33 ? bad[6] : value),
        7: () => 0,
      });
      const expected = solve({ ...problem, x });
      const made = run(backend, { ...problem, x });
      for (const [what, tensor, wanted] of [
        ['output', made.output, expected.output],
        ['gradient', made.gradients.x as ops.Tensor, expected.x],
      ] as const) {
        const values = await tensor.data();
        for (let row = 0; row < rows; row++) {
          const part = [row * width, (row + 1) * width] as const;
          const own = Array.from(values.slice(...part));
          if (row in bad) {
            const isSpoilt = row === 2 ? own.every(Number.isNaN) : own.some(Number.isNaN);
            check(isSpoilt, `${name}: ${what} of row ${row} hides what x holds`);
          } else {
            checkClose(
              `${name}: ${what} of row ${row}`,
              own,
              wanted.slice(...part),
              gradientTolerance(tolerance),
            );
          }
        }
      }
      made.dispose();
    }
  }),
  normCase('no rows: gradients of zeros', async ({ backend }) => {
    for (const { kind, hasBias, name } of kinds) {
      const made = run(backend, problemOf(kind, 0, 3, hasBias));
      checkShape(name, made.output.shape, [0, 3]);
      checkShape(name, (made.gradients.x as ops.Tensor).shape, [0, 3]);
      for (const of of hasBias ? ['weight', 'bias'] : ['weight']) {
        checkClose(`${name}: ${of}`, await (made.gradients[of] as ops.Tensor).data(), [0, 0, 0], {
          absolute: 0,
          relative: 0,
        });
      }
      made.dispose();
    }
  }),
  normCase('the gradient of a gradient', async ({ backend, tolerance }) => {
    for (const { kind, hasBias, name } of kinds) {
      const problem = problemOf(kind, 3, 5, hasBias);
      const direction = new Random('direction').uniform([3, 5]);
      /** The gradient of x along the direction. */
      const along = (x: Nd): number =>
        solve({ ...problem, x }).x.reduce((sum, one, at) => sum + one * (direction.data[at] as number), 0);
      const step = 1e-5;
      const expected = problem.x.data.map((_, at) => {
        const moved = (by: number): Nd =>
          nd([3, 5], (_, i) => (problem.x.data[i] as number) + (i === at ? by : 0));
        return (along(moved(step)) - along(moved(-step))) / (2 * step);
      });
      const tensorOf = (one: Nd): ops.Tensor => ops.tensor(backend, encode(one.data, 'f32'), one.shape);
      const constants = [problem.weight, problem.upstream, direction].map(tensorOf);
      const [weight, upstream, towards] = constants as [ops.Tensor, ops.Tensor, ops.Tensor];
      const first = ops.grad(({ x }: { readonly x: ops.Tensor }) => {
        const y =
          kind === 'layer' ? ops.layerNorm(x, weight, undefined, EPSILON) : ops.rmsNorm(x, weight, EPSILON);
        return ops.sum(ops.mul(y, upstream));
      });
      const second = ops.grad((inputs: { readonly x: ops.Tensor }) =>
        ops.scope(() => ops.sum(ops.mul(first(inputs).x, towards))),
      );
      const x = tensorOf(problem.x);
      const made = second({ x }).x;
      const { absolute, relative } = gradientTolerance(gradientTolerance(tolerance));
      // Differences themselves are right to about 1e-8.
      const allowed = { absolute: Math.max(absolute, 1e-7), relative: Math.max(relative, 1e-7) };
      checkClose(name, await made.data(), expected, allowed);
      for (const one of [...constants, x, made]) one.dispose();
    }
  }),
];
