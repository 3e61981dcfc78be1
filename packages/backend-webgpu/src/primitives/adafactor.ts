import { type Shape, sizeOf } from '@topk-attention/core';
import type {
  AdafactorInputs,
  AdafactorOutputs,
  AdafactorRequest,
  FusedOperation,
} from '@topk-attention/core/backend';
import type { DeviceFacts } from '../runtime/facts.js';
import type { Span } from '../runtime/kernel.js';
import { UNIFORM_BYTES } from '../runtime/pipelines.js';
import type { Stream } from '../runtime/stream.js';
import type { WebGpuTensor } from '../tensor.js';
import {
  averagesKernel,
  averagesWorkgroups,
  meansKernel,
  squaresKernel,
  squaresWorkgroups,
} from './adafactor-averages.js';
import { type Book, booksOf, bookWords, type Member } from './adafactor-books.js';
import {
  factorsKernel,
  MOST_PARTS,
  normsKernel,
  normsWorkgroups,
  updateKernel,
  updateWorkgroups,
} from './adafactor-update.js';
import { launchesOf, workgroupsOf } from './several-tensors.js';

interface Allocation {
  allocateWindows(shapes: readonly Shape[]): readonly WebGpuTensor[];
}

/**
 * Adafactor's update: sums of squares by row and column, averages, norms of the updates, the updates. Each kernel takes as
 * many parameters as the device binds, and writes to windows of one buffer.
 */
export function adafactorUpdates(
  stream: Stream,
  facts: DeviceFacts,
  { allocateWindows }: Allocation,
): FusedOperation<AdafactorRequest, AdafactorInputs<WebGpuTensor>, AdafactorOutputs<WebGpuTensor>> {
  return {
    prepare(request) {
      const refusals = refusalsOf(request, facts);
      if (refusals.length > 0) return { refusals };
      const books = booksOf(request, facts);
      return {
        scratchBytes: () =>
          Math.max(...books.map(({ members, sums }) => 4 * (sums + factorWords(members.length)))),
        describe: () => ({ variant: `${request.shapes.length} parameters in ${books.length} buffers` }),
        run(inputs) {
          const outputs: Record<string, WebGpuTensor> = {};
          for (const book of books) {
            const windows = allocateWindows(book.shapes);
            for (const [at, role] of book.roles.entries()) outputs[role] = windows[at] as WebGpuTensor;
            const after = (windows[0] as WebGpuTensor).storage.span;
            recordBook(stream, facts, request, { book, after, inputs });
          }
          return outputs;
        },
      };
    },
  };
}

function refusalsOf(request: AdafactorRequest, { bindingBytes }: DeviceFacts): readonly string[] {
  const { shapes } = request;
  const refusals: string[] = [];
  if (shapes.some((shape) => shape.length > 2)) refusals.push('matrices side by side');
  if (shapes.some((shape) => sizeOf(shape) === 0)) refusals.push('an empty parameter');
  if (shapes.some((shape) => 4 * bookWords(shape, request) > bindingBytes)) {
    refusals.push(`a parameter and its averages exceed a binding of ${bindingBytes} bytes`);
  }
  return refusals;
}

/** Words for the parts of the norms, sizes, means and factors of parameters. */
const factorWords = (members: number): number => members * (2 * MOST_PARTS + 1 + 1 + 2);

interface Call {
  readonly book: Book;
  readonly after: Span;
  readonly inputs: AdafactorInputs<WebGpuTensor>;
}

function recordBook(stream: Stream, facts: DeviceFacts, request: AdafactorRequest, call: Call): void {
  const { book, after, inputs } = call;
  const { members } = book;
  const spanOf = (role: string): Span => (inputs[role] as WebGpuTensor).span;
  const numbers = spanOf('numbers');
  const isScaled = inputs.scale !== undefined;
  const scale = isScaled ? { scale: spanOf('scale') } : {};
  const { beta1, weightDecay, scaleParameter: withParameter } = request;
  const hasAverage = beta1 !== undefined;
  const sums = stream.scratch(4 * book.sums);
  const means = stream.scratch(4 * members.length);
  const sizes = stream.scratch(4 * members.length);
  const partSums = stream.scratch(8 * MOST_PARTS * members.length);
  const factors = stream.scratch(8 * members.length);

  /** A launch for as many members as fit: `bound` buffers besides `slots` of each, `words` uniforms besides those of each. */
  const forGroups = (
    need: {
      readonly bound: number;
      readonly slots: readonly string[];
      readonly words: number;
      readonly each: number;
    },
    workgroups: (member: Member) => number,
    record: (group: Group) => void,
  ): void => {
    const free = facts.storageBuffers - need.bound;
    const buffers = need.slots.length === 0 ? members.length : Math.floor(free / need.slots.length);
    const most = Math.max(1, Math.min(buffers, Math.floor((UNIFORM_BYTES / 4 - need.words) / need.each)));
    for (const [launch, own] of launchesOf(members, most).entries()) {
      const counted = workgroupsOf(own.map(workgroups));
      const row = (of: (member: Member) => number): readonly number[] => own.map(of);
      record({
        tensors: own.length,
        workgroups: counted.workgroups,
        uniforms: {
          first: counted.firsts,
          rows: row(({ rows }) => rows),
          width: row(({ width }) => width),
          base: row(({ base }) => base),
          place: row(({ place }) => place),
          row_place: row(({ rowPlace }) => rowPlace),
          column_place: row(({ columnPlace }) => columnPlace),
          average_place: hasAverage ? row(({ averagePlace }) => averagePlace) : [],
          first_tensor: launch * most,
        },
        spans: (name, slot) =>
          Object.fromEntries(own.map((member, at) => [`${name}_${at}`, spanOf(slot(member))])),
      });
    }
  };
  const gradients = ({ index }: Member): string => `${index}:gradient`;
  const parameters = ({ index }: Member): string => `${index}:parameter`;
  const elements = ({ rows, width }: Member): number => rows * Math.max(1, width);
  const scaled = isScaled ? 1 : 0;

  forGroups(
    { bound: 1 + scaled, slots: ['gradient'], words: 1, each: 4 },
    ({ rows, width }) => squaresWorkgroups(rows, width),
    ({ tensors, workgroups, uniforms, spans }) =>
      squaresKernel({ tensors, isScaled }).launch(stream, {
        uniforms: { ...uniforms, epsilon: request.epsilons[0] },
        buffers: { sums, ...scale, ...spans('raw_gradient', gradients) },
        workgroups,
      }),
  );
  forGroups(
    { bound: 3, slots: ['rows', 'columns'], words: 0, each: 6 },
    ({ rows, width }) => averagesWorkgroups(rows, width),
    ({ tensors, workgroups, uniforms, spans }) =>
      averagesKernel(tensors).launch(stream, {
        uniforms,
        buffers: {
          ...{ sums, numbers, after },
          ...spans('old_rows', ({ index, width }) => `${index}:exp_avg_sq${width === 0 ? '' : '_row'}`),
          // A vector has none, and its kernel reads none: any buffer will do.
          ...spans('old_columns', ({ index, width }) => `${index}:exp_avg_sq${width === 0 ? '' : '_col'}`),
        },
        workgroups,
      }),
  );
  forGroups(
    { bound: 2, slots: [], words: 1, each: 3 },
    () => 1,
    ({ tensors, workgroups, uniforms }) =>
      meansKernel(tensors).launch(stream, { uniforms, buffers: { after, means }, workgroups }),
  );
  forGroups(
    { bound: 4 + scaled, slots: ['gradient', ...(withParameter ? ['parameter'] : [])], words: 1, each: 5 },
    (member) => normsWorkgroups(elements(member)),
    ({ tensors, workgroups, uniforms, spans }) =>
      normsKernel({ tensors, isScaled }, withParameter).launch(stream, {
        uniforms,
        buffers: {
          ...{ after, means, part_sums: partSums, sizes, ...scale },
          ...spans('raw_gradient', gradients),
          ...(withParameter && spans('parameter', parameters)),
        },
        workgroups,
      }),
  );
  factorsKernel(withParameter).launch(stream, {
    uniforms: { per_clip: 1 / request.clipThreshold, least: request.epsilons[1] },
    buffers: { part_sums: partSums, sizes, numbers, factors },
    workgroups: [members.length, 1, 1],
  });
  forGroups(
    {
      bound: 3 + scaled,
      slots: ['gradient', 'parameter', ...(hasAverage ? ['average'] : [])],
      words: 4,
      each: hasAverage ? 7 : 6,
    },
    (member) => updateWorkgroups(elements(member)),
    ({ tensors, workgroups, uniforms, spans }) =>
      updateKernel({ tensors, isScaled, hasAverage, hasDecay: weightDecay !== 0 }).launch(stream, {
        uniforms: { ...uniforms, beta: beta1 ?? 0, fresh: 1 - (beta1 ?? 0), decay: weightDecay },
        buffers: {
          ...{ means, factors, after, ...scale },
          ...spans('raw_gradient', gradients),
          ...spans('parameter', parameters),
          ...(hasAverage && spans('average', ({ index }) => `${index}:exp_avg`)),
        },
        workgroups,
      }),
  );
  for (const one of [sums, means, sizes, partSums, factors]) stream.release(one);
}

/** Members that share a launch, with the uniforms that any of the kernels has. */
interface Group {
  readonly tensors: number;
  readonly workgroups: number;
  readonly uniforms: Readonly<
    Record<
      'first' | 'rows' | 'width' | 'base' | 'place' | 'row_place' | 'column_place' | 'average_place',
      readonly number[]
    >
  > & { readonly first_tensor: number };
  /** Buffers `NAME_0`, `NAME_1`, ... of the members. */
  spans(name: string, slot: (member: Member) => string): Readonly<Record<string, Span>>;
}
