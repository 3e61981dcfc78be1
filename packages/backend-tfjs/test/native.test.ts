import {
  grad,
  mul,
  scope,
  sum,
  type Tensor,
  TopKError,
  tensor,
  topKAttention,
  where,
} from '@topk-attention/core';
import { createReferenceBackend } from '@topk-attention/core/reference';
import { afterAll, beforeEach, describe, expect, test } from 'vitest';
import { createTfjsBackend, fromTf, type TfTensor, toTf } from '../src/index.js';
import { cpuTf } from './support/engines.js';

const tf = await cpuTf();
await import('@tensorflow/tfjs-layers'); // registers the gradients of tf's own ops
const backend = await createTfjsBackend({ tf });
afterAll(() => backend.dispose());

const counts = (): { tensors: number; buffers: number; live: number } => ({
  tensors: tf.memory().numTensors,
  buffers: tf.memory().numDataBuffers,
  live: backend.memory().live,
});
let before = counts();
beforeEach(() => {
  before = counts();
});

function expectNothingLeft(): void {
  expect(counts()).toEqual(before);
}

function errorOf(work: () => unknown): TopKError {
  try {
    work();
  } catch (error) {
    if (error instanceof TopKError) return error;
    throw error;
  }
  throw new Error('no error was thrown');
}

describe('a tf.Tensor in', () => {
  test('bools of other bytes than 0 and 1 are true, without a change to the tensor', async () => {
    const own = tf.tensor(Uint8Array.of(2, 0, 255, 1), [4], 'bool');
    const x = fromTf(backend, own);
    expect([...(await x.data())]).toEqual([1, 0, 1, 1]);
    const chosen = scope(() => where(x, tensor(backend, [1, 1, 1, 1]), tensor(backend, [9, 9, 9, 9])));
    expect([...(await chosen.data())]).toEqual([1, 9, 1, 1]);
    expect([...own.dataSync()]).toEqual([2, 0, 255, 1]);
    for (const one of [x, chosen, own]) one.dispose();
    expectNothingLeft();
  });

  test('is borrowed: no copy, no tensor and no bytes of ours', async () => {
    const own = tf.tensor2d([1, 2, 3, 4], [2, 2]);
    const with_ = counts();
    const x = fromTf(backend, own);
    expect(counts()).toEqual(with_);
    expect(x.shape).toEqual([2, 2]);
    expect([...(await x.data())]).toEqual([1, 2, 3, 4]);
    const doubled = mul(x, 2);
    expect([...(await doubled.data())]).toEqual([2, 4, 6, 8]);
    for (const one of [x, doubled]) one.dispose();
    expect(own.isDisposed).toBe(false);
    expect([...own.dataSync()]).toEqual([1, 2, 3, 4]);
    own.dispose();
    expectNothingLeft();
  });

  test.each([
    ['int32', 'i32', [1, -2]],
    ['bool', 'bool', [1, 0]],
  ] as const)('of type %s is %s', async (type, dtype, values) => {
    const own = tf.tensor1d([...values], type);
    const x = fromTf(backend, own);
    expect(x.dtype).toBe(dtype);
    expect([...(await x.data())]).toEqual(values);
    x.dispose();
    own.dispose();
    expectNothingLeft();
  });

  test('a view of it does not count as bytes of ours', async () => {
    const own = tf.tensor1d([1, 2]);
    const x = fromTf(backend, own);
    const { reshape } = await import('@topk-attention/core');
    const view = reshape(x, [2, 1]);
    expect(backend.memory().live).toBe(before.live);
    x.dispose();
    expect([...(await view.data())]).toEqual([1, 2]);
    view.dispose();
    own.dispose();
    expectNothingLeft();
  });

  test('a variable comes in with the value it has then', async () => {
    const variable = tf.variable(tf.tensor1d([1, 2]));
    const x = fromTf(backend, variable);
    variable.assign(tf.tensor1d([5, 6]));
    expect([...(await x.data())]).toEqual([1, 2]);
    x.dispose();
    expect([...variable.dataSync()]).toEqual([5, 6]);
    variable.dispose();
  });

  test('that was disposed of already: DISPOSED', () => {
    const own = tf.tensor1d([1]);
    own.dispose();
    const error = errorOf(() => fromTf(backend, own));
    expect(error.code).toBe('DISPOSED');
    expect(error.got).toContain('[1]');
    expect(error.fix).toContain('tf.keep');
    expectNothingLeft();
  });

  test('that is disposed of while it is in use: DISPOSED, from ops and from data()', async () => {
    const own = tf.tensor1d([1, 2]);
    const x = fromTf(backend, own);
    own.dispose();
    const error = errorOf(() => mul(x, 2));
    expect(error.code).toBe('DISPOSED');
    expect(error.expected).toContain('fromTf');
    expect(error.fix).toContain('tf.keep');
    await expect(x.data()).rejects.toMatchObject({ code: 'DISPOSED' });
    x.dispose();
    expectNothingLeft();
  });

  test('while tf records for gradients: NOT_DIFFERENTIABLE, unless it is no float or inside tf.customGrad', () => {
    const own = tf.tensor1d([1, 2]);
    const squared = (x: TfTensor): TfTensor =>
      scope(() => {
        const y = fromTf(backend, x);
        return { out: toTf(mul(y, y)) };
      }).out;
    const error = errorOf(() => tf.grad(squared)(own));
    expect(error.code).toBe('NOT_DIFFERENTIABLE');
    expect(error.expected).toContain('tf.customGrad');
    expect(error.fix).toContain('topKAttention(tf');
    const withGradient = tf.customGrad((x) => ({
      value: squared(x as TfTensor),
      gradFunc: (dy: TfTensor) => tf.mul(dy, tf.mul(x as TfTensor, 2)),
    }));
    const gradient = tf.grad((x) => withGradient(x))(own);
    expect([...gradient.dataSync()]).toEqual([2, 4]);
    const whole = tf.tensor1d([3], 'int32');
    const product = tf.grad((x) => tf.mul(x, scope(() => ({ out: toTf(fromTf(backend, whole)) })).out))(own);
    tf.dispose([own, gradient, whole, product]);
  });

  test('of strings or complex numbers: DTYPE_MISMATCH', () => {
    tf.tidy(() => {
      for (const own of [tf.tensor1d(['a']), tf.complex([1], [2])]) {
        const error = errorOf(() => fromTf(backend, own));
        expect(error.code).toBe('DTYPE_MISMATCH');
        expect(error.expected).toBe('float32, int32 or bool');
        expect(error.got).toBe(own.dtype);
      }
    });
  });

  test.each([undefined, null, 3, [1, 2], { shape: [1] }])('that is none (%j): INVALID_OPTION', (value) => {
    const error = errorOf(() => fromTf(backend, value as unknown as TfTensor));
    expect(error.code).toBe('INVALID_OPTION');
    expect(error.expected).toContain('tf.Tensor');
    expect(error.fix).toContain('tensor(');
  });
});

describe('a tf.Tensor out', () => {
  test("is the caller's, on the same data, and outlives the tensor", () => {
    const x = tensor(backend, [1, 2]);
    const { buffers } = counts();
    const out = toTf(x);
    expect(counts().buffers).toBe(buffers);
    x.dispose();
    expect([...out.dataSync()]).toEqual([1, 2]);
    out.dispose();
    expectNothingLeft();
  });

  test('disposing of it leaves the tensor alone', async () => {
    const x = tensor(backend, [1, 2]);
    toTf(x).dispose();
    expect([...(await x.data())]).toEqual([1, 2]);
    x.dispose();
    expectNothingLeft();
  });

  test('of a borrowed tensor is another one, so that it can be disposed of alone', () => {
    const own = tf.tensor1d([1, 2]);
    const x = fromTf(backend, own);
    const out = toTf(x);
    expect(out).not.toBe(own);
    expect(out.dataId).toBe(own.dataId);
    out.dispose();
    expect(own.isDisposed).toBe(false);
    x.dispose();
    own.dispose();
    expectNothingLeft();
  });

  test('of another backend: MIXED_BACKENDS', () => {
    const error = errorOf(() => toTf(tensor(createReferenceBackend(), [1])));
    expect(error).toMatchObject({ code: 'MIXED_BACKENDS', expected: 'tfjs', got: 'reference' });
    expect(error.fix).toContain('data()');
  });

  test('of a disposed tensor: DISPOSED', () => {
    const x = tensor(backend, [1]);
    x.dispose();
    expect(errorOf(() => toTf(x)).code).toBe('DISPOSED');
  });
});

describe("inside the caller's tf.tidy", () => {
  test('tensors of ours survive it; what toTf gave goes with it', async () => {
    let out: TfTensor | undefined;
    const y = tf.tidy(() => {
      const doubled = mul(fromTf(backend, tf.tensor1d([1, 2])), 2);
      out = toTf(doubled);
      return { doubled } as unknown as TfTensor;
    }) as unknown as { readonly doubled: Tensor };
    expect(out?.isDisposed).toBe(true);
    expect([...(await y.doubled.data())]).toEqual([2, 4]);
    y.doubled.dispose();
    expectNothingLeft();
  });

  test('what toTf gave is returned or kept as any tensor of tf', () => {
    const kept: TfTensor[] = [];
    const returned = tf.tidy(() =>
      scope(() => {
        const x = tensor(backend, [3]);
        kept.push(tf.keep(toTf(x)));
        return { out: toTf(mul(x, 2)) };
      }),
    );
    expect([...returned.out.dataSync()]).toEqual([6]);
    expect([...(kept[0] as TfTensor).dataSync()]).toEqual([3]);
    tf.dispose([returned.out, ...kept]);
    expectNothingLeft();
  });

  test('forward and backward over borrowed tensors leave what they returned', () => {
    const gradients = tf.tidy(() => {
      const x = tf.reshape(tf.linspace(-1, 1, 24), [1, 2, 4, 3]);
      return scope(() => {
        const of = grad((p: { x: Tensor }) => sum(topKAttention(p.x, p.x, p.x, { k: 2, causal: true })));
        return { dx: toTf(of({ x: fromTf(backend, x) }).x) };
      });
    });
    expect(gradients.dx.shape).toEqual([1, 2, 4, 3]);
    expect(counts()).toEqual({ ...before, tensors: before.tensors + 1, buffers: before.buffers + 1 });
    gradients.dx.dispose();
    expectNothingLeft();
  });
});
