import * as ops from '@topk-attention/core';
import type { ConformanceCase } from '../../harness/case.js';
import { check, checkClose, checkShape, gradientTolerance } from '../../harness/support/assert.js';
import { type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';

function lossCase(name: string, run: ConformanceCase['run']): ConformanceCase {
  return { name: `cross entropy: ${name}`, group: 'primitives', run };
}

interface Problem {
  /** [rows, classes] */
  readonly logits: Nd;
  readonly targets: readonly number[];
  readonly labelSmoothing: number;
  readonly ignoreIndex?: number;
  /** Gradient of the loss. */
  readonly upstream: number;
}

interface Expected {
  readonly loss: number;
  readonly gradient: number[];
}

/** By the definition, in f64: the target's distribution against the logarithm of the softmax. */
function solve({ logits, targets, labelSmoothing, upstream }: Problem): Expected {
  const [, classes = 0] = logits.shape;
  const counted = targets.filter((target) => target !== -1).length;
  const gradient: number[] = [];
  let loss = 0;
  for (const [row, target] of targets.entries()) {
    const own = logits.data.slice(row * classes, (row + 1) * classes);
    if (target === -1) {
      gradient.push(...own.map(() => 0));
      continue;
    }
    const largest = own.reduce((most, one) => Math.max(most, one), Number.NEGATIVE_INFINITY);
    const sum = own.reduce((total, one) => total + Math.exp(one - largest), 0);
    for (const [at, one] of own.entries()) {
      const wanted = labelSmoothing / classes + (at === target ? 1 - labelSmoothing : 0);
      const logLikelihood = one - largest - Math.log(sum);
      // 0 times a logarithm of -inf is 0.
      if (wanted > 0) loss -= (wanted * logLikelihood) / counted;
      gradient.push(((Math.exp(logLikelihood) - wanted) * upstream) / counted);
    }
  }
  return { loss, gradient };
}

function problemOf(rows: number, classes: number, labelSmoothing = 0): Problem {
  const random = new Random(`cross entropy ${rows} ${classes}`);
  const logits = nd([rows, classes], () => 8 * random.next() - 4);
  const targets = Array.from({ length: rows }, (_, row) =>
    row % 4 === 3 ? -1 : Math.floor(random.next() * classes),
  );
  return { logits, targets, labelSmoothing, upstream: 3 };
}

interface Made {
  readonly loss: ops.Tensor;
  readonly gradient: ops.Tensor;
}

/** Forward and backward on a backend. */
function run(backend: ops.Backend, { logits, targets, upstream, ...options }: Problem): Made {
  return ops.scope(() => {
    const labels = ops.tensor(backend, Int32Array.from(targets), [targets.length]);
    const { value, gradients } = ops.valueAndGrad(({ x }: { readonly x: ops.Tensor }) =>
      ops.mul(ops.crossEntropy(x, labels, options), upstream),
    )({ x: ops.tensor(backend, encode(logits.data, 'f32'), logits.shape) });
    return { loss: ops.div(value, upstream), gradient: gradients.x };
  });
}

function dispose({ loss, gradient }: Made): void {
  loss.dispose();
  gradient.dispose();
}

const sizes: readonly (readonly [rows: number, classes: number])[] = [
  [1, 1],
  [5, 3],
  [32, 10],
  [300, 64],
  [7, 257],
  [40, 1000],
  [1100, 9],
];

export const crossEntropyCases: readonly ConformanceCase[] = [
  ...sizes.map(([rows, classes]) =>
    lossCase(`${rows} rows of ${classes} classes, forward and backward`, async ({ backend, tolerance }) => {
      for (const labelSmoothing of [0, 0.1]) {
        const problem = problemOf(rows, classes, labelSmoothing);
        const expected = solve(problem);
        const made = run(backend, problem);
        const what = `label smoothing ${labelSmoothing}`;
        checkShape(what, made.loss.shape, []);
        checkShape(what, made.gradient.shape, [rows, classes]);
        checkClose(what, await made.loss.data(), [expected.loss], gradientTolerance(tolerance));
        checkClose(
          `${what}: gradient`,
          await made.gradient.data(),
          expected.gradient,
          gradientTolerance(tolerance),
        );
        dispose(made);
      }
    }),
  ),
  lossCase('another target leaves rows out, and -1 is outside of the classes', async (bench) => {
    const { backend } = bench;
    const tolerance = gradientTolerance(bench.tolerance);
    for (const ignoreIndex of [-100, 0]) {
      const problem = problemOf(9, 5, 0.1);
      const targets = problem.targets.map((one) => (one === 0 ? 1 : one));
      const expected = solve({ ...problem, targets });
      const named = targets.map((one) => (one === -1 ? ignoreIndex : one));
      const made = run(backend, { ...problem, targets: named, ignoreIndex });
      checkClose(`loss, ${ignoreIndex}`, await made.loss.data(), [expected.loss], tolerance);
      checkClose(`gradient, ${ignoreIndex}`, await made.gradient.data(), expected.gradient, tolerance);
      dispose(made);
      const wrong = run(backend, { ...problem, targets, ignoreIndex });
      const [loss] = await wrong.loss.data();
      check(Number.isNaN(loss), `loss ${loss} where NaN was expected, for a target of -1`);
      dispose(wrong);
    }
  }),
  lossCase('a vocabulary of 32,100, a large offset of the logits', async ({ backend, tolerance }) => {
    const problem = problemOf(3, 32_100, 0.1);
    const logits = nd(problem.logits.shape, ([row = 0], at) => {
      // What f32 holds exactly, so that the offset itself rounds nothing.
      const value = Math.round((problem.logits.data[at] as number) * 64) / 64;
      return value + ([0, 1024, -1024][row] as number);
    });
    const moved = { ...problem, logits, targets: [32_099, 0, 7] };
    const made = run(backend, moved);
    const expected = solve(moved);
    checkClose('loss', await made.loss.data(), [expected.loss], gradientTolerance(tolerance));
    checkClose('gradient', await made.gradient.data(), expected.gradient, gradientTolerance(tolerance));
    dispose(made);
  }),
  lossCase('classes of -inf have no weight, and no other class changes', async ({ backend, tolerance }) => {
    const problem = problemOf(6, 70);
    const logits = nd(problem.logits.shape, ([row = 0, column = 0], at) =>
      (row + column) % 3 === 0 ? Number.NEGATIVE_INFINITY : (problem.logits.data[at] as number),
    );
    const hidden = { ...problem, logits, targets: [1, 0, -1, 2, 1, 69] };
    const made = run(backend, hidden);
    const expected = solve(hidden);
    checkClose('loss', await made.loss.data(), [expected.loss], gradientTolerance(tolerance));
    checkClose('gradient', await made.gradient.data(), expected.gradient, gradientTolerance(tolerance));
    dispose(made);
  }),
  lossCase(
    'what is not a number is loud, and its row alone has the gradient',
    async ({ backend, tolerance }) => {
      const bad: Readonly<Record<number, number>> = { 1: Number.NaN, 4: Number.POSITIVE_INFINITY };
      // Few logits and many: a backend may treat them differently.
      for (const classes of [12, 3000]) {
        const problem = { ...problemOf(8, classes), targets: [3, 2, -1, 1, 0, classes, -2, 5] };
        const logits = nd(problem.logits.shape, ([row = 0, column = 0], at) => {
          if (row === 2) return Number.NaN;
          if (row === 3) return Number.NEGATIVE_INFINITY;
          return column === classes - 2 && row in bad
            ? (bad[row] as number)
            : (problem.logits.data[at] as number);
        });
        const made = run(backend, { ...problem, logits });
        check(Number.isNaN((await made.loss.data())[0]), `${classes} classes: the loss hides a NaN`);
        const gradient = Array.from(await made.gradient.data());
        const expected = solve({ ...problem, logits });
        for (let row = 0; row < 8; row++) {
          const part = [row * classes, (row + 1) * classes] as const;
          const own = gradient.slice(...part);
          // All -inf, a target outside, and what `bad` puts there.
          const isSpoilt = [1, 3, 4, 5, 6].includes(row);
          if (isSpoilt)
            check(own.some(Number.isNaN), `${classes} classes: the gradient of row ${row} is silent`);
          else {
            checkClose(`${classes} classes: gradient of row ${row}`, own, expected.gradient.slice(...part), {
              ...gradientTolerance(tolerance),
            });
          }
        }
        dispose(made);
      }
    },
  ),
  lossCase('every row left out: a loss of NaN, gradients of zeros', async ({ backend }) => {
    for (const [rows, classes] of [
      [3, 5],
      [300, 64],
    ] as const) {
      const problem = { ...problemOf(rows, classes), targets: new Array<number>(rows).fill(-1) };
      const made = run(backend, problem);
      check(Number.isNaN((await made.loss.data())[0]), 'the mean over no rows is a number');
      const zeros = new Array<number>(rows * classes).fill(0);
      checkClose('gradient', await made.gradient.data(), zeros, { absolute: 0, relative: 0 });
      dispose(made);
    }
  }),
  lossCase('same inputs, same bits', async ({ backend }) => {
    const problem = problemOf(600, 129, 0.2);
    const [a, b] = [run(backend, problem), run(backend, problem)];
    for (const name of ['loss', 'gradient'] as const) {
      const [one, other] = [await a[name].data(), await b[name].data()];
      check(
        Array.from(one).every((value, at) => Object.is(value, other[at])),
        `${name} differs between two runs`,
      );
    }
    dispose(a);
    dispose(b);
  }),
  lossCase('the gradient of a gradient', async ({ backend, tolerance }) => {
    const problem = { ...problemOf(3, 4, 0.1), targets: [2, -1, 0], upstream: 1 };
    const direction = new Random('direction').uniform([3, 4]);
    /** The gradient along the direction. */
    const along = (logits: Nd): number =>
      solve({ ...problem, logits }).gradient.reduce(
        (sum, one, at) => sum + one * (direction.data[at] as number),
        0,
      );
    const step = 1e-5;
    const expected = problem.logits.data.map((_, at) => {
      const moved = (by: number): Nd =>
        nd([3, 4], (_, i) => (problem.logits.data[i] as number) + (i === at ? by : 0));
      return (along(moved(step)) - along(moved(-step))) / (2 * step);
    });
    const made = ops.scope(() => {
      const tensorOf = (one: Nd): ops.Tensor => ops.tensor(backend, encode(one.data, 'f32'), one.shape);
      const labels = ops.tensor(backend, Int32Array.from(problem.targets), [3]);
      const towards = tensorOf(direction);
      const first = ops.grad(({ x }: { readonly x: ops.Tensor }) =>
        ops.crossEntropy(x, labels, { labelSmoothing: 0.1 }),
      );
      const second = ops.grad((inputs: { readonly x: ops.Tensor }) =>
        ops.scope(() => ops.sum(ops.mul(first(inputs).x, towards))),
      );
      return second({ x: tensorOf(problem.logits) }).x;
    });
    const { absolute, relative } = gradientTolerance(gradientTolerance(tolerance));
    // Differences themselves are right to about 1e-8.
    const allowed = { absolute: Math.max(absolute, 1e-7), relative: Math.max(relative, 1e-7) };
    checkClose('second derivative', await made.data(), expected, allowed);
    made.dispose();
  }),
];
