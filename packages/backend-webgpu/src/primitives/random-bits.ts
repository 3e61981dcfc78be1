import { sizeOf } from '@topk-attention/core';
import { philoxKey } from '@topk-attention/core/backend';
import { windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { kernelFamily, writeTo } from '../wgsl/define-kernel.js';
import { text as philoxText } from '../wgsl/philox.wgsl.js';
import { forEachElement } from '../wgsl/text.js';
import { splitRows } from './split-rows.js';

interface Variant {
  /** An invocation makes the four words of a counter, and writes them at once. */
  readonly isFour: boolean;
}

/** Philox4x32-10, with 32-bit products computed by halves. Writes memory once, reads none. */
const kernelOf = kernelFamily('random-bits', ({ isFour }: Variant) => ({
  uniforms: { count: 'u32', first: 'u32', key: ['u32', 2], offset: ['u32', 4], shape: ['u32', 4] },
  buffers: { out: writeTo(isFour ? 'vec4u' : 'u32') },
  workgroup: 64,
  source: () => `${philoxText}
${forEachElement(`let offset = vec4u(params.offset_0, params.offset_1, params.offset_2, params.offset_3);
  let key = vec2u(params.key_0, params.key_1);
  var rest = params.first + at;
  var place: vec4u;
  place.w = rest % params.shape_3; rest /= params.shape_3;
  place.z = rest % params.shape_2; rest /= params.shape_2;
  place.y = rest % params.shape_1;
  place.x = rest / params.shape_1;
  ${
    isFour
      ? `place.w *= 4u;
  out[params.out_base / 4u + at] = random_words(offset + place, key);`
      : 'out[params.out_base + at] = random_word(offset + place, key);'
  }`)}`,
}));

/**
 * Words of core's `randomBits`: `out` is i32 of rank 4 or less. Trailing axes that `out` lacks count only as offset.
 */
export function recordRandomBits(
  stream: Stream,
  seed: number,
  offset: readonly [number, number, number, number],
  out: View,
): void {
  const shape = [...out.shape, 1, 1, 1, 1].slice(0, 4);
  const extent = shape[3] as number;
  // Rows that begin and end inside of a counter are made word by word.
  const isFour = extent % 4 === 0 && offset[3] % 4 === 0;
  const words = isFour ? 4 : 1;
  const units = [...shape.slice(0, 3), extent / words];
  for (const { first, count } of splitRows(stream, 'randomBits', sizeOf(units), 4 * words)) {
    kernelOf({ isFour }).launch(stream, {
      uniforms: { count, first, key: philoxKey(seed), offset, shape: units },
      buffers: { out: windowOf(out, first * words, count * words) },
      workgroups: { invocations: count },
    });
  }
}
