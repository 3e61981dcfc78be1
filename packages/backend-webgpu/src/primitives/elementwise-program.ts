import { type Shape, sizeOf } from '@topk-attention/core';
import type {
  ElementwiseInputs,
  ElementwiseOutputs,
  ElementwiseProgram,
  ElementwiseRequest,
  ElementwiseStorage,
  FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { type Buffer, type DefinedKernel, defineKernel, read, write } from '../wgsl/define-kernel.js';
import { ELEMENTS, range, times } from '../wgsl/text.js';
import { halfAt, type ProgramText, programText } from './elementwise-program-text.js';
import type { Helper } from './elementwise-wgsl.js';

/** Invocations of a workgroup. */
export const WORKGROUP = 64;

type ProgramKernel = DefinedKernel<
  { readonly count: 'u32'; readonly width: 'u32' },
  Readonly<Record<string, Buffer<false, false>>>
>;

/** Elementwise programs: one kernel per program, one pass over memory. */
export function elementwisePrograms(
  stream: Stream,
  facts: DeviceFacts,
  allocate: (shape: Shape, dtype: 'f32' | 'f16') => WebGpuTensor,
): FusedOperation<ElementwiseRequest, ElementwiseInputs<WebGpuTensor>, ElementwiseOutputs<WebGpuTensor>> {
  const launch = programLauncher(stream);
  return {
    prepare({ program, shape, storage = ALL_SINGLE, rowInputs = [] }) {
      const refusals = programRefusals(program, shape, facts);
      if (refusals.length > 0) return { refusals };
      return {
        scratchBytes: () => 0,
        describe: () => ({ variant: 'one pass' }),
        run(inputs) {
          const outputs = Object.keys(program.outputs).map(
            (name) => [name, allocate(shape, storage.outputs)] as const,
          );
          const spans = Object.entries(inputs).map(([name, { span }]) => [name, span] as const);
          const results = outputs.map(([name, { span }]) => [name, span] as const);
          const rows = { inputs: rowInputs, width: shape.at(-1) ?? 1 };
          launch(program, storage, spans, results, sizeOf(shape), rows);
          return Object.fromEntries(outputs);
        },
      };
    },
  };
}

export const ALL_SINGLE: ElementwiseStorage = { halfInputs: [], outputs: 'f32' };

/** Inputs with an element for each row of that many of the others. */
interface Rows {
  readonly inputs: readonly string[];
  readonly width: number;
}

const NO_ROWS: Rows = { inputs: [], width: 1 };

/** For keys of kernels. */
export function storageKey({ halfInputs, outputs }: ElementwiseStorage): string {
  return `${halfInputs.length > 0 ? `halves ${halfInputs.join()} ` : ''}${outputs === 'f16' ? 'to f16 ' : ''}`;
}

type NamedSpans = readonly (readonly [name: string, span: Span])[];

/** Launches programs of tensors: spans by the names of inputs (`numbers` too) and outputs. */
export function programLauncher(
  stream: Stream,
): (
  program: ElementwiseProgram,
  storage: ElementwiseStorage,
  inputs: NamedSpans,
  outputs: NamedSpans,
  count: number,
  rows?: Rows,
) => void {
  const kernels = new Map<string, ProgramKernel>();
  return (program, storage, inputs, outputs, count, rows = NO_ROWS) => {
    const key = programKernelKey(program, storage, rows);
    const kernel = kernels.get(key) ?? programKernel(program, storage, rows);
    kernels.set(key, kernel);
    const buffers: Record<string, Span> = {};
    for (const [name, span] of inputs) buffers[`in_${name}`] = span;
    for (const [name, span] of outputs) buffers[`out_${name}`] = span;
    kernel.launch(stream, {
      uniforms: { count, width: rows.width },
      buffers,
      workgroups: {
        invocations: storage.outputs === 'f32' ? Math.ceil(count / ELEMENTS) : unitsOf(count, storage),
      },
    });
  };
}

/** Invocations for that many elements: of halves, each writes the two of a word. */
export function unitsOf(count: number, { outputs }: ElementwiseStorage): number {
  return outputs === 'f16' ? Math.ceil(count / 2) : count;
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

/** Element type of the array of an input. */
export function inputElement(name: string, { halfInputs }: ElementwiseStorage): string {
  return halfInputs.includes(name) ? 'u32' : 'f32';
}

export function outputElement({ outputs }: ElementwiseStorage): string {
  return outputs === 'f16' ? 'u32' : 'f32';
}

/** WGSL of an element of an input that is bound as `array`. */
function elementText(name: string, { halfInputs }: ElementwiseStorage, array: string, at = 'at'): string {
  return halfInputs.includes(name) ? halfAt(array, at) : `${array}[${at}]`;
}

/** WGSL that reads `own_NAME`: the element `at` of the tensor `which` of several, bound as `in_NAME_0`, `in_NAME_1`, ... */
export function loadText(name: string, storage: ElementwiseStorage, tensors: number): string {
  return `var own_${name} = 0.0;
  switch which {
    ${times(tensors, (at) => `case ${at}u: { own_${name} = ${elementText(name, storage, `in_${name}_${at}`)}; }`, '\n    ')}
    default: {}
  }`;
}

/** Functions that reading and writing halves need. */
export function storageHelpers({ halfInputs, outputs }: ElementwiseStorage): readonly Helper[] {
  return [
    ...(halfInputs.length > 0 ? (['halfToBits'] as const) : []),
    ...(outputs === 'f16' ? (['halfOf'] as const) : []),
  ];
}

/**
 * WGSL that runs lines for the elements of an invocation, the `unit`, of `count`, and stores `outputs`, named with their
 * variables, in `out_NAME`.
 */
export function runText(
  lines: readonly string[],
  outputs: readonly (readonly [name: string, variable: string])[],
  storage: ElementwiseStorage,
  store: (name: string, at: string, value: string) => string,
): string {
  if (storage.outputs === 'f32') {
    const stores = outputs.map(([name, value]) => store(name, 'at', value));
    return `let at = unit;
  if (at >= count) { return; }
  ${[...lines, ...stores].join('\n  ')}`;
  }
  const words = outputs.map(([name]) => `var word_${name} = 0u;`);
  const joins = outputs.map(([name, value]) => `word_${name} |= half_of(${value}) << (16u * half);`);
  const stores = outputs.map(([name]) => store(name, 'unit', `word_${name}`));
  return `if (2u * unit >= count) { return; }
  ${words.join('\n  ')}
  for (var half = 0u; half < 2u; half++) {
    let at = 2u * unit + half;
    if (at >= count) { break; }
    ${[...lines, ...joins].join('\n    ')}
  }
  ${stores.join('\n  ')}`;
}

function programKernelKey(program: ElementwiseProgram, storage: ElementwiseStorage, rows: Rows): string {
  const ofRows = rows.inputs.length > 0 ? `rows ${rows.inputs.join()} ` : '';
  return `elementwise ${ofRows}${storageKey(storage)}${program.key}`;
}

function programKernel(program: ElementwiseProgram, storage: ElementwiseStorage, rows: Rows): ProgramKernel {
  const buffers: Record<string, Buffer<false, false>> = {};
  for (const name of program.inputs) buffers[`in_${name}`] = read(inputElement(name, storage));
  if (program.numbers > 0) buffers.in_numbers = read('f32');
  for (const name in program.outputs) buffers[`out_${name}`] = write(outputElement(storage));
  return defineKernel({
    key: programKernelKey(program, storage, rows),
    uniforms: { count: 'u32', width: 'u32' },
    buffers,
    workgroup: WORKGROUP,
    source: () => sourceOf(program, storage, rows),
  });
}

function sourceOf(program: ElementwiseProgram, storage: ElementwiseStorage, rows: Rows): string {
  const isSingle = storage.outputs === 'f32';
  const read = (name: string): string =>
    elementText(name, storage, `in_${name}`, rows.inputs.includes(name) ? '(at / params.width)' : 'at');
  const load = (name: string): string => (isSingle ? `own_${name}` : read(name));
  const text = programText(program, load, storageHelpers(storage));
  return `${text.functions}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let group = workgroup.x + workgroup.y * groups.x;
  let count = params.count;
  ${
    isSingle
      ? severalText(program, read, text)
      : `let unit = group * INVOCATIONS + local;
  ${runText(text.lines, text.outputs, storage, (name, at, value) => `out_${name}[${at}] = ${value};`)}`
  }
}`;
}

/** The elements of an invocation of a program that stores f32: all are read before the first is stored. */
function severalText(
  { inputs }: ElementwiseProgram,
  read: (name: string) => string,
  { lines, outputs }: ProgramText,
): string {
  // The index in front: inputs may be named x and x_0.
  const reads = (index: number): string[] => [
    ...inputs.map((name) => `var own${index}_${name} = 0.0;`),
    `{ let at = min(first + ${WORKGROUP * index}u, count - 1u);`,
    ...inputs.map((name) => `  own${index}_${name} = ${read(name)};`),
    '}',
  ];
  const computes = (index: number): string[] => [
    `if (first + ${WORKGROUP * index}u < count) {`,
    `  let at = first + ${WORKGROUP * index}u;`,
    ...inputs.map((name) => `  let own_${name} = own${index}_${name};`),
    ...lines.map((line) => `  ${line}`),
    ...outputs.map(([name, value]) => `  out_${name}[at] = ${value};`),
    '}',
  ];
  const places = range(ELEMENTS);
  return [
    `let first = group * ${ELEMENTS * WORKGROUP}u + local;`,
    'if (first >= count) { return; }',
    ...places.flatMap(reads),
    ...places.flatMap(computes),
  ].join('\n  ');
}
