import { type Shape, sizeOf } from '@topk-attention/core';
import type {
  ElementwiseInputs,
  ElementwiseOutputs,
  ElementwiseProgram,
  ElementwiseRequest,
  FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { type Buffer, type DefinedKernel, defineKernel, read, write } from '../wgsl/define-kernel.js';
import { programText } from './elementwise-program-text.js';

/** Invocations of a workgroup, each with an element. */
export const WORKGROUP = 64;

type ProgramKernel = DefinedKernel<{ readonly count: 'u32' }, Readonly<Record<string, Buffer<false, false>>>>;

/** Elementwise programs of f32 tensors: one kernel per program, one pass over memory. */
export function elementwisePrograms(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: 'f32') => WebGpuTensor,
): FusedOperation<ElementwiseRequest, ElementwiseInputs<WebGpuTensor>, ElementwiseOutputs<WebGpuTensor>> {
  const launch = programLauncher(stream);
  return {
    prepare({ program, shape }) {
      const refusals = programRefusals(program, shape, facts);
      if (refusals.length > 0) return { refusals };
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: 'one pass' }),
        run(inputs) {
          const outputs = Object.keys(program.outputs).map((name) => [name, allocate(shape, 'f32')] as const);
          const spans = Object.entries(inputs).map(([name, { span }]) => [name, span] as const);
          const results = outputs.map(([name, { span }]) => [name, span] as const);
          launch(program, spans, results, sizeOf(shape));
          return Object.fromEntries(outputs);
        },
      };
    },
  };
}

type NamedSpans = readonly (readonly [name: string, span: Span])[];

/** Launches programs of tensors: spans by the names of inputs (`numbers` too) and outputs. */
export function programLauncher(
  stream: Stream,
): (program: ElementwiseProgram, inputs: NamedSpans, outputs: NamedSpans, count: number) => void {
  const kernels = new Map<string, ProgramKernel>();
  return (program, inputs, outputs, count) => {
    const kernel = kernels.get(program.key) ?? programKernel(program);
    kernels.set(program.key, kernel);
    const buffers: Record<string, Span> = {};
    for (const [name, span] of inputs) buffers[`in_${name}`] = span;
    for (const [name, span] of outputs) buffers[`out_${name}`] = span;
    kernel.launch(stream, { uniforms: { count }, buffers, workgroups: { invocations: count } });
  };
}

/** Why no kernel of a tensor's own can run a program. */
export function programRefusals(
  program: ElementwiseProgram,
  shape: Shape,
  facts: DeviceFacts,
): readonly string[] {
  const refusals: string[] = [];
  const buffers = program.inputs.length + Object.keys(program.outputs).length + (program.numbers > 0 ? 1 : 0);
  if (buffers > facts.storageBuffers) {
    refusals.push(`${buffers} tensors: the device binds ${facts.storageBuffers}`);
  }
  if (4 * sizeOf(shape) > facts.bindingBytes) {
    refusals.push(`a tensor exceeds a binding of ${facts.bindingBytes} bytes`);
  }
  return refusals;
}

function programKernel(program: ElementwiseProgram): ProgramKernel {
  const buffers: Record<string, Buffer<false, false>> = {};
  for (const name of program.inputs) buffers[`in_${name}`] = read('f32');
  if (program.numbers > 0) buffers.in_numbers = read('f32');
  for (const name in program.outputs) buffers[`out_${name}`] = write('f32');
  return defineKernel({
    key: `elementwise ${program.key}`,
    uniforms: { count: 'u32' },
    buffers,
    workgroup: WORKGROUP,
    source: () => sourceOf(program),
  });
}

function sourceOf(program: ElementwiseProgram): string {
  const { functions, lines, outputs } = programText(program, (name) => `in_${name}[at]`);
  const stores = outputs.map(([name, value]) => `out_${name}[at] = ${value};`);
  return `${functions}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let at = (workgroup.x + workgroup.y * groups.x) * INVOCATIONS + local;
  if (at >= params.count) { return; }
  ${[...lines, ...stores].join('\n  ')}
}`;
}
