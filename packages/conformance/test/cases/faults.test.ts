import type { Backend, BackendTensor, DeviceLimits, FusedOperation } from '@topk-attention/core/backend';
import { createReferenceBackend, type ReferenceTensor } from '@topk-attention/core/reference';
import { expect, test } from 'vitest';
import { type CaseReport, conformanceCases, runConformance } from '../../src/index.js';

const cases = await conformanceCases();

function reference(): Backend<ReferenceTensor> {
  return createReferenceBackend({ fused: false });
}

async function failures(
  createBackend: () => Backend,
  groups: readonly string[] = ['primitives', 'engine traps'],
  named = /^/,
): Promise<readonly CaseReport[]> {
  const chosen = cases.filter((one) => groups.includes(one.group) && named.test(one.name));
  const reports = await runConformance({ name: 'sabotaged', createBackend }, chosen);
  return reports.filter((report) => report.outcome === 'failed');
}

/** Reads an own tensor at once: the reference backend is eager. */
function numbers(x: ReferenceTensor): number[] {
  return Array.from(x.block.data);
}

/** Faults that engines were seen to have. Each has to be found by a case that names it. */
const faults: Readonly<
  Record<
    string,
    {
      readonly named: RegExp;
      readonly make: (good: Backend<ReferenceTensor>) => Partial<Backend<ReferenceTensor>>;
    }
  >
> = {
  'topK breaks ties to the higher index': {
    named: /ties/,
    make: (good) => ({
      topK(x, k) {
        const width = x.shape.at(-1) as number;
        const flipped = numbers(x).map(
          (_, i, all) => all[i - (i % width) + (width - 1 - (i % width))] as number,
        );
        const kept = good.topK(good.upload(Float64Array.from(flipped), x.shape, 'f32'), k);
        const indices = numbers(kept.indices).map((j) => (j < 0 ? -1 : width - 1 - j));
        for (let start = 0; start < indices.length; start += k) {
          const row = indices.slice(start, start + k).sort((a, b) => (a < 0 ? 1 : b < 0 ? -1 : a - b));
          indices.splice(start, k, ...row);
        }
        const made = good.upload(Int32Array.from(indices), kept.indices.shape, 'i32');
        const values = good.where(
          good.compare('le', good.fill(0, made.shape, 'i32'), made),
          good.takeAlong(x, made),
          good.fill(Number.NEGATIVE_INFINITY, made.shape, 'f32'),
        );
        return { values, indices: made };
      },
    }),
  },
  'softmax of an empty row is NaN': {
    named: /all -inf is NaN/,
    make: (good) => ({
      softmax: (x) =>
        good.where(
          good.isNaN(
            good.binary('sub', good.max(x, [x.shape.length - 1]), good.max(x, [x.shape.length - 1])),
          ),
          good.fill(Number.NaN, x.shape, 'f32'),
          good.softmax(x),
        ),
    }),
  },
  'gatherRows wraps index -1 to the last row': {
    named: /index -1 wraps/,
    make: (good) => ({
      gatherRows(x, indices) {
        const rows = x.shape[1] as number;
        const wrapped = Int32Array.from(numbers(indices), (j) => (j < 0 ? j + rows : j));
        return good.gatherRows(x, good.upload(wrapped, indices.shape, 'i32'));
      },
    }),
  },
  'index -1 is zeroed by a product': {
    named: /zeroes by a product with 0/,
    make: (good) => ({
      gatherRows(x, indices) {
        const first = Int32Array.from(numbers(indices), (j) => Math.max(j, 0));
        const factor = Float64Array.from(numbers(indices), (j) => (j < 0 ? 0 : 1));
        const rows = good.gatherRows(x, good.upload(first, indices.shape, 'i32'));
        return good.binary('mul', rows, good.upload(factor, [...indices.shape, 1], 'f32'));
      },
    }),
  },
  'scatterAddRows loses one of many duplicates': {
    named: /many duplicates races/,
    make: (good) => ({
      scatterAddRows(n, indices, updates) {
        const dropped = Int32Array.from(numbers(indices), (j, i) => (i === 19999 ? -1 : j));
        return good.scatterAddRows(n, good.upload(dropped, indices.shape, 'i32'), updates);
      },
    }),
  },
  'isNaN compares x with x - x': {
    named: /infinity for a NaN/,
    make: (good) => ({
      isNaN: (x) => good.logicalNot(good.compare('eq', good.binary('sub', x, x), good.fill(0, [], 'f32'))),
    }),
  },
  'integers go through f32': {
    named: /floats of 24 bits/,
    make: (good) => ({
      upload: (data, shape, dtype) =>
        good.upload(dtype === 'i32' ? Int32Array.from(data, Math.fround) : data, shape, dtype),
    }),
  },
  'random words from products that do not wrap': {
    named: /randomBits/,
    make: (good) => ({ randomBits: (_seed, _offset, shape) => good.fill(12345, shape, 'i32') }),
  },
  'uploads are not copied': {
    named: /upload copies/,
    make: () => {
      const kept = new Map<BackendTensor, Float32Array>();
      const good = reference();
      return {
        ...good,
        upload(data, shape, dtype) {
          const made = good.upload(data, shape, dtype);
          if (data instanceof Float32Array) kept.set(made, data);
          return made;
        },
        read: async (x) => kept.get(x)?.slice() ?? good.read(x),
      };
    },
  },
  'release does nothing': { named: /live|memory/, make: () => ({ release: () => {} }) },
};

test.each(Object.entries(faults))('the suite finds: %s', async (_, { named, make }) => {
  const saboteur = (): Backend => {
    const good = reference();
    return { ...good, ...make(good) };
  };
  expect(await failures(saboteur, undefined, named)).not.toEqual([]);
});

test('the reference backend fails none of them', async () => {
  expect(await failures(reference, ['primitives', 'engine traps'])).toEqual([]);
});

test('a backend that answers otherwise when it is asked again is found by explained runs', async () => {
  const answers: Readonly<Record<string, (nth: number) => object>> = {
    'refuses every other time': (nth) => (nth % 2 === 0 ? { refusals: ['not this time'] } : {}),
    'describes itself otherwise': (nth) => ({ describe: () => ({ variant: `number ${nth}` }) }),
    'prefers another chunk': (nth) => ({ preferredChunk: 1 + (nth % 2) }),
  };
  for (const [fault, answer] of Object.entries(answers)) {
    const found = await failures(() => {
      const good: Backend = createReferenceBackend();
      let asked = 0;
      const fickle = Object.entries(good.fused ?? {}).map(([name, operation]) => [
        name,
        {
          prepare: (request: never, limits: DeviceLimits) => ({
            ...operation?.prepare(request, limits),
            ...answer(asked++),
          }),
        },
      ]);
      return { ...good, fused: Object.fromEntries(fickle) };
    }, ['planning']);
    const named = found.filter(({ name }) => name.includes('what explain() says is what runs'));
    expect(named.length, fault).toBeGreaterThan(0);
  }
});

test('a wrong fused operation is found by goldens, attention, feed-forward and gradients', async () => {
  for (const wrong of ['attention', 'attentionBackward', 'feedForward'] as const) {
    const found = await failures(() => {
      const good: Backend = createReferenceBackend();
      const { fused = {} } = good;
      const off = (x: BackendTensor): BackendTensor => good.binary('add', x, good.fill(1e-3, [], 'f32'));
      /** The operation with one of its results off. */
      const spoilt = <Request, Inputs, Outputs extends object>(
        operation: FusedOperation<Request, Inputs, Outputs> | undefined,
        role: keyof Outputs,
      ) =>
        operation && {
          prepare(request: Request, limits: DeviceLimits) {
            const prepared = operation.prepare(request, limits);
            if ('refusals' in prepared) return prepared;
            const run = (inputs: Inputs, chunk: number): Outputs => {
              const made = prepared.run(inputs, chunk);
              return { ...made, [role]: off(made[role] as BackendTensor) };
            };
            return { ...prepared, run };
          },
        };
      const replaced = {
        attention: spoilt(fused.attention, 'output'),
        attentionBackward: spoilt(fused.attentionBackward, 'v'),
        feedForward: spoilt(fused.feedForward, 'output'),
      };
      return { ...good, fused: { ...fused, [wrong]: replaced[wrong] } };
    }, ['goldens', wrong === 'feedForward' ? 'feed-forward' : 'attention']);
    expect(found.length, wrong).toBeGreaterThan(20);
  }
});
