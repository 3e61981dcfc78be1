import { describe, expect, expectTypeOf, test } from 'vitest';
import * as ops from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

type Parameters = { readonly [name: string]: ops.Tensor };

const numbers = (size: number, seed: number): Float32Array =>
  Float32Array.from({ length: size }, (_, i) => Math.sin(1.7 * i + 12.9898 * seed) * 0.7);

const WIDTH = 8;
const ROWS = 6;

function parametersOf(backend: ops.Backend, layers = 3): Parameters {
  const made: { [name: string]: ops.Tensor } = {
    table: ops.tensor(backend, numbers(32, 1), [16, 2]),
    tied: ops.tensor(backend, numbers(WIDTH * WIDTH, 2), [WIDTH, WIDTH]),
  };
  for (let at = 0; at < layers; at++) {
    made[`norm${at}`] = ops.tensor(backend, numbers(WIDTH, 3 + at), [WIDTH]);
    made[`hidden${at}`] = ops.tensor(backend, numbers(WIDTH * WIDTH, 30 + at), [WIDTH, WIDTH]);
  }
  return made;
}

/** Attention with a bias that all blocks share, dropout, a norm, and a matrix used twice inside and once outside. */
function block(p: Parameters, x: ops.Tensor, at: number): ops.Tensor {
  const get = (name: string): ops.Tensor => p[name] as ops.Tensor;
  return ops.scope(() => {
    const normal = ops.layerNorm(ops.matmul(x, get('tied')), get(`norm${at}`));
    const heads = ops.transpose(ops.reshape(normal, [1, ROWS, 2, WIDTH / 2]), [0, 2, 1, 3]);
    const attended = ops.topKAttention(heads, heads, heads, {
      k: 3,
      dropout: { rate: 0.25, seed: 2 ** 40 + at },
      relativeBias: { table: get('table'), bidirectional: true, maxDistance: 8 },
    });
    const joined = ops.reshape(ops.transpose(attended, [0, 2, 1, 3]), [ROWS, WIDTH]);
    const hidden = ops.gelu(ops.matmul(joined, get(`hidden${at}`)));
    const kept = ops.where(
      ops.le(-(2 ** 30), ops.randomBits(x.backend, 2 ** 41 + at, hidden.shape)),
      hidden,
      0,
    );
    return ops.add(x, ops.matmul(kept, get('tied'), { transposeB: true }));
  });
}

type How = 'plain' | 'recomputed' | 'nested';

function lossOf(how: How, layers = 3) {
  return (p: Parameters, x: ops.Tensor): ops.Tensor =>
    ops.scope(() => {
      let current = x;
      for (let at = 0; at < layers; at++) {
        const run = ({ current }: { readonly current: ops.Tensor }): ops.Tensor => block(p, current, at);
        if (how === 'plain') current = run({ current });
        else if (how === 'recomputed') current = ops.recompute(run, { current });
        else current = ops.recompute((from) => ops.recompute(run, from), { current });
      }
      const last = ops.matmul(current, p.tied as ops.Tensor);
      return ops.mean(ops.mul(last, last));
    });
}

async function gradientsOf(backend: ops.Backend, how: How) {
  const parameters = parametersOf(backend);
  const x = ops.tensor(backend, numbers(ROWS * WIDTH, 77), [ROWS, WIDTH]);
  const before = backend.memory().live;
  backend.resetPeak();
  const { value, gradients } = ops.valueAndGrad(lossOf(how))(parameters, x);
  const { peak } = backend.memory();
  const read = await Promise.all([value, ...Object.values(gradients)].map((one) => one.data()));
  for (const one of [value, ...Object.values(gradients)]) one.dispose();
  expect(backend.memory().live).toBe(before);
  return { read, peak: (peak as number) - before };
}

describe('recompute', () => {
  test.each([[true], [false]])('gives the same bits as without it, nested too (fused %s)', async (fused) => {
    const plain = await gradientsOf(createReferenceBackend({ fused }), 'plain');
    expect(plain.read.every((one) => one.some((x) => x !== 0))).toBe(true);
    for (const how of ['recomputed', 'nested'] as const) {
      const other = await gradientsOf(createReferenceBackend({ fused }), how);
      expect(other.read).toEqual(plain.read);
      expect(other.peak).toBeLessThan(plain.peak);
    }
  });

  test('keeps memory that grows by one input per block', () => {
    const peakOf = (how: How, layers: number): number => {
      const backend = createReferenceBackend();
      const parameters = parametersOf(backend, layers);
      const x = ops.tensor(backend, numbers(ROWS * WIDTH, 77), [ROWS, WIDTH]);
      backend.resetPeak();
      const pulled = ops.pullback((p: Parameters) => lossOf(how, layers)(p, x), parameters);
      const kept = backend.memory().live;
      pulled.dispose();
      return kept;
    };
    const perBlock = (how: How): number => (peakOf(how, 9) - peakOf(how, 5)) / 4;
    const ofParameters = 4 * (WIDTH * WIDTH + WIDTH);
    expect(perBlock('recomputed') - ofParameters).toBe(4 * ROWS * WIDTH);
    expect(perBlock('plain') - ofParameters).toBeGreaterThan(5 * 4 * ROWS * WIDTH);
  });

  test('just runs where no gradient is wanted, and passes an input through', async () => {
    const backend = createReferenceBackend();
    const x = ops.tensor(backend, [1, 2]);
    let runs = 0;
    const twice = (from: ops.Tensor): ops.Tensor => {
      runs++;
      return ops.mul(from, 2);
    };
    expect(Array.from(await ops.recompute(twice, x).data())).toEqual([2, 4]);
    const g = ops.grad(({ x: own }: Parameters) => {
      const other = ops.recompute(twice, x);
      const same = ops.recompute((from: ops.Tensor) => from, own as ops.Tensor);
      return ops.sum(ops.mul(same, other));
    })({ x });
    expect(runs).toBe(3);
    // Of x as a parameter, used directly and as `x` inside: d(2 x²) = 4 x.
    expect(Array.from(await (g.x as ops.Tensor).data())).toEqual([4, 8]);
  });

  test('takes trees and returns trees, with one result twice and one without a gradient', async () => {
    const backend = createReferenceBackend();
    const w = ops.tensor(backend, [3, 1, 2]);
    const g = ops.grad(({ w: own }: Parameters) => {
      const made = ops.recompute(
        ({ list: [one] }: { readonly list: readonly ops.Tensor[] }) => {
          const square = ops.mul(one as ops.Tensor, one as ops.Tensor);
          const { values, indices } = ops.topK(square, 2);
          return { pair: [square, square], values, indices };
        },
        { list: [own as ops.Tensor] },
      );
      expectTypeOf(made.indices).toEqualTypeOf<ops.Tensor>();
      const [a, b] = made.pair as [ops.Tensor, ops.Tensor];
      return ops.add(ops.sum(ops.add(a, b)), ops.sum(made.values));
    })({ w });
    expect(Array.from(await (g.w as ops.Tensor).data())).toEqual([18, 4, 12]);
  });

  test('a gradient of its gradient is right', async () => {
    const backend = createReferenceBackend({ floatStorage: 'f64' });
    const second = (f: (x: ops.Tensor) => ops.Tensor) =>
      ops.grad(({ x }: Parameters) => {
        const first = ops.grad(({ x: own }: Parameters) => ops.sum(f(own as ops.Tensor)))({
          x: x as ops.Tensor,
        });
        return ops.sum(ops.mul(first.x as ops.Tensor, first.x as ops.Tensor));
      });
    const cube = (x: ops.Tensor): ops.Tensor => ops.mul(ops.mul(x, x), x);
    const x = ops.tensor(backend, [1, 2]);
    const plain = second(cube)({ x });
    const again = second((from) => ops.recompute(cube, from))({ x });
    // d (3x²)² = 36 x³
    expect(Array.from(await (plain.x as ops.Tensor).data())).toEqual([36, 288]);
    expect(Array.from(await (again.x as ops.Tensor).data())).toEqual([36, 288]);
  });

  test('a failure in either run leaves nothing behind, and the next call works', async () => {
    const backend = createReferenceBackend();
    const x = ops.tensor(backend, [1, 2, 3]);
    const before = backend.memory().live;
    const failAt = (run: number) => {
      let runs = 0;
      return ops.grad(({ x: own }: Parameters) =>
        ops.scope(() =>
          ops.sum(
            ops.recompute((from: ops.Tensor) => {
              const square = ops.mul(from, from);
              if (++runs === run) throw new Error(`run ${run}`);
              return square;
            }, own as ops.Tensor),
          ),
        ),
      );
    };
    for (const run of [1, 2]) {
      expect(() => failAt(run)({ x })).toThrow(`run ${run}`);
      expect(backend.memory().live).toBe(before);
    }
    const g = failAt(3)({ x });
    expect(Array.from(await (g.x as ops.Tensor).data())).toEqual([2, 4, 6]);
  });

  test('a function that changes is found out; what it needs is named when it is gone', () => {
    const backend = createReferenceBackend();
    const x = ops.tensor(backend, [1, 2, 3]);
    const before = backend.memory().live;
    let length = 3;
    const shrinking = ops.grad(({ x: own }: Parameters) =>
      ops.sum(
        ops.recompute((from: ops.Tensor) => ops.mul(ops.narrow(from, 0, 0, length--), 2), own as ops.Tensor),
      ),
    );
    expect(() => ops.scope(() => shrinking({ x }))).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
    const forgetful = ops.grad(({ x: own }: Parameters) =>
      ops.scope(() => {
        const inner = ops.mul(own as ops.Tensor, 3);
        return ops.sum(ops.recompute((from: ops.Tensor) => ops.mul(from, inner), own as ops.Tensor));
      }),
    );
    expect(() => ops.scope(() => forgetful({ x }))).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    expect(backend.memory().live).toBe(before);
    expect(() => ops.recompute(undefined as never, { x })).toThrow(
      expect.objectContaining({ code: 'INVALID_OPTION' }),
    );
  });

  test('a tensor from outside that it returns with a gradient keeps it', async () => {
    const backend = createReferenceBackend();
    const rounded = ops.tensor(backend, [4, 5]);
    const through = (x: ops.Tensor): ops.Tensor =>
      ops.custom(
        'through',
        [x],
        () => ({ outputs: [rounded], saved: [] }),
        (_, [g]) => [g],
      )[0] as ops.Tensor;
    for (const run of [through, (x: ops.Tensor) => ops.recompute(through, x)]) {
      const g = ops.grad(({ x }: Parameters) => ops.sum(ops.mul(run(x as ops.Tensor), 3)))({
        x: ops.tensor(backend, [1, 2]),
      });
      expect(Array.from(await (g.x as ops.Tensor).data())).toEqual([3, 3]);
    }
  });

  test('a recorded step inside of it is called, as gradients need its ops', async () => {
    const backend = createReferenceBackend();
    const step = ops.recordedStep(({ x }: { readonly x: ops.Tensor }) => ({
      state: { x: ops.mul(x, x) },
      outputs: {},
    }));
    const g = ops.grad(({ x: own }: Parameters) =>
      ops.sum(ops.recompute((from: ops.Tensor) => step({ x: from.alias() }, {}).state.x, own as ops.Tensor)),
    )({ x: ops.tensor(backend, [2, 5]) });
    expect(Array.from(await (g.x as ops.Tensor).data())).toEqual([4, 10]);
    expect(step.counts.replayed).toBe(0);
  });
});

test('valueAndGrad frees what an op keeps as soon as its gradient is made', () => {
  const peakOf = (layers: number): number => {
    const backend = createReferenceBackend();
    const x = ops.tensor(backend, numbers(1000, 1));
    backend.resetPeak();
    const chain = (p: Parameters): ops.Tensor =>
      ops.scope(() => {
        let current = p.x as ops.Tensor;
        for (let at = 0; at < layers; at++) current = ops.exp(current);
        return ops.mean(current);
      });
    ops.scope(() => ops.valueAndGrad(chain)({ x }));
    return backend.memory().peak as number;
  };
  // Each op keeps its output, and its gradient is never alive together with all of them.
  expect(peakOf(20)).toBeLessThan(4 * 1000 * 25);
});
