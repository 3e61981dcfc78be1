import {
  add,
  type Backend,
  evaluate,
  exactAttention,
  grad,
  mul,
  neg,
  pullback,
  reshape,
  scope,
  sum,
  type Tensor,
  TopKError,
  tensor,
  topKAttention,
  topKFeedForward,
  zeros,
} from '@topk-attention/core';
import type { BackendTensor } from '@topk-attention/core/backend';
import type { ConformanceCase, ConformanceContext } from '../../harness/case.js';
import { check, checkEqual, checkRejects, checkSameBits } from '../../harness/support/assert.js';
import { Random } from '../../harness/support/random.js';

function lifecycle(name: string, run: ConformanceCase['run'], anchors?: readonly number[]): ConformanceCase {
  return { name: `lifecycle: ${name}`, group: 'lifecycle', run, ...(anchors && { anchors }) };
}

interface Inputs {
  readonly q: Tensor;
  readonly k: Tensor;
  readonly v: Tensor;
}

function inputsOf(backend: Backend, heads: number, queries: number, keys: number, dim: number): Inputs {
  const random = new Random('lifecycle');
  const up = (length: number): Tensor => {
    const shape = [1, heads, length, dim];
    return tensor(backend, Float32Array.from(random.uniform(shape).data), shape);
  };
  return { q: up(queries), k: up(keys), v: up(keys) };
}

function disposeAll(...lists: readonly object[]): void {
  for (const list of lists) for (const one of Object.values(list)) one.dispose();
}

/** The same backend with one primitive failing as an engine does. Methods keep their own `this`. */
function failing(
  backend: Backend,
  primitive: 'unary' | 'read' | 'evaluate' | 'upload' | 'matmul' | 'softmax' | 'scatterAddRows',
  error: unknown,
): Backend {
  const broken = (): never => {
    throw error;
  };
  return new Proxy(backend, {
    get(target, property) {
      if (property === primitive) return broken;
      if (property === 'fused') return undefined;
      const value: unknown = Reflect.get(target, property, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** Calls after each of which the live bytes must be the same. */
const repeated: Readonly<Record<string, (inputs: Inputs) => readonly Tensor[]>> = {
  'top-k attention': ({ q, k, v }) => {
    const { output, indices } = topKAttention(q, k, v, { k: 2, causal: true, returnIndices: true });
    return [output, indices];
  },
  'exact attention': ({ q, k, v }) => [exactAttention(q, k, v, { queryChunk: 2 })],
  'gradients of top-k attention': (inputs) => {
    const loss = grad((p: { q: Tensor; k: Tensor; v: Tensor }) =>
      sum(topKAttention(p.q, p.k, p.v, { k: 2 })),
    );
    return Object.values(loss({ ...inputs }));
  },
  'elementwise operations in a scope': ({ q }) => [scope(() => mul(add(q, 1), add(q, -1)))],
};

const liveCases = Object.entries(repeated).map(([name, call]) =>
  lifecycle(`live bytes are flat over many calls: ${name}`, async ({ backend, calls }) => {
    const inputs = inputsOf(backend, 1, 4, 5, 2);
    const settle = async (): Promise<number> => {
      const results = call(inputs);
      await evaluate(...results);
      for (const one of results) one.dispose();
      return backend.memory().live;
    };
    const first = await settle();
    for (let i = 1; i < calls; i++) {
      const live = await settle();
      if (live !== first) check(false, `${live} bytes live after call ${i + 1}, ${first} after the first`);
    }
    disposeAll(inputs);
  }),
);

const poisons: readonly (readonly [name: string, error: unknown, code: string])[] = [
  ['a lost device', new TopKError('DEVICE_LOST', 'test: the device is lost'), 'DEVICE_LOST'],
  ['no memory', new RangeError('Array buffer allocation failed'), 'OUT_OF_MEMORY'],
  ['anything else', new Error('test: the engine failed'), 'ENGINE_FAILURE'],
];

const poisonCases = poisons.map(([name, error, code]) =>
  lifecycle(`an engine failure poisons what depends on it: ${name}`, async (context) => {
    const backend = failing(await context.createBackend(), 'unary', error);
    const x = tensor(backend, [1, 2, 3]);
    const poisoned = neg(x);
    const later = add(mul(poisoned, 2), x);
    const sound = add(x, x);
    check(
      later.shape.join() === '3' && later.dtype === 'f32',
      'shape and dtype of a poisoned tensor are known',
    );
    await checkRejects('data of the failed op', poisoned.data(), code);
    await checkRejects('data of a dependent', later.data(), code);
    await checkRejects('evaluate of a dependent', evaluate(sound, later), code);
    checkEqual('a tensor that does not depend on it', await sound.data(), [2, 4, 6]);
    disposeAll([x, poisoned, later, sound]);
  }),
);

export const lifecycleCases: readonly ConformanceCase[] = [
  ...liveCases,
  ...poisonCases,
  lifecycle('a failed read or evaluate rejects with a code', async (context) => {
    const own = await context.createBackend();
    for (const primitive of ['read', 'evaluate'] as const) {
      const backend = failing(own, primitive, new Error('test: the engine failed'));
      const x = tensor(backend, [1, 2, 3]);
      await checkRejects(primitive, primitive === 'read' ? x.data() : evaluate(x), 'ENGINE_FAILURE');
      x.dispose();
    }
  }),
  lifecycle('a failed upload poisons the tensor', async (context) => {
    const backend = failing(
      await context.createBackend(),
      'upload',
      new RangeError('Array buffer allocation failed'),
    );
    const x = tensor(backend, [1, 2, 3]);
    await checkRejects('data', x.data(), 'OUT_OF_MEMORY');
    await checkRejects('dependent', add(x, 1).data(), 'OUT_OF_MEMORY');
  }),
  lifecycle('a failing attention call leaks nothing, forward and backward', async (context) => {
    const own = await context.createBackend();
    // The composed path meets them at its beginning, in the middle and, in a gradient, at the end.
    for (const primitive of ['matmul', 'softmax', 'scatterAddRows'] as const) {
      for (const kept of [2, 'all'] as const) {
        const before = own.memory().live;
        const backend = failing(own, primitive, new Error('test: the engine failed'));
        const inputs = inputsOf(backend, 2, 6, 7, 4);
        const table = zeros(backend, [8, 2]);
        const options = { queryChunk: 4, relativeBias: { table, bidirectional: true, maxDistance: 16 } };
        const pulled = pullback(
          (p: Inputs & { readonly table: Tensor }) => {
            const own = { ...options, relativeBias: { ...options.relativeBias, table: p.table } };
            return kept === 'all'
              ? exactAttention(p.q, p.k, p.v, own)
              : topKAttention(p.q, p.k, p.v, { ...own, k: kept });
          },
          { ...inputs, table },
        );
        const upstream = zeros(backend, pulled.output.shape);
        const gradients = pulled.backward(upstream);
        const what = `${primitive}, k ${kept}`;
        // The forward pass scatters nothing.
        if (primitive !== 'scatterAddRows') {
          await checkRejects(`output, ${what}`, pulled.output.data(), 'ENGINE_FAILURE');
        }
        await checkRejects(`gradient, ${what}`, gradients.table.data(), 'ENGINE_FAILURE');
        disposeAll(inputs, gradients, [table, upstream, pulled.output, pulled]);
        const left = own.memory().live - before;
        check(left === 0, `${what}: ${left} bytes are left`);
      }
    }
  }),
  lifecycle('a failing feed-forward call leaks nothing', async (context) => {
    const own = await context.createBackend();
    const before = own.memory().live;
    // The composed path meets `unary` in the middle of the gelu.
    const backend = failing(own, 'unary', new Error('test: the engine failed'));
    const x = zeros(backend, [3, 4]);
    const [wIn, wOut] = [zeros(backend, [4, 6]), zeros(backend, [6, 2])];
    const y = topKFeedForward(x, { wIn, wOut }, { k: 2, activation: 'gelu' });
    await checkRejects('data', y.data(), 'ENGINE_FAILURE');
    disposeAll([x, wIn, wOut, y]);
    check(own.memory().live === before, `${own.memory().live - before} bytes are left`);
  }),
  lifecycle('a scope frees what it does not return, a tape what it kept', async ({ backend }) => {
    const before = backend.memory().live;
    const { q, k, v } = inputsOf(backend, 2, 6, 6, 4);
    const withInputs = backend.memory().live;
    const pulled = pullback(
      (p: { q: Tensor; k: Tensor; v: Tensor }) => topKAttention(p.q, p.k, p.v, { k: 3 }),
      { q, k, v },
    );
    const upstream = zeros(backend, [1, 2, 6, 4]);
    const gradients = pulled.backward(upstream);
    const again = pulled.backward(upstream);
    await evaluate(gradients.q, again.q);
    disposeAll(gradients, again, [upstream, pulled.output, pulled]);
    check(
      backend.memory().live === withInputs,
      `${backend.memory().live - withInputs} bytes beyond the inputs`,
    );
    disposeAll([q, k, v]);
    check(backend.memory().live === before, `${backend.memory().live - before} bytes are left`);
  }),
  lifecycle(
    'anchor 4: training keeps 8 k bytes per query and head, nothing of size Lq x Lk',
    async ({ backend }) => {
      if (backend.capabilities.floatStorage !== 'f32') return;
      const [heads, queries, keys, dim, kept] = [2, 64, 160, 4, 8];
      const inputs = inputsOf(backend, heads, queries, keys, dim);
      await evaluate(inputs.q, inputs.k, inputs.v);
      const before = backend.memory().live;
      backend.resetPeak();
      const pulled = pullback(
        (p: { q: Tensor; k: Tensor; v: Tensor }) => topKAttention(p.q, p.k, p.v, { k: kept, queryChunk: 8 }),
        { ...inputs },
      );
      await evaluate(pulled.output);
      const { live, peak } = backend.memory();
      const output = 4 * heads * queries * dim;
      const records = 8 * heads * queries * kept;
      const chunkScores = 4 * heads * 8 * keys;
      check(
        live - before <= output + records,
        `${live - before} bytes kept, output and records are ${output + records}`,
      );
      if (peak !== undefined) {
        const factor = (peak - before - output - records) / chunkScores;
        check(factor <= 6, `the peak holds ${factor.toFixed(2)} chunks of scores beyond output and records`);
      }
      disposeAll([pulled.output, pulled], inputs);
    },
    [4],
  ),
  lifecycle('a view and its origin can be disposed in any order', async ({ backend }) => {
    for (const first of ['origin', 'view'] as const) {
      const origin = tensor(backend, [1, 2, 3, 4]);
      const view = reshape(origin, [2, 2]);
      (first === 'origin' ? origin : view).dispose();
      const left = first === 'origin' ? view : origin;
      checkEqual('values', await left.data(), [1, 2, 3, 4]);
      left.dispose();
    }
  }),
  lifecycle('two results of one graph read in either order, several times', async ({ backend }) => {
    const x = tensor(backend, [1, 2, 3]);
    const y = mul(x, 3);
    const z = add(y, x);
    const first = await z.data();
    checkEqual('y', await y.data(), [3, 6, 9]);
    checkSameBits('z', await z.data(), first);
    const [a, b] = await Promise.all([y.data(), z.data()]);
    checkEqual('y again', a, [3, 6, 9]);
    checkEqual('z again', b, [4, 8, 12]);
    disposeAll([x, y, z]);
  }),
  lifecycle('dispose() of a backend is idempotent', async (context: ConformanceContext) => {
    const backend = await context.createBackend();
    const x: BackendTensor = backend.upload(Float32Array.of(1), [1], 'f32');
    await backend.evaluate([x]);
    const first = backend.dispose();
    await Promise.all([first, backend.dispose()]);
    await backend.dispose();
  }),
  lifecycle('after dispose() of a backend everything is DISPOSED', async (context: ConformanceContext) => {
    const backend = await context.createBackend();
    const x = tensor(backend, [1, 2, 3, 4], [1, 1, 2, 2]);
    const computed = mul(x, 2);
    await evaluate(computed);
    const pending = add(computed, 1);
    await backend.dispose();
    // Thrown by the op, or by reading its result.
    const refused = (what: string, make: () => Tensor): Promise<void> =>
      checkRejects(what, (async () => make().data())(), 'DISPOSED');
    await refused('data() of an uploaded tensor', () => x);
    await refused('data() of a computed tensor', () => computed);
    await refused('data() of one that was not computed yet', () => pending);
    await checkRejects('evaluate()', (async () => evaluate(computed))(), 'DISPOSED');
    await refused('a new tensor', () => tensor(backend, [1]));
    await refused('a filled tensor', () => zeros(backend, [2]));
    await refused('an op', () => add(x, x));
    await refused('a view', () => reshape(x, [4]));
    await refused('attention', () => topKAttention(x, x, x, { k: 1 }));
    disposeAll([x, computed, pending]);
    await backend.dispose();
  }),
  lifecycle('capabilities and limits are plain, sensible data', ({ backend }) => {
    const { capabilities, name } = backend;
    const { limits } = capabilities;
    check(name.length > 0, 'a name');
    for (const dtype of ['f32', 'i32', 'bool'] as const)
      check(capabilities.dtypes.includes(dtype), `dtype ${dtype}`);
    check(limits.maxBufferBytes > 0 && limits.targetScratchBytes > 0, 'limits in bytes are positive');
    check(
      limits.minQueryChunk >= 1 && limits.maxQueryChunk >= limits.minQueryChunk,
      'bounds of the query chunk',
    );
    check(limits.gatherCost > 0, 'gatherCost is positive');
    check(
      JSON.stringify(capabilities) === JSON.stringify(JSON.parse(JSON.stringify(capabilities))),
      'plain data',
    );
  }),
];
