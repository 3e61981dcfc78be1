import { TopKError } from '@topk-attention/core';
import type { GraphProto, ModelProto } from '../../onnx/messages.js';
import { decodeModel } from '../../onnx/read-model.js';
import { Lengths } from '../extents/lengths.js';
import { type Extents, symbolsOf } from '../extents/symbols.js';
import { readFile } from '../files/read-file.js';
import { graphOf } from '../graph/attributes.js';
import { givenInputs, type InputValues, madeUpInputs } from '../inputs.js';
import { readExtents } from '../options.js';
import type { Named } from './flags.js';

const MADE_UP =
  'Inputs were made up: name extents with --at, shorter lengths, or give your own with verify --inputs';

/** Inputs to run a model with. */
export interface Trial {
  readonly label: string;
  /** What to do where the model does not run on them. */
  readonly fix: string;
  readonly inputs: readonly InputValues[];
}

/**
 * One set of inputs for every length, or those of a file.
 *
 * @param at Extents by the model's names, in place of the length.
 * @throws TopKError INVALID_OPTION for names that the model does not have, and for a file without inputs.
 */
export async function trialsOf(
  path: string,
  lengths: readonly number[],
  at: Named,
  inputs?: string,
): Promise<readonly Trial[]> {
  const model = decodeModel(await readFile(path), path);
  const symbols = symbolsOf(model);
  readExtents('at', at, symbols);
  if (inputs !== undefined) {
    return (await setsOf(inputs)).map((one, index) => ({
      label: `input ${index}`,
      fix: 'Give inputs that the model takes',
      inputs: givenInputs(model, one),
    }));
  }
  const open = symbols.filter((name) => !Object.hasOwn(at, name));
  const isOpen = open.some((name) => !/batch/i.test(name));
  return (isOpen ? lengths : lengths.slice(0, 1)).map((length) => {
    const extents = new Map(open.map((name) => [name, /batch/i.test(name) ? 1 : length]));
    for (const [name, extent] of Object.entries(at)) extents.set(name, extent);
    const tied = tiedExtents(model, extents, at);
    const label = [...tied].map(([name, extent]) => `${name} ${extent}`).join(', ') || 'fixed extents';
    return { label, fix: MADE_UP, inputs: madeUpInputs(model, tied) };
  });
}

/**
 * Extents with those tied that a model takes at one value only: a mask is as long as the past and the input together. Of a
 * merged decoder they are those of the branch with a past, which made-up inputs ask for.
 */
function tiedExtents(model: ModelProto, extents: Extents, at: Named): Extents {
  const graph = model.graph as GraphProto;
  const branches = graph.node.flatMap((node) => graphOf(node, 'then_branch') ?? []);
  const { reported } = new Lengths(model, new Map(Object.entries(at)), extents);
  return reported.extents(branches[0] ?? graph);
}

/** The sets of inputs in a file of JSON: one, or several in an array. */
async function setsOf(file: string): Promise<readonly unknown[]> {
  const text = new TextDecoder().decode(await readFile(file));
  const bad = (got: string, cause?: unknown): TopKError =>
    new TopKError('INVALID_OPTION', `${file}: no inputs`, {
      expected: 'JSON: an object of nested arrays by input, or an array of such objects',
      got,
      cause,
    });
  let given: unknown;
  try {
    given = JSON.parse(text);
  } catch (cause) {
    throw bad(cause instanceof Error ? cause.message : String(cause), cause);
  }
  const sets = [given].flat();
  if (sets.length === 0) throw bad('an empty array');
  return sets;
}
