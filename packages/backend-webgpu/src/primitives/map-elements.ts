import { type DType, sizeOf, TopKError } from '@topk-attention/core';
import { storedBytes, windowOf } from '../runtime/binding.js';
import type { Stream } from '../runtime/stream.js';
import type { View } from '../runtime/view.js';
import { defineKernel, optional, readFrom, writeTo } from '../wgsl/define-kernel.js';
import { loadBits } from '../wgsl/numbers.js';
import { ELEMENTS, forSeveralElements, range } from '../wgsl/text.js';
import { type Helper, helperText } from './elementwise-wgsl.js';
import { doesNotFit, largestBytes } from './split-rows.js';
import { collapse, type Walk } from './strides.js';

const names = ['a', 'b', 'c'] as const;
/** Words of a uniform block, 256 bytes. */
const MOST_WORDS = 64;
const WORKGROUP = 64;

export interface Operand {
  readonly view: View;
  /** In elements, one per axis of the result. */
  readonly strides: readonly number[];
  /** Element of the view at coordinates 0. */
  readonly start?: number;
}

export interface Mapping {
  /** Names the function below. */
  readonly name: string;
  /**
   * WGSL statements that return the u32 bits of an element of the result from the bits `a`, `b`, `c` of one of each
   * operand.
   */
  readonly body: string;
  readonly helpers?: readonly Helper[];
  /** True to move bits unchanged; otherwise `body` reads and writes f16 as f32 bits. */
  readonly raw?: boolean;
}

/**
 * out[i] = f(a[...], b[...], c[...]) over all elements of `out`, with operands read by strides. One pass: every word
 * of the result is written once by one invocation.
 */
export function recordMap(stream: Stream, mapping: Mapping, operands: readonly Operand[], out: View): void {
  const size = sizeOf(out.shape);
  if (size === 0) return;
  const walk = collapse({ extents: out.shape, strides: operands.map(({ strides }) => strides) });
  const kernel = mapKernel(
    mapping,
    operands.map(({ view }) => view.dtype),
    out.dtype,
    walk.extents.length,
  );
  for (const { first, end } of rangesOf(stream, mapping.name, walk, operands, out)) {
    const inner = innerSize(walk);
    const count = (end - first) * inner;
    const target = windowOf(out, first * inner, count);
    const perWord = 4 / storedBytes(out.dtype);
    const windows = operands.map(({ view, start = 0 }, index) => {
      const strides = walk.strides[index] as readonly number[];
      return windowOf(view, start + first * (strides[0] ?? 0), reach(walk, strides, end - first));
    });
    const words = 2 + windows.length + walk.extents.length * (1 + windows.length);
    if (words > MOST_WORDS) {
      throw new TopKError('UNSUPPORTED', `webgpu: ${mapping.name} over too many axes`, {
        expected: 'shapes that collapse to a dozen axes',
        got: `${walk.extents.length} axes`,
        fix: 'Reshape to fewer axes',
      });
    }
    const [a, b, c] = windows;
    const [aSteps, bSteps = [], cSteps = []] = walk.strides;
    kernel.launch(stream, {
      uniforms: { count, extents: walk.extents, a_steps: aSteps ?? [], b_steps: bSteps, c_steps: cSteps },
      buffers: { a, b, c, out: { span: target.span, base: target.base / perWord } },
      workgroups: { invocations: Math.ceil(count / perWord / ELEMENTS) },
    });
  }
}

/** Elements per step along the first axis of a walk. */
function innerSize({ extents }: Walk): number {
  return extents.slice(1).reduce((a, b) => a * b, 1);
}

/** Elements from the first to the last that `steps` steps along the first axis touch. */
function reach({ extents }: Walk, strides: readonly number[], steps: number): number {
  return extents.reduce(
    (sum, extent, axis) => sum + ((axis === 0 ? steps : extent) - 1) * (strides[axis] as number),
    1,
  );
}

interface Steps {
  readonly first: number;
  readonly end: number;
}

/** Runs along the first axis whose bindings the device allows; they start where windows of `out` hold whole words. */
function rangesOf(
  stream: Stream,
  name: string,
  walk: Walk,
  operands: readonly Operand[],
  out: View,
): readonly Steps[] {
  const limit = largestBytes(stream);
  const extent = walk.extents[0] ?? 1;
  const bytesOf = (steps: number): number =>
    Math.max(
      steps * innerSize(walk) * storedBytes(out.dtype),
      ...operands.map(
        ({ view }, index) =>
          reach(walk, walk.strides[index] as readonly number[], steps) * storedBytes(view.dtype),
      ),
    );
  if (bytesOf(extent) <= limit) return [{ first: 0, end: extent }];
  const perStep = bytesOf(2) - bytesOf(1);
  const rest = Math.max(0, bytesOf(1) - perStep);
  const fitting = Math.floor((limit - rest) / perStep);
  // 128 elements of f16 are 256 bytes; an even number of steps keeps halves of a word together.
  const step = fitting >= 128 ? fitting - (fitting % 128) : fitting - (fitting % 2);
  if (step < 2) throw doesNotFit(stream, name, bytesOf(2));
  return Array.from({ length: Math.ceil(extent / step) }, (_, index) => ({
    first: index * step,
    end: Math.min(extent, (index + 1) * step),
  }));
}

function mapKernel(mapping: Mapping, inputs: readonly DType[], output: DType, rank: number) {
  // Raw functions depend only on the width of an element.
  const typeOf = (dtype: DType): string => (mapping.raw ? String(8 * storedBytes(dtype)) : dtype);
  const stepsOf = (operand: number): readonly ['u32', number] => ['u32', operand < inputs.length ? rank : 0];
  return defineKernel({
    key: `map ${mapping.name} ${inputs.map(typeOf)} to ${typeOf(output)} rank ${rank}`,
    uniforms: {
      count: 'u32',
      extents: ['u32', rank],
      a_steps: stepsOf(0),
      b_steps: stepsOf(1),
      c_steps: stepsOf(2),
    },
    buffers: {
      a: optional(inputs.length > 0, readFrom('u32')),
      b: optional(inputs.length > 1, readFrom('u32')),
      c: optional(inputs.length > 2, readFrom('u32')),
      out: writeTo('u32'),
    },
    workgroup: WORKGROUP,
    source: () => mapSource(mapping, inputs, output, rank),
  });
}

function mapSource(
  { body, helpers = [], raw = false }: Mapping,
  inputs: readonly DType[],
  output: DType,
  rank: number,
): string {
  const own = names.slice(0, inputs.length);
  const usesHalves = !raw && inputs.includes('f16');
  const storesHalves = !raw && output === 'f16';
  const load = (name: string, index: number): string => {
    const half = inputs[index] === 'f16';
    if (raw || !half) return loadBits(name, half);
    return `fn load_${name}(at: u32) -> u32 { return half_to_bits((${name}[at / 2u] >> (16u * (at % 2u))) & 0xffffu); }`;
  };
  const steps = range(rank).map((index) => {
    const axis = rank - 1 - index;
    const coordinate = axis === 0 ? 'rest' : `rest % params.extents_${axis}`;
    const moves = own.map((name) => `at_${name} += step * params.${name}_steps_${axis};`);
    return `step = ${coordinate}; ${moves.join(' ')}${axis === 0 ? '' : ` rest /= params.extents_${axis};`}`;
  });
  const value = storesHalves ? 'half_of(bitcast<f32>(value))' : 'value';
  return `${helperText([...helpers, ...(usesHalves ? ['halfToBits' as const] : []), ...(storesHalves ? ['halfOf' as const] : [])])}
${own.map(load).join('\n')}

fn apply(${own.map((name) => `${name}: u32`).join(', ')}) -> u32 { ${body} }

fn element(index: u32) -> u32 {
  var rest = index;
  var step = 0u;
  ${own.map((name) => `var at_${name} = params.${name}_base;`).join('\n  ')}
  ${steps.join('\n  ')}
  let value = apply(${own.map((name) => `load_${name}(at_${name})`).join(', ')});
  return ${value};
}

${
  output === 'f16'
    ? `fn word(at: u32) -> u32 {
  var bits = element(2u * at);
  if (2u * at + 1u < params.count) { bits |= element(2u * at + 1u) << 16u; }
  return bits;
}`
    : 'fn word(at: u32) -> u32 { return element(at); }'
}

${forSeveralElements(
  WORKGROUP,
  output === 'f16' ? '(params.count + 1u) / 2u' : 'params.count',
  (at) => `word(${at})`,
  (at) => `out[params.out_base + ${at}]`,
)}`;
}
