import { expect, test } from 'vitest';
import {
  type Backend,
  type BackendTensor,
  defineOperation,
  explainOperation,
  type FusedOperation,
  type Plan,
  runOperation,
} from '../../src/backend-entry.js';
import { add, div, grad, matmul, mul, rsqrt, scope, sub, sum, type Tensor, tensor } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

/*
 * A small operation declared outside of core, as a package of mechanisms would: x / sqrt(mean(x^2)) * weight over the last
 * axis, with a gradient of its own, and a fused version in a backend.
 */

interface NormRequest {
  readonly rows: number;
  readonly width: number;
  readonly saves?: boolean;
}

interface NormInputs<T> {
  /** [rows, width] */
  readonly x: T;
  /** [width] */
  readonly weight: T;
}

interface NormOutputs<T> {
  /** [rows, width] */
  readonly output: T;
  /** [rows, 1]: 1 / sqrt(mean(x^2)), for the backward pass. */
  readonly scale?: T;
}

const meanOf = (x: Tensor, width: number): Tensor => div(sum(x, { axes: [-1], keepDims: true }), width);
const bytesOf = ({ rows, width, saves }: NormRequest) => ({
  inputs: 4 * (rows + 1) * width,
  output: 4 * rows * width,
  saved: saves === true ? 4 * rows : 0,
});

const norm = defineOperation<NormRequest, NormInputs<Tensor>, NormOutputs<Tensor>, NormInputs<Tensor>>({
  name: 'outsideNorm',
  title: 'norm',
  outputs: ({ rows, width, saves }) => ({
    output: { shape: [rows, width], dtype: 'f32' },
    ...(saves === true && { scale: { shape: [rows, 1], dtype: 'f32' } }),
  }),
  forward: {
    bytes: bytesOf,
    composed: ({ rows, width, saves }) => ({
      describe: () => ({ variant: 'a mean and two products' }),
      scratchBytes: () => 8 * rows * width,
      run: ({ x, weight }) =>
        scope(() => {
          const scale = rsqrt(meanOf(mul(x, x), width));
          return { output: mul(mul(x, scale), weight), ...(saves === true && { scale }) };
        }),
    }),
  },
  backward: {
    roles: ['x', 'weight'],
    bytes: bytesOf,
    composed: ({ rows, width }) => ({
      scratchBytes: () => 16 * rows * width,
      run: ({ x, weight, scale, dOutput }) =>
        scope(() => {
          const unit = mul(x, scale as Tensor);
          const g = mul(dOutput, weight);
          const along = mul(unit, meanOf(mul(g, unit), width));
          return { x: mul(sub(g, along), scale as Tensor), weight: sum(mul(dOutput, unit), { axes: [0] }) };
        }),
    }),
  },
});

function outsideNorm(x: Tensor, weight: Tensor): Tensor {
  const [rows, width] = x.shape as [number, number];
  const call = { where: 'outsideNorm', request: { rows, width }, inputs: { x, weight } };
  const { output, scale } = runOperation(norm, call);
  scale?.dispose();
  return output;
}

/** The backend with a fused version for one width: the backend's half of the operation, in one place. */
function withNorm(backend: Backend, ran: string[]): Backend {
  const outside: FusedOperation<NormRequest, NormInputs<BackendTensor>, NormOutputs<BackendTensor>> = {
    prepare: ({ rows, width, saves }) =>
      width !== 4
        ? { refusals: [`width ${width}: made for 4`] }
        : {
            scratchBytes: () => 0,
            describe: () => ({ variant: 'by primitives of the engine' }),
            run({ x, weight }) {
              ran.push('outsideNorm');
              const squares = backend.binary('mul', x, x);
              const mean = backend.binary('div', backend.sum(squares, [1]), backend.fill(width, [], 'f32'));
              const scale = backend.unary('rsqrt', mean);
              const output = backend.binary('mul', backend.binary('mul', x, scale), weight);
              return { output: backend.reshape(output, [rows, width]), ...(saves === true && { scale }) };
            },
          },
  };
  return { ...backend, fused: { ...backend.fused, outsideNorm: outside } };
}

const values = [1, -2, 3, 0.5, -1, 4, 2, 2.5];

async function results(backend: Backend): Promise<number[][]> {
  const x = tensor(backend, values, [2, 4]);
  const weight = tensor(backend, [1, 2, -1, 0.5]);
  const mix = tensor(backend, [3, 1, 4, 1, 5, 9, 2, 6], [2, 4]);
  const loss = (p: { x: Tensor; weight: Tensor }): Tensor => sum(mul(outsideNorm(p.x, p.weight), mix));
  const made = grad(loss)({ x, weight });
  const all = [outsideNorm(x, weight), made.x, made.weight];
  return Promise.all(all.map(async (one) => [...(await one.data())]));
}

/** The same norm of ordinary ops, differentiated by core. */
async function expected(): Promise<number[][]> {
  const backend = createReferenceBackend();
  const plain = (x: Tensor, weight: Tensor): Tensor =>
    mul(mul(x, rsqrt(meanOf(add(mul(x, x), 0), 4))), weight);
  const x = tensor(backend, values, [2, 4]);
  const weight = tensor(backend, [1, 2, -1, 0.5]);
  const mix = tensor(backend, [3, 1, 4, 1, 5, 9, 2, 6], [2, 4]);
  const made = grad((p: { x: Tensor; weight: Tensor }) => sum(mul(plain(p.x, p.weight), mix)))({ x, weight });
  const all = [plain(x, weight), made.x, made.weight];
  return Promise.all(all.map(async (one) => [...(await one.data())]));
}

test('an operation declared outside runs composed, and fused where a backend has it, with the same results', async () => {
  const wanted = await expected();
  const ran: string[] = [];
  for (const backend of [createReferenceBackend(), withNorm(createReferenceBackend(), ran)]) {
    const got = await results(backend);
    for (const [at, list] of got.entries()) {
      expect(list).toHaveLength(wanted[at]?.length ?? 0);
      for (const [i, value] of list.entries()) expect(value).toBeCloseTo(wanted[at]?.[i] as number, 5);
    }
  }
  expect(ran).toEqual(['outsideNorm', 'outsideNorm']);
});

test('it is planned and explained as the others are', () => {
  const backend = withNorm(createReferenceBackend(), []);
  const call = { where: 'outsideNorm', wishes: {}, training: true, named: (plan: Plan): Plan => plan };
  const fused = explainOperation(norm, backend, { ...call, request: { rows: 2, width: 4 } });
  expect(fused.paths[0]?.facts).toEqual({ variant: 'by primitives of the engine' });
  expect(fused.plan.bytes).toMatchObject({ inputs: 48, output: 32, saved: 8, total: 40 });
  expect(fused.backward?.path).toBe('composed');
  const composed = explainOperation(norm, backend, { ...call, request: { rows: 2, width: 8 } });
  expect(String(composed)).toMatch(
    /^outsideNorm on reference: composed\nnot fused {5}width 8: made for 4\nvariant {7}a mean and two products\ninputs /,
  );
  const tight = { ...call, request: { rows: 2, width: 8 }, wishes: { budgetBytes: 10 } };
  expect(() => explainOperation(norm, backend, tight)).toThrow(/^norm: the request does not fit/);
});

test('without a declared backward pass the composed version differentiates itself, and no fused one runs', async () => {
  interface Product<T> {
    readonly a: T;
    readonly b: T;
  }
  const product = defineOperation<{ saves?: boolean }, Product<Tensor>, { readonly output: Tensor }>({
    name: 'outsideProduct',
    title: 'product',
    outputs: () => ({ output: { shape: [1, 1], dtype: 'f32' } }),
    forward: {
      bytes: () => ({ inputs: 16, output: 4, saved: 0 }),
      composed: () => ({
        scratchBytes: () => 0,
        run: ({ a, b }) => ({ output: matmul(a, b) }),
      }),
    },
  });
  let runs = 0;
  const reference = createReferenceBackend();
  const fused: FusedOperation<object, Product<BackendTensor>, { readonly output: BackendTensor }> = {
    prepare: () => ({
      scratchBytes: () => 0,
      run: ({ a, b }) => {
        runs++;
        return { output: (reference as Backend).matmul(a, b, false, false) };
      },
    }),
  };
  const backend: Backend = { ...(reference as Backend), fused: { outsideProduct: fused } };
  const a = tensor(backend, [2, 3], [1, 2]);
  const b = tensor(backend, [5, 7], [2, 1]);
  const run = (left: Tensor): Tensor =>
    runOperation(product, { where: 'product', request: {}, inputs: { a: left, b } }).output;
  expect([...(await run(a).data())]).toEqual([31]);
  expect(runs).toBe(1);
  expect([...(await grad((left: Tensor) => sum(run(left)))(a).data())]).toEqual([5, 7]);
  expect(runs).toBe(1);
});
