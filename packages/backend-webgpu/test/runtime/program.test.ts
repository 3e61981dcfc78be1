import { optional } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect } from 'vitest';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { DryBuffer } from '../../src/runtime/dry-buffer.js';
import { f32Bits, gridOf, type Kernel, type Span, uniformWords } from '../../src/runtime/kernel.js';
import { Stream, type StreamOptions } from '../../src/runtime/stream.js';

const scale: Kernel = {
  key: 'test program scale',
  buffers: ['read', 'write'],
  source: () => `
@group(0) @binding(0) var<uniform> factor: vec4f;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) { if (id.x < 4u) { y[id.x] = factor.x * x[id.x]; } }`,
};

const software = softwareGpuAvailability();

async function withStream(
  body: (stream: Stream) => Promise<void>,
  options: StreamOptions = {},
): Promise<void> {
  const { device } = await acquireDevice();
  try {
    await body(new Stream(device, options));
  } finally {
    device.destroy();
  }
}

function scaled(stream: Stream, factor: number, from: Span, to: Span): void {
  const uniforms = uniformWords([f32Bits(factor)]);
  stream.launch({ kernel: scale, buffers: [from, to], uniforms, workgroups: gridOf(1) });
}

const numbers = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);
const floatsOf = async (stream: Stream, span: Span): Promise<number[]> =>
  Array.from(new Float32Array((await stream.read(span)).buffer, 0, 4));
const standIn = (): Span => ({ buffer: new DryBuffer({ size: 16, usage: 0 }), offset: 0, size: 16 });

/** y = 6 x + (1, 2, 3, 4), by every kind of step, with a flush in between. */
function work(stream: Stream, x: Span, y: Span): void {
  const doubled = stream.scratch(16);
  scaled(stream, 2, x, doubled);
  stream.clear(y);
  const tripled = stream.scratch(16);
  scaled(stream, 3, doubled, tripled);
  stream.release(doubled);
  stream.flush();
  stream.copy(tripled, y);
  const last = stream.scratch(16);
  stream.write(last, numbers(1, 2, 3, 4));
  stream.copy({ ...last, size: 4 }, { ...y, size: 4 });
  stream.release(last);
  stream.release(tripled);
}

describe('captured programs of a stream', () => {
  for (const [pool, options] of Object.entries({ kept: {}, destroyed: { poolCapBytes: 0 } })) {
    optional(`run on other buffers, with scratch that is ${pool}`, software, () =>
      withStream(async (stream) => {
        const given = [standIn(), standIn()];
        const program = stream.capture(given, () => work(stream, given[0] as Span, given[1] as Span));
        expect(stream.pending).toBe(0);
        const wide = stream.scratch(1024);
        const places = [stream.scratch(16), { ...wide, offset: 256, size: 16 }];
        const results = [stream.scratch(16), { ...wide, offset: 768, size: 16 }];
        for (const round of [1, 2, 3]) {
          for (const [at, x] of places.entries()) {
            const y = results[at] as Span;
            stream.write(x, numbers(round, 10 * at, 0, 1));
            stream.run(program, [x, y]);
            expect(await floatsOf(stream, y)).toEqual([1, 60 * at, 0, 6]);
          }
        }
        expect(stream.counts.launches).toBe(12);
        program.forget();
        stream.run(program, [places[0] as Span, results[0] as Span]);
        expect(await floatsOf(stream, results[0] as Span)).toEqual([1, 0, 0, 6]);
      }, options),
    );
  }

  optional('make bind groups again only for the segments whose buffers differ', software, () =>
    withStream(async (stream) => {
      const given = [standIn(), standIn()];
      const [from, to] = given as [Span, Span];
      const program = stream.capture(given, () => {
        const small = stream.scratch(16);
        const large = stream.scratch(1024);
        scaled(stream, 2, from, small);
        scaled(stream, 3, small, large);
        stream.flush();
        scaled(stream, 5, large, to);
        stream.release(small);
        stream.release(large);
      });
      const x = stream.scratch(2048);
      const y = stream.scratch(2048);
      stream.write({ ...x, size: 16 }, numbers(1, 2, 3, 4));
      const run = async (): Promise<number> => {
        let groups = 0;
        const { device } = stream;
        const make = device.createBindGroup.bind(device);
        device.createBindGroup = (descriptor) => {
          groups++;
          return make(descriptor);
        };
        stream.run(program, [x, y]);
        expect(await floatsOf(stream, { ...y, size: 16 })).toEqual([30, 60, 90, 120]);
        device.createBindGroup = make;
        return groups;
      };
      expect(await run()).toBe(3);
      expect(await run()).toBe(0);
      // Takes the buffer of `small`, which the last segment does not use.
      const held = stream.scratch(16);
      expect(await run()).toBe(2);
      stream.release(held);
      expect(await run()).toBe(0);
    }),
  );

  optional('leave zeros that outlive them to the stream', software, () =>
    withStream(async (stream) => {
      const given = [standIn()];
      let zeros: Span | undefined;
      const program = stream.capture(given, () => {
        zeros = stream.zeros(16);
        stream.copy(zeros, given[0] as Span);
        scaled(stream, 1, given[0] as Span, zeros);
      });
      const x = stream.scratch(16);
      stream.write(x, numbers(1, 2, 3, 4));
      stream.run(program, [x]);
      expect(await floatsOf(stream, x)).toEqual([0, 0, 0, 0]);
      stream.write(zeros as Span, numbers(5, 6, 7, 8));
      stream.run(program, [x]);
      expect(await floatsOf(stream, x)).toEqual([5, 6, 7, 8]);
    }),
  );
});
