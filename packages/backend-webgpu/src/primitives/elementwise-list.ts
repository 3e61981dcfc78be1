import { type Shape, sizeOf } from '@topk-attention/core';
import type {
  ElementwiseInputs,
  ElementwiseListRequest,
  ElementwiseOutputs,
  ElementwiseProgram,
  ElementwiseStorage,
  FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import { type Buffer, type DefinedKernel, defineKernel, read, write } from '../wgsl/define-kernel.js';
import { range } from '../wgsl/text.js';
import { WINDOW_STEP } from '../windows.js';
import { looseGroups, looseLauncher } from './elementwise-loose.js';
import {
  ALL_SINGLE,
  inputElement,
  loadText,
  programLauncher,
  programRefusals,
  storageHelpers,
  storageKey,
  WORKGROUP,
} from './elementwise-program.js';
import { programText } from './elementwise-program-text.js';
import { launchesOf, whichTensor, workgroupsOf } from './several-tensors.js';

/** Larger tensors take a launch of their own, which is then no longer a small part of the work: a choice. */
const MOST_ELEMENTS = 2 ** 18;
/** Most tensors of a launch: their places must fit among its uniforms. */
const MOST_TENSORS = 16;

interface Allocation {
  allocate(shape: Shape, dtype: 'f32' | 'f16'): WebGpuTensor;
  allocateWindows(shapes: readonly Shape[]): readonly WebGpuTensor[];
}

/**
 * One program for several tensors. What small tensors are replaced by lies in one buffer for each group of them, and where
 * the next call finds a group's tensors there, it binds that buffer once and takes the whole group in one launch.
 * Otherwise, as after loading, each tensor takes its own, with the same bits. Tensors that replace none, as in a cast, share a
 * launch that binds each of them.
 */
export function elementwiseLists(
  stream: Stream,
  facts: DeviceFacts,
  allocation: Allocation,
): FusedOperation<ElementwiseListRequest, ElementwiseInputs<WebGpuTensor>, ElementwiseOutputs<WebGpuTensor>> {
  const launch = programLauncher(stream);
  const launchLoose = looseLauncher(stream);
  const kernels = new Map<string, GroupKernel>();
  const launchGroup = (program: ElementwiseProgram, storage: ElementwiseStorage, call: GroupCall): void => {
    const { shapes } = call;
    const key = `${shapes.length} ${storageKey(storage)}${program.key}`;
    const kernel = kernels.get(key) ?? groupKernel(program, storage, shapes.length);
    kernels.set(key, kernel);
    recordGroup(stream, kernel, program, call);
  };
  return {
    prepare({ program, shapes, storage = ALL_SINGLE }) {
      const refusals = new Set(shapes.flatMap((shape) => programRefusals(program, shape, facts)));
      if (refusals.size > 0) return { refusals: [...refusals] };
      const groups = groupsOf(program, storage, shapes, facts);
      const loose = doesReplace(program) ? [] : looseGroups(program, shapes.length, facts);
      const inGroups = new Set([...groups, ...loose].flat());
      const slots = Object.keys(program.outputs);
      return {
        scratchBytes: () => 0,
        describe: () => ({
          variant: `${shapes.length} tensors, ${inGroups.size} of them in ${groups.length + loose.length} groups`,
        }),
        run(inputs) {
          const outputs: Record<string, WebGpuTensor> = {};
          const alone = (index: number): void => {
            const given = program.inputs.map(
              (name) => [name, (inputs[`${index}:${name}`] as WebGpuTensor).span] as const,
            );
            const numbers = inputs.numbers === undefined ? [] : [['numbers', inputs.numbers.span] as const];
            const made = slots.map(
              (slot) => [slot, (outputs[`${index}:${slot}`] as WebGpuTensor).span] as const,
            );
            launch(program, storage, [...given, ...numbers], made, sizeOf(shapes[index] as Shape));
          };
          for (const group of groups) {
            const own = group.map((index) => shapes[index] as Shape);
            const windows = allocation.allocateWindows(own.flatMap((shape) => slots.map(() => shape)));
            const roles = group.flatMap((index) => slots.map((slot) => `${index}:${slot}`));
            for (const [at, role] of roles.entries()) outputs[role] = windows[at] as WebGpuTensor;
            const before = sharedSpan(
              roles.map((role) => inputs[role] as WebGpuTensor),
              windows,
            );
            if (before === undefined) {
              for (const index of group) alone(index);
              continue;
            }
            const after = (windows[0] as WebGpuTensor).storage.span;
            const bases = group.map((_, at) => {
              const { span } = windows[at * slots.length] as WebGpuTensor;
              return (span.offset - after.offset) / 4;
            });
            launchGroup(program, storage, { shapes: own, indices: group, bases, before, after, inputs });
          }
          const allocateFor = (index: number): void => {
            const shape = shapes[index] as Shape;
            for (const slot of slots)
              outputs[`${index}:${slot}`] = allocation.allocate(shape, storage.outputs);
          };
          for (const group of loose) {
            for (const index of group) allocateFor(index);
            launchLoose(program, storage, { shapes, indices: group, inputs, outputs });
          }
          for (const index of shapes.keys()) {
            if (inGroups.has(index)) continue;
            allocateFor(index);
            alone(index);
          }
          return outputs;
        },
      };
    },
  };
}

/** The inputs that no output replaces: each tensor of a group binds its own. */
function varyingOf({ inputs, outputs }: ElementwiseProgram): readonly string[] {
  return inputs.filter((name) => !(name in outputs));
}

/** Whether every output takes the place of an input. */
function doesReplace({ inputs, outputs }: ElementwiseProgram): boolean {
  return Object.keys(outputs).every((name) => inputs.includes(name));
}

/** Indices of small tensors, as many together as the device binds. */
function groupsOf(
  program: ElementwiseProgram,
  { halfInputs, outputs }: ElementwiseStorage,
  shapes: readonly Shape[],
  facts: DeviceFacts,
): readonly (readonly number[])[] {
  const isSingle = outputs === 'f32' && !halfInputs.some((name) => name in program.outputs);
  const bound = 2 + (program.numbers > 0 ? 1 : 0);
  const each = Math.max(1, varyingOf(program).length);
  const most = Math.min(MOST_TENSORS, Math.floor((facts.storageBuffers - bound) / each));
  if (!doesReplace(program) || !isSingle || most < 2) return [];
  const small = range(shapes.length).filter((index) => sizeOf(shapes[index] as Shape) <= MOST_ELEMENTS);
  return launchesOf(small, most).filter((group) => group.length > 1);
}

/** The storage that tensors share, if it holds them in the places of `windows`. */
function sharedSpan(tensors: readonly WebGpuTensor[], windows: readonly WebGpuTensor[]): Span | undefined {
  const { storage } = tensors[0] as WebGpuTensor;
  const after = (windows[0] as WebGpuTensor).storage;
  if (storage.span.size !== after.span.size) return undefined;
  const isThere = tensors.every((one, at) => {
    const place = (windows[at] as WebGpuTensor).span.offset - after.span.offset;
    return one.storage === storage && one.span.offset - storage.span.offset === place;
  });
  return isThere ? storage.span : undefined;
}

type GroupKernel = DefinedKernel<
  {
    readonly first: readonly ['u32', number];
    readonly count: readonly ['u32', number];
    readonly base: readonly ['u32', number];
  },
  Readonly<Record<string, Buffer<false, false>>>
>;

interface GroupCall {
  readonly shapes: readonly Shape[];
  readonly indices: readonly number[];
  /** Where the first output of each tensor lies, in words. */
  readonly bases: readonly number[];
  readonly before: Span;
  readonly after: Span;
  readonly inputs: ElementwiseInputs<WebGpuTensor>;
}

function recordGroup(
  stream: Stream,
  kernel: GroupKernel,
  program: ElementwiseProgram,
  { shapes, indices, bases, before, after, inputs }: GroupCall,
): void {
  const counts = shapes.map((shape) => sizeOf(shape));
  const { firsts, workgroups } = workgroupsOf(counts.map((count) => Math.ceil(count / WORKGROUP)));
  const buffers: Record<string, Span> = { before, after };
  if (inputs.numbers !== undefined) buffers.in_numbers = inputs.numbers.span;
  for (const name of varyingOf(program)) {
    for (const [at, index] of indices.entries()) {
      buffers[`in_${name}_${at}`] = (inputs[`${index}:${name}`] as WebGpuTensor).span;
    }
  }
  kernel.launch(stream, {
    uniforms: { first: [...firsts], count: counts, base: [...bases] },
    buffers,
    workgroups,
  });
}

function groupKernel(program: ElementwiseProgram, storage: ElementwiseStorage, tensors: number): GroupKernel {
  const buffers: Record<string, Buffer<false, false>> = { before: read('f32'), after: write('f32') };
  if (program.numbers > 0) buffers.in_numbers = read('f32');
  for (const name of varyingOf(program)) {
    for (const at of range(tensors)) buffers[`in_${name}_${at}`] = read(inputElement(name, storage));
  }
  return defineKernel({
    key: `elementwise list ${tensors} ${storageKey(storage)}${program.key}`,
    uniforms: { first: ['u32', tensors], count: ['u32', tensors], base: ['u32', tensors] },
    buffers,
    workgroup: WORKGROUP,
    source: () => groupSource(program, storage, tensors),
  });
}

function groupSource(program: ElementwiseProgram, storage: ElementwiseStorage, tensors: number): string {
  const slots = Object.keys(program.outputs);
  const varying = varyingOf(program);
  const text = programText(
    program,
    (name) =>
      varying.includes(name) ? `own_${name}` : `before[base + ${slots.indexOf(name)}u * stride + at]`,
    storageHelpers(storage),
  );
  const stores = text.outputs.map(
    ([name, value]) => `after[base + ${slots.indexOf(name)}u * stride + at] = ${value};`,
  );
  const loads = varying.map((name) => loadText(name, storage, tensors));
  return `${text.functions}
@compute @workgroup_size(INVOCATIONS)
fn main(
  @builtin(workgroup_id) workgroup: vec3u,
  @builtin(num_workgroups) groups: vec3u,
  @builtin(local_invocation_index) local: u32,
) {
  let group = workgroup.x + workgroup.y * groups.x;
  ${whichTensor('group', tensors, ['count', 'base'])}
  let at = (group - first) * INVOCATIONS + local;
  if (at >= count) { return; }
  // As windowsOf places them.
  let stride = (count + ${WINDOW_STEP - 1}u) / ${WINDOW_STEP}u * ${WINDOW_STEP}u;
  ${[...loads, ...text.lines, ...stores].join('\n  ')}
}`;
}
