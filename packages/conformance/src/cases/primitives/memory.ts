import type { ConformanceCase } from '../../harness/case.js';
import { check, checkEqual } from '../../harness/support/assert.js';
import { list, matrix, nd } from '../../harness/support/nd.js';
import { Random } from '../../harness/support/random.js';
import { encode } from '../../harness/support/workbench.js';
import { primitiveCase } from './primitive-case.js';

const ranks = [[], [3], [2, 3], [2, 1, 3], [2, 3, 1, 2], [1, 2, 2, 3, 2]];

export const memoryCases: readonly ConformanceCase[] = [
  ...ranks.map((shape) =>
    primitiveCase(`upload and read, shape [${shape}]`, async (bench) => {
      const x = new Random('upload').uniform(shape);
      await bench.expect(bench.backend.upload(encode(x.data, 'f32'), shape, 'f32'), x, { exact: true });
      const whole = new Random('upload i32').integers(shape, -(2 ** 31), 2 ** 31 - 1);
      await bench.expect(bench.backend.upload(encode(whole.data, 'i32'), shape, 'i32'), whole, {
        dtype: 'i32',
      });
      const flags = new Random('upload bool').booleans(shape);
      await bench.expect(bench.backend.upload(encode(flags.data, 'bool'), shape, 'bool'), flags, {
        dtype: 'bool',
      });
    }),
  ),
  primitiveCase('upload keeps infinities, NaN, subnormals and the largest number', async (bench) => {
    const special = list(
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
      2 ** -126,
      2 ** -149,
      -(2 ** -130),
      (2 - 2 ** -23) * 2 ** 127,
      0,
    );
    await bench.expect(bench.backend.upload(Float32Array.from(special.data), special.shape, 'f32'), special, {
      exact: true,
    });
  }),
  primitiveCase('upload copies: the caller may change the array afterwards', async (bench) => {
    const data = Float32Array.of(1, 2, 3);
    const x = bench.own(bench.backend.upload(data, [3], 'f32'));
    data.fill(9);
    checkEqual('after the change', await bench.read(x), [1, 2, 3]);
  }),
  primitiveCase('read returns a copy', async (bench) => {
    const x = bench.upload(list(1, 2, 3));
    const first = await bench.backend.read(x);
    first.fill(9);
    checkEqual('second read', await bench.read(x), [1, 2, 3]);
  }),
  primitiveCase('upload of a view into a larger buffer', async (bench) => {
    const whole = Float32Array.of(0, 1, 2, 3, 4, 5);
    await bench.expect(bench.backend.upload(whole.subarray(2, 5), [3], 'f32'), list(2, 3, 4), {
      exact: true,
    });
  }),
  primitiveCase('empty tensors: upload, read, concat, matmul over nothing', async (bench) => {
    const empty = nd([2, 0, 3], () => 0);
    await bench.expect(bench.backend.upload(new Float32Array(0), [2, 0, 3], 'f32'), empty, { exact: true });
    const joined = bench.backend.concat(
      [bench.upload(nd([2, 0], () => 0)), bench.upload(matrix([1], [2]))],
      1,
    );
    await bench.expect(joined, matrix([1], [2]), { exact: true });
    const product = bench.backend.matmul(
      bench.upload(nd([2, 0], () => 0)),
      bench.upload(nd([0, 3], () => 0)),
      false,
      false,
    );
    await bench.expect(
      product,
      nd([2, 3], () => 0),
      { exact: true },
    );
  }),
  ...([[], [4], [2, 3], [2, 1, 2, 2, 3]] as const).map((shape) =>
    primitiveCase(`fill, shape [${shape}]`, async (bench) => {
      const { backend } = bench;
      await bench.expect(
        backend.fill(-1.5, shape, 'f32'),
        nd(shape, () => -1.5),
        { exact: true },
      );
      await bench.expect(
        backend.fill(-7, shape, 'i32'),
        nd(shape, () => -7),
        { dtype: 'i32' },
      );
      await bench.expect(
        backend.fill(1, shape, 'bool'),
        nd(shape, () => 1),
        { dtype: 'bool' },
      );
    }),
  ),
  primitiveCase('fill with infinities and NaN', async (bench) => {
    for (const value of [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]) {
      await bench.expect(
        bench.backend.fill(value, [2, 2], 'f32'),
        nd([2, 2], () => value),
        { exact: true },
      );
    }
  }),
  primitiveCase('evaluate takes several tensors of one graph, and the same one twice', async (bench) => {
    const x = bench.upload(list(1, 2, 3));
    const y = bench.own(bench.backend.binary('add', x, x));
    const z = bench.own(bench.backend.binary('mul', y, y));
    bench.backend.flush();
    await bench.backend.evaluate([z, y, z, x]);
    checkEqual('sum', await bench.read(y), [2, 4, 6]);
    checkEqual('product', await bench.read(z), [4, 16, 36]);
  }),
  primitiveCase('an input released before the result is read still counts', async (bench) => {
    const x = bench.upload(list(1, 2, 3));
    const y = bench.own(bench.backend.unary('neg', x));
    const z = bench.own(bench.backend.reshape(y, [3, 1]));
    bench.release(x);
    bench.release(y);
    checkEqual('negated view', await bench.read(z), [-1, -2, -3]);
  }),
  primitiveCase('memory() counts live bytes up and down, and the peak', async (bench) => {
    const { backend } = bench;
    await backend.evaluate([]);
    const before = backend.memory().live;
    backend.resetPeak();
    const x = bench.upload(nd([64, 64], () => 1));
    await backend.evaluate([x]);
    const during = backend.memory();
    check(during.live >= before + 64 * 64 * 4, `live grew by ${during.live - before} bytes for 16 KiB`);
    check(during.covers.length > 0, 'memory() says what it covers');
    bench.release(x);
    check(backend.memory().live === before, `${backend.memory().live - before} bytes live after release`);
    const { peak } = backend.memory();
    check(peak === undefined || peak >= before + 64 * 64 * 4, `the peak ${peak} missed the tensor`);
    backend.resetPeak();
    const reset = backend.memory().peak;
    check(reset === undefined || reset === before, `resetPeak left ${reset}, live is ${before}`);
  }),
  primitiveCase('a view keeps storage alive and counts it once', async (bench) => {
    const { backend } = bench;
    const before = backend.memory().live;
    const x = bench.upload(nd([8, 8], (_, i) => i));
    const view = bench.own(backend.reshape(x, [64]));
    bench.release(x);
    checkEqual('view', await bench.read(view), nd([64], (_, i) => i).data);
    bench.release(view);
    check(
      backend.memory().live === before,
      `${backend.memory().live - before} bytes live after both are gone`,
    );
  }),
  primitiveCase(
    'f16: bits go in and come out unchanged',
    async (bench) => {
      const bits = Uint16Array.of(0x0000, 0x8000, 0x3c00, 0xbc00, 0x7bff, 0x0001, 0x83ff, 0x7c00, 0xfc00);
      const x = bench.own(bench.backend.upload(bits, [3, 3], 'f16'));
      checkEqual('bits', Array.from(await bench.backend.read(x)), Array.from(bits));
    },
    { f16: true },
  ),
];
