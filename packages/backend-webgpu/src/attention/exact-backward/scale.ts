import type { Span } from '../../runtime/kernel.js';
import type { Stream } from '../../runtime/stream.js';
import { defineKernel, write } from '../../wgsl/define-kernel.js';
import { forEachElement } from '../../wgsl/text.js';

const scaleKernel = defineKernel({
  key: 'attention exact-backward scale',
  uniforms: { count: 'u32', factor: 'f32' },
  buffers: { x: write('vec4f') },
  workgroup: 256,
  source: () => forEachElement('x[at] = params.factor * x[at];'),
});

/** Multiplies `count` f32, a multiple of four, in place. */
export function recordScale(stream: Stream, x: Span, count: number, factor: number): void {
  scaleKernel.launch(stream, {
    uniforms: { count: count / 4, factor },
    buffers: { x },
    workgroups: { invocations: count / 4 },
  });
}
