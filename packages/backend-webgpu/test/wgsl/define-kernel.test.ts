import { TopKError } from '@topk-attention/core';
import { optional as onlyWith } from '@topk-attention/vitest-preset';
import { softwareGpuAvailability } from '@topk-attention/vitest-preset/software-gpu';
import { describe, expect, test } from 'vitest';
import { acquireDevice } from '../../src/runtime/acquire.js';
import { bindingOf, wholeOf } from '../../src/runtime/binding.js';
import { f32Bits, type Launch, type Span } from '../../src/runtime/kernel.js';
import { Stream } from '../../src/runtime/stream.js';
import {
  defineKernel,
  kernelFamily,
  optional,
  read,
  readFrom,
  write,
  writeTo,
} from '../../src/wgsl/define-kernel.js';

/** out[i] = scale * x[i] (+ bias) + sum of the offsets. */
const scaled = (isVector: boolean, hasBias: boolean) =>
  defineKernel({
    key: `test scaled${isVector ? ' vec' : ''}${hasBias ? ' + bias' : ''}`,
    uniforms: { count: 'u32', scale: 'f32', offsets: ['i32', 2] },
    buffers: {
      x: readFrom(isVector ? 'vec4f' : 'f32'),
      bias: optional(hasBias, read('f32')),
      out: writeTo(isVector ? 'vec4f' : 'f32'),
    },
    workgroup: 64,
    source: () => `@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) t: u32) {
  let at = group.x * INVOCATIONS + t;
  if (at >= params.count) { return; }
  let offset = f32(params.offsets_0 + params.offsets_1)${hasBias ? ' + bias[0]' : ''};
  out[params.out_base${isVector ? ' / 4u' : ''} + at] = params.scale * x[params.x_base${isVector ? ' / 4u' : ''} + at] + offset;
}`,
  });

/** Collects launches in place of a stream. */
function collector(): { readonly stream: Stream; readonly launches: Launch[] } {
  const launches: Launch[] = [];
  const stream: Pick<Stream, 'launch'> = { launch: (launch) => void launches.push(launch) };
  return { stream: stream as Stream, launches };
}

const span = (offset = 0): Span => ({ buffer: {} as GPUBuffer, offset, size: 1024 });
const uniforms = { count: 3, scale: 0.5, offsets: [-1, 2] };

describe('a declared kernel', () => {
  test('declares params, bindings and the workgroup in its text', () => {
    const text = scaled(true, true).source();
    expect(text.split('\n').slice(0, 6)).toEqual([
      'struct Params { count: u32, scale: f32, offsets_0: i32, offsets_1: i32, x_base: u32, out_base: u32 }',
      '@group(0) @binding(0) var<uniform> params: Params;',
      '@group(0) @binding(1) var<storage, read> x: array<vec4f>;',
      '@group(0) @binding(2) var<storage, read> bias: array<f32>;',
      '@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;',
      'const INVOCATIONS = 64u;',
    ]);
    expect(scaled(true, true).buffers).toEqual(['read', 'read', 'write']);
  });

  test('shifts no binding by hand where an optional buffer is missing', () => {
    const kernel = scaled(false, false);
    expect(kernel.buffers).toEqual(['read', 'write']);
    expect(kernel.source()).toContain('@binding(2) var<storage, read_write> out');
    expect(kernel.source()).not.toContain('bias');
  });

  test('has a workgroup of two axes, directives, and no params where nothing needs them', () => {
    const kernel = defineKernel({
      key: 'test plain',
      uniforms: {},
      buffers: { out: write('u32') },
      workgroup: [16, 4],
      directives: ['enable f16'],
      source: () => 'fn rest() {}',
    });
    expect(kernel.source().split('\n')).toEqual([
      'enable f16;',
      '@group(0) @binding(1) var<storage, read_write> out: array<u32>;',
      'const INVOCATIONS_X = 16u;',
      'const INVOCATIONS_Y = 4u;',
      'fn rest() {}',
    ]);
    const { stream, launches } = collector();
    kernel.launch(stream, { uniforms: {}, buffers: { out: span() }, workgroups: { invocations: 65 } });
    expect(launches[0]?.workgroups).toEqual([2, 1, 1]);
  });

  test('fills uniforms and buffers by name, in whatever order they are given', () => {
    const { stream, launches } = collector();
    const [x, bias, out] = [span(256), span(512), span(768)];
    const kernel = scaled(false, true);
    kernel.launch(stream, {
      buffers: { out: { span: out, base: 9 }, bias, x: { span: x, base: 5 } },
      uniforms: { offsets: [-1, 2], scale: 0.5, count: 3 },
      workgroups: 70_000,
    });
    const [launch] = launches;
    expect(launch?.kernel).toBe(kernel);
    expect(launch?.buffers).toEqual([x, bias, out]);
    expect(Array.from(launch?.uniforms ?? [])).toEqual([3, f32Bits(0.5), 0xffffffff, 2, 5, 9, 0, 0]);
    expect(launch?.workgroups).toEqual([35_000, 2, 1]);
  });

  test('puts vectors where WGSL does: at multiples of their size', () => {
    const { stream, launches } = collector();
    const kernel = defineKernel({
      key: 'test vectors',
      uniforms: { count: 'u32', seed: 'vec2u', rate: 'f32', strides: 'vec4u' },
      buffers: { out: writeTo('u32') },
      workgroup: 1,
      source: () => '',
    });
    expect(kernel.source()).toContain(
      'struct Params { count: u32, seed: vec2u, rate: f32, strides: vec4u, out_base: u32 }',
    );
    kernel.launch(stream, {
      uniforms: { count: 1, seed: [2, 3], rate: 0.5, strides: [4, 5, 6, 7] },
      buffers: { out: { span: span(), base: 8 } },
      workgroups: 1,
    });
    const words = [1, 0, 2, 3, f32Bits(0.5), 0, 0, 0, 4, 5, 6, 7, 8, 0, 0, 0];
    expect(Array.from(launches[0]?.uniforms ?? [])).toEqual(words);
  });

  test('of a family is declared once for each variant, which its key names', () => {
    let declarations = 0;
    const family = kernelFamily('test family', ({ half }: { readonly half: boolean }) => {
      declarations++;
      return {
        uniforms: { count: 'u32' },
        buffers: { out: write(half ? 'u32' : 'f32') },
        workgroup: 1,
        source: () => '',
      };
    });
    expect(family({ half: true })).toBe(family({ half: true }));
    expect(family({ half: false }).key).toBe('test family {"half":false}');
    expect(declarations).toBe(2);
  });

  test('keeps grids and indirect launches as they are given', () => {
    const { stream, launches } = collector();
    const buffers = { x: wholeOf(span()), out: wholeOf(span()) };
    const indirect = span();
    scaled(false, false).launch(stream, { uniforms, buffers, workgroups: [2, 3, 4] });
    scaled(false, false).launch(stream, { uniforms, buffers, workgroups: { indirect } });
    expect(launches.map(({ workgroups }) => workgroups)).toEqual([[2, 3, 4], { indirect }]);
  });

  test('refuses an optional buffer that its variant lacks, a missing one, and a row of another length', () => {
    const { stream, launches } = collector();
    const [x, out] = [wholeOf(span()), wholeOf(span())];
    const surplus = { x, bias: span(), out };
    expect(() =>
      scaled(false, true).launch(stream, { uniforms, buffers: { x, out }, workgroups: 1 }),
    ).toThrow(TopKError);
    expect(() => scaled(false, false).launch(stream, { uniforms, buffers: surplus, workgroups: 1 })).toThrow(
      /bias/,
    );
    const short = { ...uniforms, offsets: [1] };
    expect(() =>
      scaled(false, false).launch(stream, { uniforms: short, buffers: { x, out }, workgroups: 1 }),
    ).toThrow(/offsets/);
    expect(launches).toEqual([]);
  });

  test('is checked by the compiler', () => {
    const { stream } = collector();
    const kernel = scaled(false, false);
    const [x, out] = [wholeOf(span()), wholeOf(span())];
    const calls = (): void => {
      // @ts-expect-error a buffer is missing
      kernel.launch(stream, { uniforms, buffers: { x }, workgroups: 1 });
      // @ts-expect-error a buffer is not declared
      kernel.launch(stream, { uniforms, buffers: { x, out, y: out }, workgroups: 1 });
      // @ts-expect-error a span where a binding with a base is declared
      kernel.launch(stream, { uniforms, buffers: { x: x.span, out }, workgroups: 1 });
      // @ts-expect-error a binding where a whole span is declared
      kernel.launch(stream, { uniforms, buffers: { x, out, bias: x }, workgroups: 1 });
      // @ts-expect-error a uniform is missing
      kernel.launch(stream, { uniforms: { count: 1, scale: 1 }, buffers: { x, out }, workgroups: 1 });
      // @ts-expect-error a uniform is not declared
      kernel.launch(stream, { uniforms: { ...uniforms, k: 1 }, buffers: { x, out }, workgroups: 1 });
      // @ts-expect-error one number where a row is declared
      kernel.launch(stream, { uniforms: { ...uniforms, offsets: 1 }, buffers: { x, out }, workgroups: 1 });
      // @ts-expect-error a type that no uniform has
      defineKernel({ key: '', uniforms: { a: 'f16' }, buffers: {}, workgroup: 1, source: () => '' });
    };
    expect(calls).toBeTypeOf('function');
  });
});

onlyWith(
  'a declared kernel runs, as vectors and with an optional buffer',
  softwareGpuAvailability(),
  async () => {
    const { device } = await acquireDevice();
    const stream = new Stream(device);
    const x = stream.scratch(4 * 128);
    const out = stream.scratch(4 * 8);
    const bias = stream.scratch(4);
    stream.write(x, new Uint8Array(Float32Array.from({ length: 128 }, (_, i) => i).buffer));
    stream.write(bias, new Uint8Array(Float32Array.of(100).buffer));
    const run = async (isVector: boolean, hasBias: boolean): Promise<number[]> => {
      stream.clear(out);
      scaled(isVector, hasBias).launch(stream, {
        uniforms: { count: isVector ? 2 : 8, scale: 0.5, offsets: [-1, -2] },
        buffers: { x: bindingOf(x, 100, 8), out: wholeOf(out), ...(hasBias && { bias }) },
        workgroups: { invocations: 8 },
      });
      return Array.from(new Float32Array((await stream.read(out)).buffer));
    };
    const expected = Array.from({ length: 8 }, (_, i) => (100 + i) / 2 - 3);
    expect(await run(false, false)).toEqual(expected);
    expect(await run(true, true)).toEqual(expected.map((value) => value + 100));
    device.destroy();
  },
);
