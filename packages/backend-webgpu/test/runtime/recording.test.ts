import { philoxKey } from '@topk-attention/core/backend';
import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect } from 'vitest';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { f32Bits, gridOf, type Kernel, type Span, uniformWords } from '../../src/runtime/kernel.js';
import { Stream } from '../../src/runtime/stream.js';

const kernelOf = (key: string, params: string, statement: string): Kernel => ({
  key,
  buffers: ['read', 'write'],
  source: () => `
struct Params { ${params} }
@group(0) @binding(0) var<uniform> params: Params;
@group(0) @binding(1) var<storage, read> x: array<u32>;
@group(0) @binding(2) var<storage, read_write> y: array<u32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) { if (id.x < 4u) { ${statement} } }`,
});
const scale = kernelOf(
  'test scale bits',
  'factor: f32',
  'y[id.x] = bitcast<u32>(params.factor * bitcast<f32>(x[id.x]));',
);
const seedWords = kernelOf(
  'test seed words',
  'first: u32, low: u32, high: u32',
  'y[id.x] = select(params.low, params.high, id.x % 2u == 1u) + 0u * x[id.x];',
);

const software = softwareGpuAvailability();
const NOTHING = { seeds: [], pairs: [], results: [] };

async function withStream(body: (stream: Stream) => Promise<void>): Promise<void> {
  const { device } = await acquireDevice();
  try {
    await body(new Stream(device));
  } finally {
    device.destroy();
  }
}

function doubled(stream: Stream, from: Span, to: Span): void {
  stream.launch({
    kernel: scale,
    buffers: [from, to],
    uniforms: uniformWords([f32Bits(2)]),
    workgroups: gridOf(1),
  });
}

function drawn(stream: Stream, seed: number, spans: readonly Span[]): void {
  const uniforms = uniformWords([7, ...philoxKey(seed)]);
  stream.launch({ kernel: seedWords, buffers: spans, uniforms, workgroups: gridOf(1) });
}

const numbers = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const floatsOf = async (stream: Stream, span: Span): Promise<number[]> =>
  Array.from(new Float32Array((await stream.read(span)).buffer, 0, 4));

describe('recorded steps of a stream', () => {
  optional('run once when they are recorded, and again at each replay', software, () =>
    withStream(async (stream) => {
      const [x, y] = [stream.scratch(16), stream.scratch(16)];
      const { recording } = stream.record(
        () => {
          stream.write(x, numbers(1, 2, 3, 4));
          doubled(stream, x, y);
          stream.copy(y, x);
          doubled(stream, x, y);
        },
        () => NOTHING,
      );
      expect(await floatsOf(stream, y)).toEqual([4, 8, 12, 16]);
      for (const span of [x, y]) stream.clear(span);
      stream.replay(recording, [], false);
      stream.replay(recording, [], false);
      // The write is one of the steps.
      expect(await floatsOf(stream, y)).toEqual([4, 8, 12, 16]);
      expect(recording.takesSeeds).toBe(true);
    }),
  );

  optional('exchange the buffers of pairs where they are told to', software, () =>
    withStream(async (stream) => {
      const [x, y, other] = [stream.scratch(16), stream.scratch(16), stream.scratch(16)];
      stream.write(x, numbers(1, 2, 3, 4));
      const { recording } = stream.record(
        () => {
          doubled(stream, x, y);
          doubled(stream, x, other);
        },
        () => ({ ...NOTHING, pairs: [[x.buffer, y.buffer]] }),
      );
      stream.replay(recording, [], true);
      expect(await floatsOf(stream, x)).toEqual([4, 8, 12, 16]);
      expect(await floatsOf(stream, other)).toEqual([4, 8, 12, 16]);
      stream.replay(recording, [], false);
      stream.replay(recording, [], true);
      expect(await floatsOf(stream, y)).toEqual([8, 16, 24, 32]);
      expect(await floatsOf(stream, x)).toEqual([16, 32, 48, 64]);
    }),
  );

  const seedPairs: Readonly<Record<string, readonly [number, number]>> = {
    'take other seeds, each in all of its places': [2 ** 45 + 2 ** 20, 3 * 2 ** 40 + 2 ** 31 + 5],
    'tell seeds apart that share a word': [2 ** 45 + 2 ** 20, 3 * 2 ** 40 + 2 ** 20],
  };
  for (const [name, [a, b]] of Object.entries(seedPairs)) {
    optional(name, software, () =>
      withStream(async (stream) => {
        const spans = Array.from({ length: 3 }, () => [stream.scratch(16), stream.scratch(16)] as const);
        const { recording } = stream.record(
          () => {
            for (const [at, pair] of spans.entries()) drawn(stream, at === 1 ? b : a, pair);
          },
          () => ({ ...NOTHING, seeds: [a, b] }),
        );
        expect(recording.takesSeeds).toBe(true);
        const wordsOf = async (at: number): Promise<number[]> => {
          const { buffer } = await stream.read((spans[at] as (typeof spans)[number])[1]);
          return Array.from(new Uint32Array(buffer, 0, 2));
        };
        // Seeds of replays may be small: their places are known.
        for (const [first, second] of [
          [1, 2 ** 52],
          [2 ** 33 + 9, 0],
        ] as const) {
          stream.replay(recording, [first, second], false);
          expect(await Promise.all([0, 1, 2].map(wordsOf))).toEqual(
            [first, second, first].map((seed) => [...philoxKey(seed)]),
          );
        }
      }),
    );
  }

  optional('refuse seeds that cannot be told from sizes, or are not there', software, () =>
    withStream(async (stream) => {
      const spans = [stream.scratch(16), stream.scratch(16)];
      const takes = (used: number, named: number): boolean => {
        const { recording } = stream.record(
          () => drawn(stream, used, spans),
          () => ({ ...NOTHING, seeds: [named] }),
        );
        recording.dispose();
        return recording.takesSeeds;
      };
      const large = 2 ** 45 + 2 ** 20;
      expect(takes(large, large)).toBe(true);
      expect(takes(large, large + 1)).toBe(false);
      for (const small of [0, 5, 2 ** 20, 2 ** 40, 2 ** 40 + 65_535]) expect(takes(small, small)).toBe(false);
    }),
  );

  optional('keep their buffers until they are disposed of', software, () =>
    withStream(async (stream) => {
      const x = stream.scratch(16);
      const { result: y, recording } = stream.record(
        () => {
          const made = stream.scratch(16);
          doubled(stream, x, made);
          stream.release(made);
          return made;
        },
        () => NOTHING,
      );
      expect(recording.bytes).toBe(512);
      expect(stream.scratch(16).buffer).not.toBe(y.buffer);
      recording.dispose();
      recording.dispose();
      expect(stream.scratch(16).buffer).toBe(y.buffer);
    }),
  );

  optional('cannot wait, and leave a stream that works when they throw', software, () =>
    withStream(async (stream) => {
      const x = stream.scratch(16);
      const read = (): Promise<Uint8Array> => stream.read(x);
      let failed: Promise<unknown> | undefined;
      const throwing = () =>
        stream.record(
          () => {
            expect(stream.isRecording).toBe(true);
            failed = read().catch((error: unknown) => error);
            throw new RangeError('broken');
          },
          () => NOTHING,
        );
      expect(throwing).toThrow('broken');
      expect(await failed).toMatchObject({ code: 'UNSUPPORTED' });
      expect(stream.isRecording).toBe(false);
      stream.write(x, numbers(1, 2, 3, 4));
      expect(await floatsOf(stream, x)).toEqual([1, 2, 3, 4]);
    }),
  );
});
