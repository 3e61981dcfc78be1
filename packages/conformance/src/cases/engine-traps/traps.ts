import type { ConformanceCase } from '../../harness/case.js';
import { check, checkEqual, checkSameBits } from '../../harness/support/assert.js';
import { at, list, type Nd, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import type { Workbench } from '../../harness/support/workbench.js';
import { product } from '../primitives/matmul.js';
import { primitiveCase } from '../primitives/primitive-case.js';
import { reuseOfAttention } from './reuse/attention.js';
import { reuseOfLayersAndOps } from './reuse/layers-and-ops.js';
import { reuseOfProducts } from './reuse/products.js';

const INF = Number.POSITIVE_INFINITY;
const NAN = Number.NaN;

/** Places where engines were seen to give wrong answers silently. Each is a case of its own, named by its symptom. */
function trap(name: string, run: (bench: Workbench) => Promise<void>): ConformanceCase {
  return primitiveCase(`trap: ${name}`, run, { group: 'engine traps' });
}

export const trapCases: readonly ConformanceCase[] = [
  trap('scatterAddRows with many duplicates races (ONNX ScatterND add)', async (bench) => {
    const random = new Random('race');
    const [rows, updates, width] = [7, 20000, 4];
    const indices = random.integers([1, updates], 0, rows - 1);
    const values = random.integers([1, updates, width], -3, 3);
    const expected = new Array<number>(rows * width).fill(0);
    nd([1, updates, width], ([, i = 0, c = 0], position) => {
      const target = at(indices, [0, i]) * width + c;
      expected[target] = (expected[target] as number) + (values.data[position] as number);
      return 0;
    });
    const [at_, update] = [bench.upload(indices, 'i32'), bench.upload(values)];
    for (let run = 0; run < 3; run++) {
      await bench.expect(
        bench.backend.scatterAddRows(rows, at_, update),
        { shape: [1, rows, width], data: expected },
        {
          exact: true,
        },
      );
    }
  }),
  trap('scatterAddRows of fractions gives the same bits every time (float atomics)', async (bench) => {
    const { backend } = bench;
    if (backend.capabilities.deterministicScatter !== true) {
      check(
        backend.capabilities.deterministicScatter.no.length > 0,
        'deterministicScatter is refused without a reason',
      );
      return;
    }
    const random = new Random('atomics');
    const indices = bench.upload(random.integers([2, 5000], -1, 4), 'i32');
    const updates = bench.upload(nd([2, 5000, 3], () => random.next() * 10 ** random.integer(-4, 4)));
    const first = await backend.read(bench.own(backend.scatterAddRows(5, indices, updates)));
    for (let run = 0; run < 4; run++) {
      const again = await backend.read(bench.own(backend.scatterAddRows(5, indices, updates)));
      checkSameBits('scatterAddRows', first, again);
    }
  }),
  trap(
    'max and topK skip a NaN (ONNX ReduceMax, TopK), so isNaN must find it wherever it is',
    async (bench) => {
      for (const position of [0, 1, 31, 62, 63]) {
        const x = nd([2, 64], ([row = 0, j = 0]) => (row === 1 && j === position ? NAN : j));
        const flags = nd([2, 64], ([row = 0, j = 0]) => (row === 1 && j === position ? 1 : 0));
        const found = bench.own(bench.backend.isNaN(bench.upload(x)));
        await bench.expect(found, flags, { dtype: 'bool', what: `NaN at ${position}` });
        const counts = bench.own(bench.backend.cast(found, 'f32'));
        await bench.expect(bench.backend.max(counts, [1]), { shape: [2, 1], data: [0, 1] }, { exact: true });
      }
    },
  ),
  trap('sum propagates NaN wherever it is in the row', async (bench) => {
    for (const position of [0, 1, 31, 62, 63]) {
      const x = nd([2, 64], ([row = 0, j = 0]) => (row === 1 && j === position ? NAN : 1));
      await bench.expect(
        bench.backend.sum(bench.upload(x), [1]),
        { shape: [2, 1], data: [64, NAN] },
        { exact: true },
      );
    }
  }),
  trap('isNaN takes an infinity for a NaN (inf - inf, x != x under fast maths)', async (bench) => {
    const x: Nd = { shape: [5], data: [INF, -INF, NAN, 0, 3e38] };
    const t = bench.upload(x);
    await bench.expect(bench.backend.isNaN(t), { shape: [5], data: [0, 0, 1, 0, 0] }, { dtype: 'bool' });
    const computed = bench.own(bench.backend.binary('sub', t, t));
    await bench.expect(
      bench.backend.isNaN(computed),
      { shape: [5], data: [1, 1, 1, 0, 0] },
      { dtype: 'bool' },
    );
  }),
  trap('topK breaks ties to the lower index in long rows too', async (bench) => {
    for (const width of [33, 257, 1025]) {
      const x = nd([2, width], ([row = 0, j = 0]) => (row === 0 ? 1 : j % 3));
      const k = 17;
      const kept = bench.backend.topK(bench.upload(x), k);
      bench.own(kept.values);
      const expected = nd([2, k], ([row = 0, slot = 0]) => (row === 0 ? slot : 3 * slot + 2));
      // Row 1 holds floor(width / 3) twos; where they are fewer than k the ones fill up.
      const twos = Math.floor(width / 3);
      if (twos >= k) await bench.expect(kept.indices, expected, { dtype: 'i32', what: `width ${width}` });
      else {
        const all = [
          ...Array.from({ length: twos }, (_, i) => 3 * i + 2),
          ...Array.from({ length: k - twos }, (_, i) => 3 * i + 1),
        ].sort((a, b) => a - b);
        const rows = [...Array.from({ length: k }, (_, i) => i), ...all];
        await bench.expect(
          kept.indices,
          { shape: [2, k], data: rows },
          { dtype: 'i32', what: `width ${width}` },
        );
      }
    }
  }),
  trap('topK keeps +inf as an ordinary value, the first of several', async (bench) => {
    const x: Nd = { shape: [1, 6], data: [1, INF, 5, INF, -INF, INF] };
    const kept = bench.backend.topK(bench.upload(x), 2);
    await bench.expect(kept.values, { shape: [1, 2], data: [INF, INF] }, { exact: true });
    await bench.expect(kept.indices, { shape: [1, 2], data: [1, 3] }, { dtype: 'i32' });
  }),
  trap('topK puts a finite number in the place of -inf', async (bench) => {
    const x: Nd = { shape: [2, 3], data: [-INF, -(2 ** 127), -INF, -INF, -INF, -INF] };
    const kept = bench.backend.topK(bench.upload(x), 2);
    const values: Nd = { shape: [2, 2], data: [-(2 ** 127), -INF, -INF, -INF] };
    await bench.expect(kept.values, values, { exact: true });
    await bench.expect(kept.indices, { shape: [2, 2], data: [1, -1, -1, -1] }, { dtype: 'i32' });
  }),
  trap('softmax of a row of all -inf is NaN (ORT, tfjs) instead of zeros', async (bench) => {
    const x: Nd = { shape: [3, 4], data: [0, 0, 0, 0, -INF, -INF, -INF, -INF, -INF, 7, -INF, -INF] };
    const expected: Nd = { shape: [3, 4], data: [0.25, 0.25, 0.25, 0.25, 0, 0, 0, 0, 0, 1, 0, 0] };
    await bench.expect(bench.backend.softmax(bench.upload(x)), expected);
  }),
  trap('softmax of a row with +inf or NaN is NaN throughout', async (bench) => {
    const x: Nd = { shape: [4, 3], data: [1, INF, 2, NAN, 1, 2, INF, -INF, -INF, -INF, NAN, -INF] };
    await bench.expect(bench.backend.softmax(bench.upload(x)), {
      shape: [4, 3],
      data: new Array<number>(12).fill(NAN),
    });
  }),
  trap('batched matmul with grouped heads folded into rows (tfjs broadcasts wrongly)', async (bench) => {
    const random = new Random('groups');
    const q = random.integers([2, 2, 3, 4, 5], -4, 4); // [B, Hkv, G, L, D]
    const k = random.integers([2, 2, 7, 5], -4, 4); // [B, Hkv, Lk, D]
    const folded = bench.own(bench.backend.reshape(bench.upload(q), [2, 2, 12, 5]));
    const expected = product({ shape: [2, 2, 12, 5], data: q.data }, k, false, true);
    await bench.expect(bench.backend.matmul(folded, bench.upload(k), false, true), expected, { exact: true });
  }),
  trap('index -1 wraps to the last row or throws (ONNX, tf.gather)', async (bench) => {
    const { backend } = bench;
    const table: Nd = { shape: [1, 3, 2], data: [1, 2, 3, 4, 5, 6] };
    const indices = bench.upload({ shape: [1, 4], data: [-1, 0, -1, 2] }, 'i32');
    const gathered: Nd = { shape: [1, 4, 2], data: [0, 0, 1, 2, 0, 0, 5, 6] };
    await bench.expect(backend.gatherRows(bench.upload(table), indices), gathered, { exact: true });
    const row: Nd = { shape: [1, 3], data: [7, 8, 9] };
    await bench.expect(
      backend.takeAlong(bench.upload(row), indices),
      { shape: [1, 4], data: [0, 7, 0, 9] },
      { exact: true },
    );
  }),
  trap('index -1 zeroes by a product with 0, which NaN and infinite rows survive', async (bench) => {
    const { backend } = bench;
    const bad: Nd = { shape: [1, 3, 2], data: [NAN, INF, 3, 4, NAN, -INF] };
    const indices = bench.upload({ shape: [1, 3], data: [-1, 1, -1] }, 'i32');
    await bench.expect(
      backend.gatherRows(bench.upload(bad), indices),
      { shape: [1, 3, 2], data: [0, 0, 3, 4, 0, 0] },
      {
        exact: true,
      },
    );
    const sums = backend.scatterAddRows(2, indices, bench.upload(bad));
    await bench.expect(
      sums,
      { shape: [1, 2, 2], data: [0, 0, 3, 4] },
      { exact: true, what: 'scatterAddRows' },
    );
    const row: Nd = { shape: [1, 3], data: [NAN, 5, INF] };
    await bench.expect(
      backend.takeAlong(bench.upload(row), indices),
      { shape: [1, 3], data: [0, 5, 0] },
      { exact: true },
    );
    const put = backend.putAlong(indices, bench.upload(row), 3);
    await bench.expect(put, { shape: [1, 3], data: [0, 5, 0] }, { exact: true, what: 'putAlong' });
  }),
  trap('all indices -1: nothing is read or written', async (bench) => {
    const { backend } = bench;
    const none = bench.upload({ shape: [2, 3], data: new Array<number>(6).fill(-1) }, 'i32');
    const x = bench.upload(nd([2, 4, 2], () => NAN));
    await bench.expect(
      backend.gatherRows(x, none),
      nd([2, 3, 2], () => 0),
      { exact: true },
    );
    const updates = bench.upload(nd([2, 3, 2], () => 1));
    await bench.expect(
      backend.scatterAddRows(4, none, updates),
      nd([2, 4, 2], () => 0),
      { exact: true },
    );
    await bench.expect(
      backend.putAlong(none, bench.upload(nd([2, 3], () => 1)), 5),
      nd([2, 5], () => 0),
      { exact: true },
    );
  }),
  trap('the branch of where that is not taken leaks NaN', async (bench) => {
    const c = bench.upload({ shape: [4], data: [1, 0, 1, 0] }, 'bool');
    const a = bench.upload({ shape: [4], data: [1, NAN, 3, INF] });
    const b = bench.upload({ shape: [4], data: [NAN, 2, INF, 4] });
    await bench.expect(bench.backend.where(c, a, b), { shape: [4], data: [1, 2, 3, 4] }, { exact: true });
  }),
  trap('comparisons with NaN are false', async (bench) => {
    const a = bench.upload({ shape: [3], data: [NAN, 1, NAN] });
    const b = bench.upload({ shape: [3], data: [1, NAN, NAN] });
    for (const op of ['eq', 'lt', 'le'] as const) {
      await bench.expect(
        bench.backend.compare(op, a, b),
        nd([3], () => 0),
        { dtype: 'bool', what: op },
      );
    }
  }),
  trap('integers pass through floats of 24 bits (WebGL, i32 as f32)', async (bench) => {
    const { backend } = bench;
    const x: Nd = { shape: [4], data: [2 ** 24 + 1, -(2 ** 24) - 1, 2 ** 31 - 1, -(2 ** 31)] };
    const t = bench.upload(x, 'i32');
    await bench.expect(backend.reshape(t, [2, 2]), { shape: [2, 2], data: x.data }, { dtype: 'i32' });
    await bench.expect(
      backend.slice(t, [1], [2]),
      { shape: [2], data: x.data.slice(1, 3) },
      { dtype: 'i32' },
    );
    const one = bench.own(backend.fill(1, [4], 'i32'));
    const sums = backend.binary(
      'add',
      bench.upload({ shape: [4], data: [2 ** 24, 2 ** 25, 2 ** 30, -5] }, 'i32'),
      one,
    );
    await bench.expect(
      sums,
      { shape: [4], data: [2 ** 24 + 1, 2 ** 25 + 1, 2 ** 30 + 1, -4] },
      { dtype: 'i32' },
    );
  }),
  trap(
    'integers of 31 bits lose digits in arithmetic (tfjs neg, mul and div pass through floats)',
    async (bench) => {
      const { backend } = bench;
      const [most, least] = [2 ** 31 - 1, -(2 ** 31)];
      const a = [most, least, 16_777_217, -16_777_217, 33_554_433, -33_554_435, most - 1, 123_456_789];
      const b = [3, 3, 16_777_219, -16_777_219, -16_777_217, 16_777_216, most, 123_456_788];
      const [x, y] = [bench.upload(list(...a), 'i32'), bench.upload(list(...b), 'i32')];
      const scalar = bench.upload({ shape: [1], data: [-16_777_217] }, 'i32');
      const functions = {
        add: (p: number, q: number) => (p + q) | 0,
        sub: (p: number, q: number) => (p - q) | 0,
        mul: Math.imul,
        div: (p: number, q: number) => Math.trunc(p / q),
        min: Math.min,
        max: Math.max,
      };
      for (const op of ['add', 'sub', 'mul', 'div', 'min', 'max'] as const) {
        const f = functions[op];
        const expected = list(...a.map((value, at) => f(value, b[at] as number)));
        await bench.expect(backend.binary(op, x, y), expected, { dtype: 'i32', what: op });
        const withOne = list(...a.map((value) => f(value, -16_777_217)));
        await bench.expect(backend.binary(op, x, scalar), withOne, { dtype: 'i32', what: `${op} of one` });
      }
      const inRange = bench.upload(list(...a.slice(2)), 'i32');
      for (const op of ['neg', 'abs'] as const) {
        const expected = a.slice(2).map((value) => (op === 'neg' ? -value : Math.abs(value)));
        await bench.expect(backend.unary(op, inRange), list(...expected), { dtype: 'i32', what: op });
      }
      const stored = backend.capabilities.floatStorage === 'f32' ? a.map(Math.fround) : a;
      await bench.expect(backend.cast(x, 'f32'), list(...stored), { exact: true });
    },
  ),
  trap('randomBits from products that do not wrap (tfjs-cpu i32)', async (bench) => {
    // Random123 1.14, philox4x32-10 of counter 0 and key 0, first word.
    const bits = bench.own(bench.backend.randomBits(0, [0, 0, 0, 0], [1]));
    checkEqual('word 0', await bench.read(bits), [0x6627e8d5 | 0]);
  }),
  trap('randomBits differ by a uniform test: mean of 4096 words', async (bench) => {
    const bits = await bench.read(bench.own(bench.backend.randomBits(1, [0, 0, 0, 0], [4, 8, 16, 8])));
    const mean = bits.reduce((sum, word) => sum + (word >>> 0) / 2 ** 32, 0) / bits.length;
    check(Math.abs(mean - 0.5) < 0.02, `mean ${mean}`);
    check(new Set(bits).size > 4090, `only ${new Set(bits).size} of 4096 words differ`);
  }),
  // Backends cache what they packed, compiled and found out: each key must hold all that the answer depends on.
  ...reuseOfProducts,
  ...reuseOfAttention,
  ...reuseOfLayersAndOps,
];
