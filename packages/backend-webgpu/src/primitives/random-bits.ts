import { type Shape, sizeOf } from '@topk-attention/core';
import { philoxKey } from '@topk-attention/core/backend';
import { windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, writeTo } from '../wgsl/define-kernel.js';
import { text as philoxText } from '../wgsl/philox.wgsl.js';
import { forEachElement } from '../wgsl/text.js';
import { splitRows } from './split-rows.js';

/** One invocation per word: Philox4x32-10, with 32-bit products computed by halves. Writes memory once, reads none. */
const kernel = defineKernel({
  key: 'random-bits',
  uniforms: { count: 'u32', first: 'u32', key: ['u32', 2], offset: ['u32', 4], shape: ['u32', 4] },
  buffers: { out: writeTo('u32') },
  workgroup: 64,
  source: () => `${philoxText}
${forEachElement(`let offset = vec4u(params.offset_0, params.offset_1, params.offset_2, params.offset_3);
  var rest = params.first + at;
  var place: vec4u;
  place.w = rest % params.shape_3; rest /= params.shape_3;
  place.z = rest % params.shape_2; rest /= params.shape_2;
  place.y = rest % params.shape_1;
  place.x = rest / params.shape_1;
  out[params.out_base + at] = random_word(offset + place, vec2u(params.key_0, params.key_1));`)}`,
});

/**
 * Words of core's `randomBits`: `out` is i32 of rank 4 or less. Trailing axes that `out` lacks count only as offset.
 */
export function recordRandomBits(
  stream: Stream,
  seed: number,
  offset: readonly [number, number, number, number],
  out: View,
): void {
  const shape: Shape = [...out.shape, 1, 1, 1, 1].slice(0, 4);
  for (const { first, count } of splitRows(stream, 'randomBits', sizeOf(shape), 4)) {
    kernel.launch(stream, {
      uniforms: { count, first, key: philoxKey(seed), offset, shape },
      buffers: { out: windowOf(out, first, count) },
      workgroups: { invocations: count },
    });
  }
}
