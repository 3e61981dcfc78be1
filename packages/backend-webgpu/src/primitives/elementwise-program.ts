import { type Shape, sizeOf } from '@topk-attention/core';
import type {
  ElementwiseInputs,
  ElementwiseOutputs,
  ElementwiseProgram,
  ElementwiseRequest,
  Expression,
  FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { type Buffer, type DefinedKernel, defineKernel, read, write } from '../wgsl/define-kernel.js';
import { binaryExpression, unaryFunction } from './elementwise.js';
import { type Helper, helperText } from './elementwise-wgsl.js';

const WORKGROUP = 64;

type ProgramKernel = DefinedKernel<{ readonly count: 'u32' }, Readonly<Record<string, Buffer<false, false>>>>;

/** Elementwise programs of f32 tensors: one kernel per program, one pass over memory. */
export function elementwisePrograms(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: 'f32') => WebGpuTensor,
): FusedOperation<ElementwiseRequest, ElementwiseInputs<WebGpuTensor>, ElementwiseOutputs<WebGpuTensor>> {
  const kernels = new Map<string, ProgramKernel>();
  const kernelOf = (program: ElementwiseProgram): ProgramKernel => {
    const known = kernels.get(program.key) ?? programKernel(program);
    kernels.set(program.key, known);
    return known;
  };
  return {
    prepare({ program, shape }) {
      const refusals = refusalsOf(program, shape, facts);
      if (refusals.length > 0) return { refusals };
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: 'one pass' }),
        run(inputs) {
          const outputs = Object.keys(program.outputs).map((name) => [name, allocate(shape, 'f32')] as const);
          const spans = Object.fromEntries([
            ...Object.entries(inputs).map(([name, { span }]) => [`in_${name}`, span] as const),
            ...outputs.map(([name, { span }]) => [`out_${name}`, span] as const),
          ]);
          const count = sizeOf(shape);
          kernelOf(program).launch(stream, {
            uniforms: { count },
            buffers: spans,
            workgroups: { invocations: count },
          });
          return Object.fromEntries(outputs);
        },
      };
    },
  };
}

function refusalsOf(program: ElementwiseProgram, shape: Shape, facts: DeviceFacts): readonly string[] {
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

/** As f32 before it is printed: the nearest number of WGSL, never an integer too large for one. */
function literalOf(value: number): string {
  const rounded = Math.fround(value);
  const text = Object.is(rounded, -0) ? '-0' : String(rounded);
  return `f32(${/[.e]/.test(text) ? text : `${text}.0`})`;
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

/** Each expression once, in the order in which they are needed. */
function sourceOf({ outputs }: ElementwiseProgram): string {
  const names = new Map<Expression, string>();
  const lines: string[] = [];
  const functions = new Map<string, string>();
  const helpers: Helper[] = [];
  const nameOf = (one: Expression): string => {
    const known = names.get(one);
    if (known !== undefined) return known;
    const text = textOf(one);
    const name = `e${lines.length}`;
    lines.push(`let ${name} = ${text};`);
    names.set(one, name);
    return name;
  };
  const textOf = (one: Expression): string => {
    switch (one.kind) {
      case 'input':
        return `in_${one.name}[at]`;
      case 'number':
        return `in_numbers[${one.index}u]`;
      case 'constant':
        return literalOf(one.value);
      case 'unary': {
        const { text, helpers: own } = unaryFunction(one.op);
        functions.set(one.op, text);
        helpers.push(...own);
        return `bitcast<f32>(${one.op}_bits(bitcast<u32>(${nameOf(one.x)})))`;
      }
      case 'binary':
        return binaryExpression(one.op, nameOf(one.a), nameOf(one.b));
      default:
        return one satisfies never;
    }
  };
  const stores = Object.entries(outputs).map(([name, one]) => `out_${name}[at] = ${nameOf(one)};`);
  return `${helperText(helpers)}
${[...functions.values()].join('\n')}
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
