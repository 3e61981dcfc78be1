import { describeValue, type Shape, TopKError } from '@topk-attention/core';
import type { Initializer } from './initializers.js';

/** A parameter that a layer needs, described before any tensor exists. */
export interface Declaration {
  /** As in files: a linear layer's weight is [out, in]. */
  readonly shape: Shape;
  readonly initializer: Initializer;
  /** False for a buffer: saved and loaded, but no optimiser moves it. Default true. */
  readonly trainable?: boolean;
  /** For a buffer of random numbers: training steps after which `redraw` draws new ones. Default: never. */
  readonly redrawEvery?: number;
  /** Other names under which a file may hold it, or a copy of it. */
  readonly aliases?: readonly string[];
}

/** Parameters by name, 'layers.0.linear1.weight': the names that PyTorch gives them in a state dict. */
export interface Declarations {
  readonly [name: string]: Declaration;
}

/** Whatever declares parameters: every layer. */
export interface Declared {
  readonly parameters: Declarations;
}

/** @throws TopKError INVALID_OPTION for anything but a layer, such as a tree of parameters. */
export function requireDeclared(where: string, layer: Declared): Declarations {
  const found: unknown = layer?.parameters;
  if (typeof found === 'object' && found !== null) return layer.parameters;
  throw new TopKError('INVALID_OPTION', `${where}: this is not a layer`, {
    expected: 'a layer, which declares its parameters',
    got: describeValue(layer),
    fix: 'Pass the layer itself, such as what defineLayer or encoderStack returned',
  });
}

/** A name within a part: '' stands for the part itself, or for the whole. */
export function joinNames(outer: string, inner: string): string {
  return outer === '' || inner === '' ? outer + inner : `${outer}.${inner}`;
}

/**
 * The parameters of parts under the parts' names. A part named '' contributes its parameters under their own names.
 *
 * @throws TopKError INVALID_OPTION if two parts declare the same name.
 */
export function declarationsOf(parts: { readonly [name: string]: Declared }): Declarations {
  const all: { [name: string]: Declaration } = {};
  for (const [part, { parameters }] of Object.entries(parts)) {
    for (const [own, declaration] of Object.entries(parameters)) {
      const name = joinNames(part, own);
      if (Object.hasOwn(all, name)) {
        throw new TopKError('INVALID_OPTION', 'a layer: two parameters have the same name', {
          expected: 'each name once',
          got: `${name} twice`,
          fix: 'Give the parts different names',
        });
      }
      const { aliases } = declaration;
      all[name] = {
        ...declaration,
        ...(aliases && { aliases: aliases.map((alias) => joinNames(part, alias)) }),
      };
    }
  }
  return all;
}
