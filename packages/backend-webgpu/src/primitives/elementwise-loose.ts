import { type Shape, sizeOf } from '@topk-attention/core';
import type { ElementwiseInputs, ElementwiseProgram, ElementwiseStorage } from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { type Buffer, type DefinedKernel, defineKernel, read, write } from '../wgsl/define-kernel.js';
import { range, times } from '../wgsl/text.js';
import {
  inputElement,
  loadText,
  outputElement,
  runText,
  storageHelpers,
  storageKey,
  unitsOf,
  WORKGROUP,
} from './elementwise-program.js';
import { programText } from './elementwise-program-text.js';
import { launchesOf, whichTensor, workgroupsOf } from './several-tensors.js';

/** Most tensors of a launch: a choice. */
const MOST_TENSORS = 16;

/** Indices of tensors, as many together as the device binds with their outputs. */
export function looseGroups(
  { inputs, outputs, numbers }: ElementwiseProgram,
  tensors: number,
  { storageBuffers }: Pick<DeviceFacts, 'storageBuffers'>,
): readonly (readonly number[])[] {
  const each = inputs.length + Object.keys(outputs).length;
  const most = Math.min(MOST_TENSORS, Math.floor((storageBuffers - (numbers > 0 ? 1 : 0)) / each));
  if (most < 2) return [];
  return launchesOf(range(tensors), most).filter((group) => group.length > 1);
}

interface LooseCall {
  readonly shapes: readonly Shape[];
  readonly indices: readonly number[];
  readonly inputs: ElementwiseInputs<WebGpuTensor>;
  readonly outputs: Readonly<Record<string, WebGpuTensor>>;
}

type LooseKernel = DefinedKernel<
  { readonly first: readonly ['u32', number]; readonly count: readonly ['u32', number] },
  Readonly<Record<string, Buffer<false, false>>>
>;

/** Launches a program for several tensors, each of which is bound. */
export function looseLauncher(
  stream: Stream,
): (program: ElementwiseProgram, storage: ElementwiseStorage, call: LooseCall) => void {
  const kernels = new Map<string, LooseKernel>();
  return (program, storage, { shapes, indices, inputs, outputs }) => {
    const key = `${indices.length} ${storageKey(storage)}${program.key}`;
    const kernel = kernels.get(key) ?? looseKernel(program, storage, indices.length);
    kernels.set(key, kernel);
    const counts = indices.map((index) => sizeOf(shapes[index] as Shape));
    const { firsts, workgroups } = workgroupsOf(
      counts.map((count) => Math.ceil(unitsOf(count, storage) / WORKGROUP)),
    );
    const buffers: Record<string, Span> = {};
    if (inputs.numbers !== undefined) buffers.in_numbers = inputs.numbers.span;
    for (const [at, index] of indices.entries()) {
      for (const name of program.inputs) {
        buffers[`in_${name}_${at}`] = (inputs[`${index}:${name}`] as WebGpuTensor).span;
      }
      for (const name in program.outputs) {
        buffers[`out_${name}_${at}`] = (outputs[`${index}:${name}`] as WebGpuTensor).span;
      }
    }
    kernel.launch(stream, { uniforms: { first: [...firsts], count: counts }, buffers, workgroups });
  };
}

function looseKernel(program: ElementwiseProgram, storage: ElementwiseStorage, tensors: number): LooseKernel {
  const buffers: Record<string, Buffer<false, false>> = {};
  if (program.numbers > 0) buffers.in_numbers = read('f32');
  for (const at of range(tensors)) {
    for (const name of program.inputs) buffers[`in_${name}_${at}`] = read(inputElement(name, storage));
    for (const name in program.outputs) buffers[`out_${name}_${at}`] = write(outputElement(storage));
  }
  return defineKernel({
    key: `elementwise loose ${tensors} ${storageKey(storage)}${program.key}`,
    uniforms: { first: ['u32', tensors], count: ['u32', tensors] },
    buffers,
    workgroup: WORKGROUP,
    source: () => looseSource(program, storage, tensors),
  });
}

function looseSource(program: ElementwiseProgram, storage: ElementwiseStorage, tensors: number): string {
  const text = programText(program, (name) => `own_${name}`, storageHelpers(storage));
  const loads = program.inputs.map((name) => loadText(name, storage, tensors));
  const store = (name: string, at: string, value: string): string =>
    `switch which {
    ${times(tensors, (tensor) => `case ${tensor}u: { out_${name}_${tensor}[${at}] = ${value}; }`, '\n    ')}
    default: {}
  }`;
  return `${text.functions}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let group = workgroup.x + workgroup.y * groups.x;
  ${whichTensor('group', tensors, ['count'])}
  let unit = (group - first) * INVOCATIONS + local;
  ${runText([...loads, ...text.lines], text.outputs, storage, store)}
}`;
}
