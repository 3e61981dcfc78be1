import type { DType, Shape } from '@topk-attention/core';
import type {
  FusedOperation,
  SumSquaresInputs,
  SumSquaresOutputs,
  SumSquaresRequest,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { type Buffer, defineKernel, read, write } from '../wgsl/define-kernel.js';
import { range, times } from '../wgsl/text.js';
import { helperText } from './elementwise-wgsl.js';
import { launchesOf, whichTensor, workgroupsOf } from './several-tensors.js';

const INVOCATIONS = 256;
/** Most parts of a tensor, and the elements of a part of a small one. A choice; other numbers were not measured. */
const MOST_PARTS = 256;
const PART_ELEMENTS = 4096;
/** Invocations that join the parts of a tensor. */
const LANES = 16;
/** Most tensors of a launch: their sizes must fit among its uniforms. */
const MOST_TENSORS = 16;

/** Parts of all tensors, as many tensors a launch as the device binds; then one workgroup joins them. */
export function sumsOfSquares(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: DType) => WebGpuTensor,
): FusedOperation<SumSquaresRequest, SumSquaresInputs<WebGpuTensor>, SumSquaresOutputs<WebGpuTensor>> {
  const most = Math.min(MOST_TENSORS, facts.storageBuffers - 2);
  return {
    prepare({ sizes, dtype }) {
      const refusals: string[] = [];
      if (dtype !== 'f32' && dtype !== 'f16') refusals.push(`${dtype}: made for f32 and f16`);
      const half = dtype === 'f16';
      if (sizes.includes(0)) refusals.push('an empty tensor');
      if (sizes.some((size) => 4 * size > facts.bindingBytes)) {
        refusals.push(`a tensor exceeds a binding of ${facts.bindingBytes} bytes`);
      }
      if (refusals.length > 0) return { refusals };
      const scratchBytes = 4 * sizes.length * (MOST_PARTS + 1);
      const groups = launchesOf(sizes, most);
      return {
        scratchBytes: () => scratchBytes,
        describe: () => ({ variant: `parts in ${groups.length} launches, and their sums` }),
        run(inputs) {
          const made = { sums: allocate([sizes.length], 'f32'), norm: allocate([], 'f32') };
          const sums = stream.scratch(4 * sizes.length * MOST_PARTS);
          const parts = stream.scratch(4 * sizes.length);
          for (const [at, group] of groups.entries()) {
            const spans = group.map((_, i) => (inputs[at * most + i] as WebGpuTensor).span);
            recordParts(stream, spans, group, half, { sums, parts, firstTensor: at * most });
          }
          joinKernel.launch(stream, {
            uniforms: { tensors: sizes.length },
            buffers: { part_sums: sums, parts, sums: made.sums.span, norm: made.norm.span },
            workgroups: 1,
          });
          stream.release(sums);
          stream.release(parts);
          return made;
        },
      };
    },
  };
}

function recordParts(
  stream: Stream,
  tensors: readonly Span[],
  sizes: readonly number[],
  half: boolean,
  { sums, parts, firstTensor }: { readonly sums: Span; readonly parts: Span; readonly firstTensor: number },
): void {
  const buffers: Record<string, Span> = { part_sums: sums, parts };
  for (const [at, span] of tensors.entries()) buffers[`x_${at}`] = span;
  const each = sizes.map((size) => Math.max(PART_ELEMENTS, 2 * Math.ceil(size / MOST_PARTS / 2)));
  const { firsts, workgroups } = workgroupsOf(
    sizes.map((size, at) => Math.ceil(size / (each[at] as number))),
  );
  partsKernel(tensors.length, half).launch(stream, {
    uniforms: { first_tensor: firstTensor, first: [...firsts], size: [...sizes], each },
    buffers,
    workgroups: [workgroups, 1, 1],
  });
}

const partsKernel = (tensors: number, half: boolean) => {
  const buffers: Record<string, Buffer<false, false>> = { part_sums: write('f32'), parts: write('u32') };
  for (const at of range(tensors)) buffers[`x_${at}`] = read(half ? 'u32' : 'f32');
  return defineKernel({
    key: `sum-squares parts ${tensors}${half ? ' f16' : ''}`,
    uniforms: {
      first_tensor: 'u32',
      first: ['u32', tensors],
      size: ['u32', tensors],
      each: ['u32', tensors],
    },
    buffers,
    workgroup: INVOCATIONS,
    source: () => partsText(tensors, half),
  });
};

function partsText(tensors: number, half: boolean): string {
  const sums = times(
    tensors,
    (at) => `case ${at}u: {
      ${
        half
          ? // Parts begin at even elements.
            `for (var i = begin + 2u * local; i < end; i += 2u * INVOCATIONS) {
        let word = x_${at}[i / 2u];
        let low = bitcast<f32>(half_to_bits(word & 0xffffu));
        let high = bitcast<f32>(half_to_bits(select(0u, word >> 16u, i + 1u < end)));
        sum += low * low + high * high;
      }`
          : `for (var i = begin + local; i < end; i += INVOCATIONS) { sum += x_${at}[i] * x_${at}[i]; }`
      }
    }`,
    '\n    ',
  );
  return `${half ? helperText(['halfToBits']) : ''}
var<workgroup> joined: array<f32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(workgroup_id) workgroup: vec3u, @builtin(local_invocation_index) local: u32) {
  ${whichTensor('workgroup.x', tensors, ['size', 'each'])}
  let part = workgroup.x - first;
  let begin = part * each;
  let end = min(size, begin + each);
  var sum = 0.0;
  switch which {
    ${sums}
    default: {}
  }
  joined[local] = sum;
  workgroupBarrier();
  for (var half = INVOCATIONS / 2u; half > 0u; half /= 2u) {
    if (local < half) { joined[local] += joined[local + half]; }
    workgroupBarrier();
  }
  if (local > 0u) { return; }
  let tensor = params.first_tensor + which;
  part_sums[tensor * ${MOST_PARTS}u + part] = joined[0];
  if (part == 0u) { parts[tensor] = (size + each - 1u) / each; }
}`;
}

const joinKernel = defineKernel({
  key: 'sum-squares join',
  uniforms: { tensors: 'u32' },
  buffers: { part_sums: read('f32'), parts: read('u32'), sums: write('f32'), norm: write('f32') },
  workgroup: INVOCATIONS,
  source: () => `const LANES = ${LANES}u;
const SIDE_BY_SIDE = INVOCATIONS / LANES;
var<workgroup> joined: array<f32, INVOCATIONS>;
@compute @workgroup_size(INVOCATIONS)
fn main(@builtin(local_invocation_index) local: u32) {
  var total = 0.0;
  for (var first = 0u; first < params.tensors; first += SIDE_BY_SIDE) {
    let tensor = first + local / LANES;
    var sum = 0.0;
    if (tensor < params.tensors) {
      for (var part = local % LANES; part < parts[tensor]; part += LANES) {
        sum += part_sums[tensor * ${MOST_PARTS}u + part];
      }
    }
    joined[local] = sum;
    workgroupBarrier();
    if (local % LANES == 0u && tensor < params.tensors) {
      for (var lane = 1u; lane < LANES; lane++) { sum += joined[local + lane]; }
      sums[tensor] = sum;
      total += sum;
    }
    workgroupBarrier();
  }
  joined[local] = total;
  workgroupBarrier();
  if (local > 0u) { return; }
  for (var other = LANES; other < INVOCATIONS; other += LANES) { total += joined[other]; }
  norm[0] = sqrt(total);
}`,
});
