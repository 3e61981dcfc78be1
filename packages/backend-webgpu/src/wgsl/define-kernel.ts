import { TopKError } from '@topk-attention/core';
import type { Binding } from '../runtime/binding.js';
import {
  type Access,
  f32Bits,
  gridOf,
  type Kernel,
  type Launch,
  type Span,
  uniformWords,
} from '../runtime/kernel.js';
import type { Stream } from '../runtime/stream.js';
import { range } from './text.js';

type Scalar = 'u32' | 'i32' | 'f32';

/** Words of a vector; also its alignment in words. */
const vectorWords = { vec2u: 2, vec4u: 4 } as const;

type Vector = keyof typeof vectorWords;

/** Type of a uniform: a scalar or vector, `params.NAME`, or a row of scalars, `params.NAME_0`, `params.NAME_1`, ... */
type Uniform = Scalar | Vector | readonly [Scalar, number];

/** A storage buffer, as `read`, `readFrom`, `write`, `writeTo` and `optional` declare it. */
export interface Buffer<HasBase extends boolean = boolean, IsOptional extends boolean = boolean> {
  readonly access: Access;
  /** WGSL type of an element. */
  readonly element: string;
  readonly hasBase: HasBase;
  readonly isOptional: IsOptional;
  readonly isBound: boolean;
}

/** `NAME: array<element>`, which the shader reads; launched with a span. */
export function read(element: string): Buffer<false, false> {
  return { access: 'read', element, hasBase: false, isOptional: false, isBound: true };
}

/** `NAME: array<element>`, which the shader writes and may read; launched with a span. */
export function write(element: string): Buffer<false, false> {
  return { ...read(element), access: 'write' };
}

/** As `read`, of a binding whose data begin at element `params.NAME_base`. */
export function readFrom(element: string): Buffer<true, false> {
  return { ...read(element), hasBase: true };
}

/** As `write`, of a binding whose data begin at element `params.NAME_base`. */
export function writeTo(element: string): Buffer<true, false> {
  return { ...read(element), access: 'write', hasBase: true };
}

/** A buffer that only some variants of a kernel have; without it there is no `NAME` and no `params.NAME_base`. */
export function optional<HasBase extends boolean>(
  isBound: boolean,
  buffer: Buffer<HasBase, false>,
): Buffer<HasBase, true> {
  return { ...buffer, isOptional: true, isBound };
}

type Uniforms = Readonly<Record<string, Uniform>>;
type Buffers = Readonly<Record<string, Buffer>>;

interface KernelDeclaration<U extends Uniforms, B extends Buffers> {
  /** See `Kernel.key`. */
  readonly key: string;
  /** Fields of `params` by name. */
  readonly uniforms: U;
  /** Storage buffers by name. */
  readonly buffers: B;
  /** Invocations per workgroup: `INVOCATIONS`, or `INVOCATIONS_X` and `INVOCATIONS_Y`. */
  readonly workgroup: number | readonly [number, number];
  /** WGSL directives, without semicolons. */
  readonly directives?: readonly string[];
  /** The rest of the WGSL: functions and the entry point `main`. Called once per device and key. */
  readonly source: () => string;
}

/** The values that a launch gives its uniforms. */
export type UniformValues<U extends Uniforms> = {
  readonly [Name in keyof U]: U[Name] extends Scalar ? number : readonly number[];
};

type Bound<One extends Buffer> = One extends Buffer<true> ? Binding : Span;

type BoundBuffers<B extends Buffers> = {
  readonly [Name in keyof B as B[Name] extends Buffer<boolean, true> ? never : Name]: Bound<B[Name]>;
} & {
  readonly [Name in keyof B as B[Name] extends Buffer<boolean, true> ? Name : never]?:
    | Bound<B[Name]>
    | undefined;
};

/**
 * Workgroups of a launch: in x, y, z; a number, which the shader counts in x and y (`gridOf`); or enough for that many
 * invocations.
 */
type Workgroups = Launch['workgroups'] | number | { readonly invocations: number };

/** A kernel whose uniforms and buffers are given by name. */
export interface DefinedKernel<U extends Uniforms, B extends Buffers> extends Kernel {
  launch(
    stream: Stream,
    call: {
      readonly uniforms: UniformValues<U>;
      readonly buffers: BoundBuffers<B>;
      readonly workgroups: Workgroups;
    },
  ): void;
}

/**
 * A kernel from one declaration, which yields the struct and the variable `params`, the bindings, the access list and
 * the launch: names are written once and no list is filled by position. Buffers are bound in the declared order.
 */
export function defineKernel<const U extends Uniforms, const B extends Buffers>(
  declaration: KernelDeclaration<U, B>,
): DefinedKernel<U, B> {
  const { key, uniforms, workgroup } = declaration;
  const buffers: Buffers = declaration.buffers;
  // Plain loops here and below: many kernels are declared anew for every launch.
  const accesses: Access[] = [];
  for (const name in buffers) {
    const { access, isBound } = buffers[name] as Buffer;
    if (isBound) accesses.push(access);
  }
  return {
    key,
    buffers: accesses,
    source: () => sourceOf(declaration),
    launch(stream, call) {
      const given: Readonly<Record<string, Span | Binding | undefined>> = call.buffers;
      const spans: Span[] = [];
      const words = wordsOf(key, uniforms, call.uniforms);
      for (const name in buffers) {
        const { isBound, isOptional, hasBase } = buffers[name] as Buffer;
        const one = given[name];
        if (isOptional && isBound !== (one !== undefined)) throw mismatch(key, name, isBound);
        if (one === undefined) continue;
        spans.push('span' in one ? one.span : one);
        if (hasBase && 'span' in one) words.push(one.base);
      }
      stream.launch({
        kernel: this,
        buffers: spans,
        uniforms: uniformWords(words),
        workgroups: gridFor(call.workgroups, workgroup),
      });
    },
  };
}

/**
 * Kernels that differ by variant, each declared once, on first use. The key is the family's name with the variant,
 * whose fields are exactly what the text depends on.
 */
export function kernelFamily<Variant extends object, const U extends Uniforms, const B extends Buffers>(
  name: string,
  declare: (variant: Variant) => Omit<KernelDeclaration<U, B>, 'key'>,
): (variant: Variant) => DefinedKernel<U, B> {
  const declared = new Map<string, DefinedKernel<U, B>>();
  return (variant) => {
    const key = `${name} ${JSON.stringify(variant)}`;
    let kernel = declared.get(key);
    if (kernel === undefined) {
      kernel = defineKernel({ key, ...declare(variant) });
      declared.set(key, kernel);
    }
    return kernel;
  };
}

function sourceOf({
  uniforms,
  buffers,
  workgroup,
  directives = [],
  source,
}: KernelDeclaration<Uniforms, Buffers>): string {
  const bound = Object.entries(buffers).filter(([, { isBound }]) => isBound);
  const fields = Object.entries(uniforms).flatMap(([name, type]) =>
    typeof type === 'string'
      ? [`${name}: ${type}`]
      : range(type[1]).map((index) => `${name}_${index}: ${type[0]}`),
  );
  const bases = bound.flatMap(([name, { hasBase }]) => (hasBase ? [`${name}_base: u32`] : []));
  const params = [...fields, ...bases];
  const sizes =
    typeof workgroup === 'number'
      ? [`const INVOCATIONS = ${workgroup}u;`]
      : workgroup.map((size, axis) => `const INVOCATIONS_${'XY'[axis]} = ${size}u;`);
  return [
    ...directives.map((directive) => `${directive};`),
    ...(params.length > 0
      ? [`struct Params { ${params.join(', ')} }`, '@group(0) @binding(0) var<uniform> params: Params;']
      : []),
    ...bound.map(
      ([name, { access, element }], index) =>
        `@group(0) @binding(${index + 1}) var<storage, ${access === 'read' ? 'read' : 'read_write'}> ${name}: array<${element}>;`,
    ),
    ...sizes,
    source(),
  ].join('\n');
}

/** Words of the uniforms in the declared order. */
function wordsOf(
  key: string,
  uniforms: Uniforms,
  values: Readonly<Record<string, number | readonly number[]>>,
): number[] {
  const words: number[] = [];
  for (const name in uniforms) {
    const type = uniforms[name] as Uniforms[string];
    const given = values[name] as number | readonly number[];
    const isRow = typeof type !== 'string';
    const isFloat = (isRow ? type[0] : type) === 'f32';
    const isVector = !isRow && type in vectorWords;
    if (typeof given === 'number' && !isRow && !isVector) {
      words.push(isFloat ? f32Bits(given) : given);
      continue;
    }
    const row = typeof given === 'number' ? [given] : given;
    const count = isRow ? type[1] : isVector ? vectorWords[type as Vector] : 1;
    if (isVector) while (words.length % count !== 0) words.push(0);
    if (row.length !== count) {
      throw new TopKError('ENGINE_FAILURE', `webgpu: uniform ${name} of ${key}`, {
        expected: `${count} values`,
        got: String(row.length),
      });
    }
    for (const one of row) words.push(isFloat ? f32Bits(one) : one);
  }
  return words;
}

function gridFor(
  workgroups: Workgroups,
  workgroup: number | readonly [number, number],
): Launch['workgroups'] {
  if (typeof workgroups === 'number') return gridOf(workgroups);
  if (!('invocations' in workgroups)) return workgroups;
  const size = typeof workgroup === 'number' ? workgroup : workgroup[0] * workgroup[1];
  return gridOf(Math.ceil(workgroups.invocations / size));
}

function mismatch(key: string, name: string, isBound: boolean): TopKError {
  return new TopKError('ENGINE_FAILURE', `webgpu: buffer ${name} of ${key}`, {
    expected: isBound
      ? 'a buffer, as this variant of the kernel has one'
      : 'none in this variant of the kernel',
    got: isBound ? 'none' : 'a buffer',
  });
}
