import { describe, expect, test } from 'vitest';
import type { BackendTensor } from '../../src/backend-entry.js';
import { type Backend, evaluate, fill, matmul, mul, scope, sum, TopKError, tensor } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

describe('handles', () => {
  test('dispose frees once, may be repeated, and use afterwards has a name', async () => {
    const backend = createReferenceBackend();
    const x = tensor(backend, [1, 2]);
    const other = x.alias();
    x.dispose();
    x.dispose();
    expect(() => mul(x, 2)).toThrow(expect.objectContaining({ code: 'DISPOSED' }));
    expect([...(await other.data())]).toEqual([1, 2]);
    other.dispose();
    expect(backend.memory().live).toBe(0);
  });

  test('scope keeps what it returns, in any tree, and nothing else', () => {
    const backend = createReferenceBackend();
    const kept = scope(() => {
      const a = fill(backend, 1, [10]);
      const b = scope(() => mul(mul(a, 2), 3));
      return { list: [b], number: 5 };
    });
    expect(backend.memory().live).toBe(40);
    kept.list[0]?.dispose();
    expect(backend.memory().live).toBe(0);
  });

  test('scope frees on a throw and refuses promises', () => {
    const backend = createReferenceBackend();
    expect(() =>
      scope(() => {
        fill(backend, 1, [10]);
        throw new Error('stop');
      }),
    ).toThrow('stop');
    expect(() => scope(async () => fill(backend, 1, [10]))).toThrow(/returned a promise/);
    expect(backend.memory().live).toBe(0);
  });

  test('a promise that scope refuses may reject later without ending the process', async () => {
    const unobserved: unknown[] = [];
    const listen = (reason: unknown): void => void unobserved.push(reason);
    process.on('unhandledRejection', listen);
    const late = async (): Promise<void> => {
      await Promise.resolve();
      throw new Error('late');
    };
    expect(() => scope(late)).toThrow(expect.objectContaining({ code: 'INVALID_OPTION' }));
    await new Promise((resolve) => setTimeout(resolve, 20));
    process.off('unhandledRejection', listen);
    expect(unobserved).toEqual([]);
  });

  test('tensors of two backends do not mix', () => {
    const a = tensor(createReferenceBackend(), [1]);
    const b = tensor(createReferenceBackend(), [1]);
    expect(() => mul(a, b)).toThrow(expect.objectContaining({ code: 'MIXED_BACKENDS' }));
  });

  test('structural errors are thrown at once with what was expected and got', () => {
    const backend = createReferenceBackend();
    const error = catchError(() => matmul(fill(backend, 1, [2, 3]), fill(backend, 1, [4, 5])));
    expect(error).toMatchObject({ code: 'SHAPE_MISMATCH', got: '[2, 3] x [4, 5]' });
    expect(catchError(() => tensor(backend, [1, 2, 3], [2]))).toMatchObject({ code: 'SHAPE_MISMATCH' });
  });
});

describe('engine errors poison', () => {
  /** The reference backend, but its products fail as an engine without memory would. */
  function failing(): Backend {
    const backend: Backend<BackendTensor> = createReferenceBackend();
    return Object.create(backend, {
      matmul: {
        value: () => {
          throw new RangeError('Array buffer allocation failed');
        },
      },
    });
  }

  test('ops go on with known shapes; data and evaluate reject; nothing is returned', async () => {
    const backend = failing();
    const good = fill(backend, 1, [2, 2]);
    const poisoned = sum(mul(matmul(good, good), 2), { axes: [1] });
    expect(poisoned.shape).toEqual([2]);
    await expect(poisoned.data()).rejects.toMatchObject({ code: 'OUT_OF_MEMORY' });
    await expect(evaluate(good, poisoned)).rejects.toBeInstanceOf(TopKError);
    expect([...(await good.data())]).toEqual([1, 1, 1, 1]);
    poisoned.dispose();
  });
});

function catchError(body: () => unknown): unknown {
  try {
    body();
  } catch (error) {
    return error;
  }
  throw new Error('nothing was thrown');
}
