import { type DType, type Shape, sizeOf } from '@topk-attention/core';
import {
  type DropoutInputs,
  type DropoutOutputs,
  type DropoutRequest,
  dropoutNumbers,
  type FusedOperation,
} from '@topk-attention/core/backend';
import { storedBytes } from '../runtime/binding.js';
import type { DeviceFacts } from '../runtime/facts.js';
import { f32Bits } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { kernelFamily, read, write } from '../wgsl/define-kernel.js';
import { text as philoxText } from '../wgsl/philox.wgsl.js';
import { forEachElement, lines, range } from '../wgsl/text.js';
import { helperText } from './elementwise-wgsl.js';
import { halfBits } from './half.js';

/** Dropout of elements in one pass over memory, four random words at a time. */
export function elementDropout(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => WebGpuTensor,
): FusedOperation<DropoutRequest, DropoutInputs<WebGpuTensor>, DropoutOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const { shape, dtype } = request;
      const size = sizeOf(shape);
      if (storedBytes(dtype) * size > facts.bindingBytes) {
        return { refusals: [`a tensor exceeds a binding of ${facts.bindingBytes} bytes`] };
      }
      const { offset = [0, 0, 0, 0] } = request;
      const isPlaced = request.offset !== undefined;
      const rowQuads = isPlaced ? (shape[3] as number) / 4 : 1;
      if (!Number.isInteger(rowQuads) || offset[3] % 4 !== 0) {
        return { refusals: ['rows of a part that begin or end inside of four random words'] };
      }
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: 'one pass' }),
        run({ x }) {
          const { threshold, keptScale, key } = dropoutNumbers(request);
          const output = allocate(shape, dtype);
          const isHalf = dtype === 'f16';
          dropoutKernel({ isHalf, isVec: size % 4 === 0, isPlaced }).launch(stream, {
            uniforms: {
              count: Math.ceil(size / 4),
              words: Math.ceil((size * storedBytes(dtype)) / 4),
              seed: key,
              threshold,
              offset,
              extents: isPlaced ? [shape[1] as number, shape[2] as number, rowQuads] : [1, 1, 1],
              kept_scale: isHalf ? halfBits(keptScale) : f32Bits(keptScale),
            },
            buffers: { x: x.span, out: output.span },
            workgroups: { invocations: Math.ceil(size / 4) },
          });
          return { output };
        },
      };
    },
  };
}

interface DropoutVariant {
  readonly isHalf: boolean;
  /** The elements are whole fours, which are read and written at once. */
  readonly isVec: boolean;
  /** The elements are drawn for by their coordinates, each row whole fours. */
  readonly isPlaced: boolean;
}

/** An invocation for four elements, with the bits of the ops: products of f16 in f32, then rounded. */
const dropoutKernel = kernelFamily('dropout', ({ isHalf, isVec, isPlaced }: DropoutVariant) => {
  const wordsOfFour = isHalf ? 2 : 4;
  const element = isVec ? `vec${wordsOfFour}u` : 'u32';
  const own = range(wordsOfFour);
  return {
    uniforms: {
      count: 'u32',
      words: 'u32',
      seed: 'vec2u',
      threshold: 'i32',
      offset: ['u32', 4],
      extents: ['u32', 3],
      kept_scale: 'u32',
    },
    buffers: { x: read(element), out: write(element) },
    workgroup: 64,
    source: () =>
      lines([
        philoxText,
        helperText(isHalf ? ['halfToBits', 'halfOf'] : []),
        isHalf ? scaledHalves : scaledWord,
        forEachElement(
          lines([
            isPlaced ? placeText : 'let place = vec4u(0u, 0u, 0u, 4u * at);',
            'let is_kept = bitcast<vec4i>(random_words(place, params.seed)) >= vec4i(params.threshold);',
            isVec
              ? `let bits = x[at];
  out[at] = ${element}(${own.map((i) => scaledText(isHalf, `bits[${i}]`, i)).join(', ')});`
              : lines(
                  own.map((i) => {
                    const place = `${wordsOfFour}u * at + ${i}u`;
                    return `  if (${place} < params.words) { out[${place}] = ${scaledText(isHalf, `x[${place}]`, i)}; }`;
                  }),
                ),
          ]),
        ),
      ]),
  };
});

/** Coordinates of the first of the four elements of an invocation. */
const placeText = `let matrix = at / (params.extents_2 * params.extents_1);
let place = vec4u(params.offset_0, params.offset_1, params.offset_2, params.offset_3) + vec4u(
  matrix / params.extents_0,
  matrix % params.extents_0,
  at / params.extents_2 % params.extents_1,
  4u * (at % params.extents_2),
);`;

/** Word `i` of the four elements of an invocation. */
function scaledText(isHalf: boolean, bits: string, i: number): string {
  return isHalf
    ? `scaled(${bits}, is_kept[${2 * i}], is_kept[${2 * i + 1}])`
    : `scaled(${bits}, is_kept[${i}])`;
}

const scaledWord = `
fn scaled(bits: u32, is_kept: bool) -> u32 {
  return select(0u, bitcast<u32>(bitcast<f32>(bits) * bitcast<f32>(params.kept_scale)), is_kept);
}`;

const scaledHalves = `
fn scaled_half(half: u32, is_kept: bool) -> u32 {
  let scale = bitcast<f32>(half_to_bits(params.kept_scale));
  return select(0u, half_of(bitcast<f32>(half_to_bits(half)) * scale), is_kept);
}
fn scaled(bits: u32, low: bool, high: bool) -> u32 {
  return scaled_half(bits & 0xffffu, low) | (scaled_half(bits >> 16u, high) << 16u);
}`;
