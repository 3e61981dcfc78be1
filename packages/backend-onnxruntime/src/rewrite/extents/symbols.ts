import { type Dim, dimsOf } from '../../onnx/dims.js';
import type { ModelProto } from '../../onnx/messages.js';

/** Extents by the names of the dimensions that a file leaves open. */
export type Extents = ReadonlyMap<string, number>;

/** The name of an extent of an input: the file's, or one made of input and axis. */
export function symbolOf(input: string, axis: number, dim: Dim): Dim {
  return dim === '' ? `${input}:${axis}` : dim;
}

/** A number, or sums and products of names and numbers, as exporters write `past + length`. Undefined if not known. */
export function extentOf(dim: Dim, extents: Extents): number | undefined {
  if (typeof dim === 'number') return dim;
  const whole = extents.get(dim);
  if (whole !== undefined) return whole;
  let sum = 0;
  for (const term of dim.split('+')) {
    let product = 1;
    for (const factor of term.split('*')) {
      const name = factor.trim();
      const value = /^\d+$/.test(name) ? Number(name) : extents.get(name);
      if (value === undefined) return undefined;
      product *= value;
    }
    sum += product;
  }
  return sum;
}

/** Names of the open extents of a model's inputs, in order, without those made of others. */
export function symbolsOf({ graph }: ModelProto): readonly string[] {
  const constants = new Set(graph?.initializer.map(({ name }) => name));
  const symbols = new Set<string>();
  for (const input of graph?.input ?? []) {
    if (constants.has(input.name)) continue;
    for (const [axis, dim] of (dimsOf(input) ?? []).entries()) {
      const symbol = symbolOf(input.name ?? '', axis, dim);
      if (typeof symbol === 'number') continue;
      for (const name of symbol.split(/[+*]/)) if (!/^\s*\d*\s*$/.test(name)) symbols.add(name.trim());
    }
  }
  return [...symbols];
}
