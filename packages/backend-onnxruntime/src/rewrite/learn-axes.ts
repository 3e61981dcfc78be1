import { type OptionKinds, readOptions, sizeOf, TopKError } from '@topk-attention/core';
import { dataTypes } from '../onnx/data-types.js';
import type { GraphProto, ModelProto } from '../onnx/messages.js';
import { decodeModel } from '../onnx/read-model.js';
import { encodeModel } from '../onnx/write-model.js';
import { anOrt } from '../runtime/load.js';
import type { OrtModule, OrtTensor } from '../runtime/ort.js';
import { type Known, MOST_VALUES } from './extents/known.js';
import { choicesOf, type LearnedAxes } from './extents/lengths.js';
import type { Observed } from './extents/settle.js';
import { type Extents, symbolsOf } from './extents/symbols.js';
import { bytesOf, type ModelBytes } from './files/model-bytes.js';
import { madeUpInputs, tensorOf } from './inputs.js';
import { anObject, readExtents } from './options.js';

/** How axes are learned. */
export interface LearnOptions {
  /** As in `RewriteOptions`; pass the same to `rewriteModel`. */
  readonly fixed?: { readonly [name: string]: number };
}

const learnKinds: OptionKinds<LearnOptions> = { fixed: anObject };

/**
 * Runs a model twice on short made-up inputs, with every value as an output, and notes what extents its values have. For
 * models with operators whose output cannot be told without a run: `rewriteModel(bytes, { learned })` uses it for those.
 *
 * @param bytes A model's file that holds its weights.
 * @param ort The module of `onnxruntime-node` or `onnxruntime-web`, which runs the model.
 * @throws TopKError ENGINE_FAILURE for a model that does not run on such inputs; UNSUPPORTED for inputs that cannot be made
 * up; FILE_TRUNCATED, FILE_CORRUPT, INVALID_OPTION.
 */
export async function learnAxes(
  bytes: ModelBytes,
  ort: OrtModule,
  options?: LearnOptions,
): Promise<LearnedAxes> {
  const { fixed } = readOptions('learnAxes', options, learnKinds);
  if (!anOrt.is(ort)) {
    throw new TopKError('INVALID_OPTION', 'learnAxes: no engine', { expected: anOrt.what, got: String(ort) });
  }
  const model = decodeModel(bytesOf('learnAxes', bytes));
  const symbols = symbolsOf(model);
  const choices = choicesOf(symbols, readExtents('fixed', fixed, symbols));
  const outputs = namesOf(model.graph as GraphProto);
  const session = await failing(() =>
    // Optimised graphs lack some of the values.
    ort.InferenceSession.create(withOutputs(model, outputs), {
      graphOptimizationLevel: 'disabled',
      logSeverityLevel: 4,
    }),
  );
  try {
    const observed: Observed[] = [];
    for (const extents of choices) {
      const feeds = feedsOf(ort, model, extents);
      const made = await failing(() => session.run(feeds, outputs));
      observed.push(new Map(Object.entries(made).flatMap(([name, tensor]) => entryOf(name, tensor))));
    }
    return { choices, observed: observed as [Observed, Observed] };
  } finally {
    await session.release();
  }
}

async function failing<R>(run: () => Promise<R>): Promise<R> {
  try {
    return await run();
  } catch (cause) {
    throw new TopKError('ENGINE_FAILURE', 'learnAxes: the model does not run', {
      expected: 'a model that runs on short inputs',
      got: cause instanceof Error ? (cause.message.split('\n')[0] as string) : String(cause),
      fix: 'Name the extents that it takes at one value only in fixed',
      cause,
    });
  }
}

/** What the nodes of the outermost graph make. */
function namesOf({ node }: GraphProto): readonly string[] {
  return node.flatMap(({ output }) => output.filter((name) => name !== ''));
}

/** Outputs without a type: the engine finds it. */
function withOutputs(model: ModelProto, names: readonly string[]): Uint8Array {
  const graph = model.graph as GraphProto;
  const there = new Set(graph.output.map(({ name }) => name));
  const more = names.flatMap((name) => (there.has(name) ? [] : [{ name }]));
  return encodeModel({ ...model, graph: { ...graph, output: [...graph.output, ...more] } });
}

function feedsOf(
  ort: OrtModule,
  model: ModelProto,
  extents: Extents,
): { readonly [name: string]: OrtTensor } {
  const inputs = madeUpInputs(model, extents);
  return Object.fromEntries(inputs.map((input) => [input.name, tensorOf(ort.Tensor, input)]));
}

const types: ReadonlyMap<string, number> = new Map([
  ['float32', dataTypes.float],
  ['float16', dataTypes.float16],
  ['float64', dataTypes.double],
  ['int64', dataTypes.int64],
  ['int32', dataTypes.int32],
  ['int8', dataTypes.int8],
  ['uint8', dataTypes.uint8],
  ['bool', dataTypes.bool],
]);
/** Numbers that shapes are made of. */
const WHOLE: ReadonlySet<string> = new Set(['int64', 'int32', 'bool']);

function entryOf(name: string, tensor: OrtTensor): readonly (readonly [string, Known])[] {
  const type = types.get(tensor.type);
  if (type === undefined) return [];
  const dims = [...tensor.dims];
  if (!WHOLE.has(tensor.type) || sizeOf(dims) > MOST_VALUES) return [[name, { type, dims }]];
  return [[name, { type, dims, values: Array.from(tensor.data as Iterable<number | bigint>, Number) }]];
}
