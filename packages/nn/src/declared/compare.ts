import { formatShape, type Shape, TopKError } from '@topk-attention/core';
import { sameShape } from '@topk-attention/core/backend';
import type { TensorReader } from '../safetensors/read.js';
import { isStoredFloat } from '../safetensors/stored-dtype.js';
import { type Declared, requireDeclared } from './declaration.js';
import { readerOf, type StateDict } from './state-dict.js';

/** How the tensors of a file differ from the parameters of a layer. */
export interface StateDictDifferences {
  /** Parameters that the file lacks. */
  readonly missing: readonly string[];
  /** Tensors of the file that are not parameters. */
  readonly unexpected: readonly string[];
  /** Parameters with another shape, or with a type that is not floating-point. */
  readonly mismatched: readonly Mismatch[];
}

export interface Mismatch {
  readonly name: string;
  readonly expected: Shape;
  /** The stored shape, or the stored type if that is what does not fit. */
  readonly got: Shape | string;
}

/** A file that does not fit a layer, with every difference. Its code is STATE_DICT_MISMATCH. */
export class StateDictError extends TopKError implements StateDictDifferences {
  readonly missing: readonly string[];
  readonly unexpected: readonly string[];
  readonly mismatched: readonly Mismatch[];

  constructor(where: string, { missing, unexpected, mismatched }: StateDictDifferences) {
    const parts = [
      ...(missing.length > 0 ? [`missing ${missing.join(', ')}`] : []),
      ...(unexpected.length > 0 ? [`unexpected ${unexpected.join(', ')}`] : []),
      ...mismatched.map(
        ({ name, expected, got }) =>
          `${name} ${typeof got === 'string' ? got : formatShape(got)} instead of ${formatShape(expected)}`,
      ),
    ];
    super('STATE_DICT_MISMATCH', `${where}: the tensors do not match the layer`, {
      expected: 'the names and shapes that it declares',
      got: parts.join('; '),
      fix: unexpected.some((name) => /(^|\.)in_proj_(weight|bias)$/.test(name))
        ? 'PyTorch packs the projections of its attention: load splitInProjections(await readStateDict(file))'
        : 'Build the layer from the configuration of the file, rename its tensors, or pass loadStateDict ignores (for unexpected ones) or initializeMissing',
    });
    this.missing = missing;
    this.unexpected = unexpected;
    this.mismatched = mismatched;
  }
}

/** The differences between a layer and a state dict or open file. Reads descriptions only. */
export function compareStateDict(layer: Declared, dict: StateDict | TensorReader): StateDictDifferences {
  const { tensors } = readerOf(dict);
  const missing: string[] = [];
  const mismatched: Mismatch[] = [];
  const known = new Set<string>();
  for (const [name, { shape, aliases = [] }] of Object.entries(requireDeclared('loadStateDict', layer))) {
    for (const one of [name, ...aliases]) known.add(one);
    const stored = storedName(tensors, name, aliases);
    const found = stored === undefined ? undefined : tensors.get(stored);
    if (found === undefined) missing.push(name);
    else if (!isStoredFloat(found.dtype)) mismatched.push({ name, expected: shape, got: found.dtype });
    else if (!sameShape(found.shape, shape)) mismatched.push({ name, expected: shape, got: found.shape });
  }
  return { missing, unexpected: [...tensors.keys()].filter((name) => !known.has(name)), mismatched };
}

/** The name under which a file holds a parameter. */
export function storedName(
  tensors: TensorReader['tensors'],
  name: string,
  aliases: readonly string[] = [],
): string | undefined {
  return [name, ...aliases].find((one) => tensors.has(one));
}
