import { describe, expect, test } from 'vitest';
import type { FusedOperation } from '../../src/backend-entry.js';
import { cast, explain, explainFeedForward, narrow, requireNoNaN, tensor, zeros } from '../../src/index.js';
import { createReferenceBackend } from '../../src/reference/index.js';

const shape = [1, 12, 4096, 64];
const shapes = { q: shape, k: shape, v: shape };

function withoutHalves<Request extends { readonly dtype: string }, Inputs, Outputs>(
  whole: FusedOperation<Request, Inputs, Outputs>,
): FusedOperation<Request, Inputs, Outputs> {
  return {
    prepare: (request, limits) =>
      request.dtype === 'f16' ? { refusals: ['no f16'] } : whole.prepare(request, limits),
  };
}

describe('explain', () => {
  test('names the path that runs, and why others do not', () => {
    const fused = explain(createReferenceBackend(), shapes, { k: 64 });
    expect(fused.path).toBe('fused');
    expect(fused.paths.find(({ path }) => path === 'composed')?.refusals).toHaveLength(1);
    const composed = explain(createReferenceBackend({ fused: false }), shapes, { k: 64, queryChunk: 128 });
    expect(composed.path).toBe('composed');
    expect(String(composed)).toMatch(/^topKAttention on .*: composed\nnot fused .* has no fused version/);
    expect(String(composed)).toContain('query chunk   128 (32 chunks)');
  });

  test('says which variant of a fused operation runs', () => {
    const reference = createReferenceBackend();
    const attention = reference.fused?.attention;
    if (attention === undefined) throw new Error('the reference backend has a fused attention');
    const described = Object.create(reference, {
      fused: {
        value: {
          attention: {
            prepare: (...asked: Parameters<typeof attention.prepare>) => ({
              ...attention.prepare(...asked),
              describe: () => ({ variant: 'sweeps, 32 lanes', selection: 'by radix' }),
            }),
          },
        },
      },
    });
    const explanation = explain(described, shapes, { k: 64 });
    expect(explanation.paths[0]?.facts).toEqual({ variant: 'sweeps, 32 lanes', selection: 'by radix' });
    expect(String(explanation)).toMatch(
      /\nvariant {7}sweeps, 32 lanes\nquery chunk .*\nselection {5}by radix\ninputs /,
    );
  });

  test('takes the storage type, by which a backend chooses', () => {
    const reference = createReferenceBackend();
    const [attention, feedForward] = [reference.fused?.attention, reference.fused?.feedForward];
    if (attention === undefined || feedForward === undefined) throw new Error('the reference has both');
    const picky = Object.create(reference, {
      fused: { value: { attention: withoutHalves(attention), feedForward: withoutHalves(feedForward) } },
    });
    const half = explain(picky, { ...shapes, dtype: 'f16' }, { k: 64 });
    const single = explain(picky, shapes, { k: 64 });
    expect([half.path, single.path]).toEqual(['composed', 'fused']);
    expect(half.plan.bytes.inputs).toBe(single.plan.bytes.inputs / 2);
    const sizes = { tokens: 4, inputDim: 8, hidden: 16, outputDim: 8 };
    expect(explainFeedForward(picky, { ...sizes, dtype: 'f16' }, { k: 2 }).path).toBe('composed');
    expect(explainFeedForward(picky, sizes, { k: 2 }).path).toBe('fused');
  });

  test('says of the composed path what that chooses, and nothing of it where a fused one runs', () => {
    const backend = createReferenceBackend({ fused: false });
    const { limits } = backend.capabilities;
    const twoLevel = { minKeys: 1024, blockSize: 16 };
    const inBlocks = Object.create(backend, {
      capabilities: { value: { ...backend.capabilities, limits: { ...limits, twoLevel } } },
    });
    expect(String(explain(inBlocks, shapes, { k: 64 }))).toContain('selection     two levels, blocks of 16');
    expect(String(explain(inBlocks, shapes, {}))).toContain('selection     all keys');
    expect(String(explain(createReferenceBackend(), shapes, { k: 64 }))).not.toContain('selection');
    const sizes = { tokens: 4, inputDim: 3, hidden: 8, outputDim: 2 };
    const gathering = Object.create(backend, {
      capabilities: { value: { ...backend.capabilities, limits: { ...limits, gatherCost: 1 } } },
    });
    expect(String(explainFeedForward(gathering, sizes, { k: 2 }))).toContain('second        gather product');
    expect(String(explainFeedForward(gathering, sizes, { k: 8 }))).toContain('second        dense product');
  });

  test('masks, lengths, biases and tables may be shapes: the same as of tensors', () => {
    const backend = createReferenceBackend();
    const small = [2, 3, 8, 4];
    const of = { q: small, k: small, v: small };
    const given = {
      mask: [2, 1, 8, 8],
      keyLengths: [2],
      bias: [1, 3, 8, 8],
      relativeBias: { table: [8, 3], bidirectional: true, maxDistance: 16 },
    };
    const real = {
      mask: zeros(backend, given.mask, 'bool'),
      keyLengths: zeros(backend, given.keyLengths, 'i32'),
      bias: zeros(backend, given.bias),
      relativeBias: { ...given.relativeBias, table: zeros(backend, given.relativeBias.table) },
    };
    expect(String(explain(backend, of, { k: 2, training: true, ...given }))).toBe(
      String(explain(backend, of, { k: 2, training: true, ...real })),
    );
    expect(() => explain(backend, of, { mask: [2, 1, 8, 7] })).toThrow(
      expect.objectContaining({ code: 'SHAPE_MISMATCH' }),
    );
  });

  test('throws what the call itself would', () => {
    const backend = createReferenceBackend();
    expect(() => explain(backend, shapes, { k: 0 })).toThrow(expect.objectContaining({ code: 'INVALID_K' }));
    expect(() => explain(backend, { ...shapes, v: [1, 2, 3] }, {})).toThrow(
      expect.objectContaining({ code: 'RANK_MISMATCH' }),
    );
    expect(() => explain(backend, shapes, { k: 64, budgetBytes: 1000 })).toThrow(
      expect.objectContaining({ code: 'DOES_NOT_FIT' }),
    );
  });

  test('with training, the backward pass too: path, chunk and bytes', () => {
    const backend = createReferenceBackend({ fused: false });
    const { plan, backward, ...rest } = explain(backend, shapes, { k: 64, training: true, queryChunk: 128 });
    expect(backward).toMatchObject({ path: 'composed', plan: { queryChunk: 128, chunks: 32 } });
    const gradients = 3 * 12 * 4096 * 64 * 4;
    expect(backward?.plan.bytes).toMatchObject({ output: gradients, saved: plan.bytes.saved });
    expect(String(rest)).toMatch(
      /\nbackward pass: composed\nnot fused .*\nquery chunk {3}128 .*\ninputs .*\ngradients {5}36 MiB\n/,
    );
    expect(explain(backend, shapes, { k: 64 }).backward).toBeUndefined();
    const layer = { tokens: 1000, inputDim: 64, hidden: 768, outputDim: 64 };
    const explained = explainFeedForward(backend, layer, { k: 64, training: true, tokenChunk: 100 });
    expect(explained.backward?.plan).toMatchObject({ tokenChunk: 100, chunks: 10 });
  });

  test('feed-forward: chunk, second product and bytes', () => {
    const layer = { tokens: 1000, inputDim: 64, hidden: 768, outputDim: 64 };
    const explained = explainFeedForward(createReferenceBackend({ fused: false }), layer, { k: 64 });
    expect(explained.path).toBe('composed');
    expect(String(explained)).toMatch(
      /topKFeedForward on .*\nnot fused .*\ntoken chunk .*\nselection .*\nsecond +(gather|dense) product/,
    );
    expect(() => explainFeedForward(createReferenceBackend(), layer, { k: 1.5 })).toThrow(
      expect.objectContaining({ code: 'INVALID_K' }),
    );
  });
});

test('requireNoNaN reads back and says where', async () => {
  const backend = createReferenceBackend();
  await requireNoNaN('here', tensor(backend, [1, Number.POSITIVE_INFINITY]));
  await expect(requireNoNaN('here', tensor(backend, [1, Number.NaN]))).rejects.toMatchObject({
    code: 'NAN_FOUND',
    got: 'NaN at element 1',
  });
  const halves = cast(tensor(backend, [Number.POSITIVE_INFINITY, -0, Number.NaN]), 'f16');
  await requireNoNaN('here', narrow(halves, 0, 0, 2), tensor(backend, Int32Array.of(-1)));
  await expect(requireNoNaN('here', halves)).rejects.toMatchObject({ got: 'NaN at element 2' });
});
