import {
  matmul,
  mul,
  narrow,
  readOptions,
  reshape,
  scope,
  sum,
  type Tensor,
  TopKError,
} from '@topk-attention/core';
import type { Trace } from '@topk-attention/nn';
import type { CausalLM } from '../causal-lm/model.js';
import type { Encoder } from '../encoder/model.js';
import { readRows } from '../encoder/read-rows.js';
import { promptIds, type SourceInput } from '../generation/prompts.js';
import { checkIds } from '../generation/token-batch.js';
import { Interruption } from '../interruption.js';
import { requirePositive } from '../require-positive.js';
import type { T5 } from '../t5/model.js';
import { type Clusters, clusterValues } from './clusters.js';
import type { Inspection, InspectionPair, LayerInspection, SubUpdate, ValueVector } from './inspection.js';
import { type Intervention, InterventionPlan, placeOf } from './interventions.js';
import {
  type ClusterOptions,
  clusterKinds,
  type InspectOptions,
  type InspectorOptions,
  indexKinds,
  inspectKinds,
  inspectorKinds,
  type ValueIndexOptions,
} from './options.js';
import { disposeRecorded, type RecordedLayer, recordPass } from './recorded-pass.js';
import { type InspectedStack, type StackInputs, stackOf } from './stack.js';
import { type IndexedValue, ValueIndex } from './value-index.js';
import { checkValueName, checkWithin, type ValueName } from './value-name.js';
import { largest, tokenText, topPredictions, topTokens } from './vocabulary.js';

/** Numbers that a chunk of value vectors may have over the vocabulary: 16 MB. */
const CHUNK = 2 ** 22;

/**
 * Looks into the feed-forward layers of a T5 or a decoder-only model, as LM-Debugger does (Geva et al. 2022,
 * arXiv:2204.12130): what the residual stream predicts before and after each of them, which hidden units make the
 * difference, and what happens when some of them are set to other values. The model keeps its weights and its choices: in a
 * top-k layer the sub-updates of the k kept units and the bias are all that the layer adds.
 *
 * @throws TopKError UNSUPPORTED for a model that writes no text, INVALID_OPTION
 *
 * @example
 * const model = await loadT5({ backend, source: 'model', feedForward: { k: 64 } });
 * const inspector = createInspector(model);
 * const { layers } = await inspector.inspect('where is ann? \\n ann went to the garden.', { topUnits: 3 });
 * for (const { before, subUpdates, after } of layers) {
 *   console.log(before[0]?.text, subUpdates.map(formatValueName), after[0]?.text);
 * }
 */
export function createInspector(model: T5 | CausalLM | Encoder, options?: InspectorOptions): Inspector {
  const { stack = 'decoder' } = readOptions('createInspector', options, inspectorKinds);
  return new Inspector(model as T5 | CausalLM, stackOf('createInspector', model, stack));
}

/** Made by `createInspector`. Holds no tensor of its own; the model must live as long as it is used. */
export class Inspector {
  /** How many layers the stack has. */
  readonly layers: number;
  /** How many hidden units, and so value vectors, each layer has. */
  readonly units: number;
  readonly #model: T5 | CausalLM;
  readonly #stack: InspectedStack;
  readonly #norms = new Map<number, Float64Array>();

  /** @internal Use `createInspector`. */
  constructor(model: T5 | CausalLM, stack: InspectedStack) {
    this.layers = stack.paths.length;
    this.units = stack.weights[0]?.wOut.shape[0] as number;
    this.#model = model;
    this.#stack = stack;
  }

  /**
   * A prompt at one position, layer by layer.
   *
   * @param prompt a text, or token ids with the special tokens that the model expects
   * @throws TopKError EMPTY_SEQUENCE for a prompt of blanks or of no token; INVALID_OPTION for a layer, a unit or a position
   * that is not there; ABORTED, DISPOSED, NAN_FOUND
   */
  async inspect(prompt: SourceInput, options?: InspectOptions): Promise<Inspection> {
    return this.#inspect('inspect', prompt, readOptions('inspect', options, inspectKinds));
  }

  /** The same prompt without the interventions of the options and with them. @throws TopKError as `inspect`. */
  async compare(prompt: SourceInput, options: InspectOptions): Promise<InspectionPair> {
    const given = readOptions('compare', options, inspectKinds);
    const { interventions: _, ...plainly } = given;
    // First, so that a mistake in them is told before anything is shown.
    const changed = await this.#inspect('compare', prompt, given);
    return { plain: await this.#inspect('compare', prompt, plainly), changed };
  }

  /**
   * Hooks that overwrite coefficients in any call of the model, at all positions:
   * `model.generate(prompt, { trace: inspector.hooks([...]) })`. Without the hooks the next call is as before.
   *
   * @throws TopKError INVALID_OPTION, also for interventions at chosen positions
   */
  hooks(interventions: readonly Intervention[]): Trace {
    return {
      overrideActivations: new InterventionPlan('hooks', this.#stack, interventions, undefined).override,
    };
  }

  /**
   * What a value vector promotes.
   *
   * @param topCount how many tokens
   * @throws TopKError INVALID_OPTION for a layer or a unit that is not there
   */
  async valueVector(name: ValueName, topCount = 50): Promise<ValueVector> {
    checkValueName('valueVector', name, this.layers, this.units);
    requirePositive('valueVector', 'topCount', topCount);
    const { layer, unit } = name;
    const [logits] = await this.#projected(layer, unit, 1);
    const norms = await this.#normsOf(layer);
    const tokens = topTokens(this.#model.tokenizer, logits as Float64Array, topCount);
    return { layer, unit, norm: norms[unit] as number, tokens };
  }

  /**
   * Reads the top tokens of every value vector into an index for keyword search. It takes as many products as the vocabulary
   * times the weights of the output matrices.
   *
   * @throws TopKError INVALID_OPTION for a model without a tokenizer; ABORTED
   */
  async index(options?: ValueIndexOptions): Promise<ValueIndex> {
    const { topTokens: count = 50, signal, onProgress } = readOptions('index', options, indexKinds);
    requirePositive('index', 'topTokens', count);
    const { tokenizer } = this.#model;
    if (tokenizer === undefined) {
      throw new TopKError('INVALID_OPTION', 'index: the model has no tokenizer', {
        expected: 'a model that knows what its tokens read',
        got: 'none',
        fix: 'Load without tokenizer: false',
      });
    }
    const interruption = new Interruption('index', signal);
    const vocabulary = this.#stack.output.shape[0] as number;
    const words = Array.from({ length: vocabulary }, (_, id) => tokenText(tokenizer, id));
    const chunk = Math.max(1, Math.floor(CHUNK / vocabulary));
    const values: IndexedValue[] = [];
    for (let layer = 0; layer < this.layers; layer++) {
      for (let first = 0; first < this.units; first += chunk) {
        const rows = await this.#projected(layer, first, Math.min(chunk, this.units - first));
        for (const [at, row] of rows.entries()) {
          const tokens = largest(row, count).map((id) => words[id] as string);
          values.push({ layer, unit: first + at, tokens });
        }
        await interruption.yieldToEvents();
        onProgress?.({ done: values.length, total: this.layers * this.units });
      }
    }
    return new ValueIndex(values, words);
  }

  /**
   * All value vectors of the stack in groups of like direction: k-means on vectors of length 1.
   *
   * @throws TopKError INVALID_OPTION for more clusters than there are value vectors; ABORTED
   */
  async clusters(options: ClusterOptions): Promise<Clusters> {
    const given = readOptions('clusters', options, clusterKinds);
    return clusterValues(this.#stack, this.#model.tokenizer, given);
  }

  async #inspect(where: string, prompt: SourceInput, options: InspectOptions): Promise<Inspection> {
    const { layers = Array.from({ length: this.layers }, (_, layer) => layer), signal } = options;
    const { topTokens: tokenCount = 10, topUnits = 10, interventions = [] } = options;
    for (const layer of layers) checkWithin(where, 'layer', layer, this.layers);
    requirePositive(where, 'topTokens', tokenCount);
    requirePositive(where, 'topUnits', topUnits);
    const interruption = new Interruption(where, signal);
    const inputs = await this.#inputs(where, prompt, options);
    const ids = this.#stack.tokens(inputs);
    const position = placeOf(where, options.position ?? -1, ids.length);
    const plan = new InterventionPlan(where, this.#stack, interventions, ids.length);
    const recorded = await recordPass(this.#stack, inputs, position, plan);
    try {
      const seen: LayerInspection[] = [];
      for (const layer of layers) {
        seen.push(await this.#layer(where, layer, recorded[layer] as RecordedLayer, tokenCount, topUnits));
        await interruption.yieldToEvents();
      }
      const tokens = ids.map((id) => tokenText(this.#model.tokenizer, id));
      return { stack: this.#stack.name, tokens, position, layers: seen };
    } finally {
      disposeRecorded(recorded);
    }
  }

  async #inputs(
    where: string,
    prompt: SourceInput,
    { target, signal }: InspectOptions,
  ): Promise<StackInputs> {
    const { tokenizer, config } = this.#model;
    const read = async (text: SourceInput): Promise<readonly number[]> =>
      (await promptIds(where, tokenizer, [text], { ...(signal && { signal }) }))[0] as readonly number[];
    if (typeof prompt === 'string' && prompt.trim() === '') {
      throw new TopKError('EMPTY_SEQUENCE', `${where}: empty prompt`, { expected: 'a text', got: 'blanks' });
    }
    const ids = await read(prompt);
    checkIds(where, config, [ids]);
    if (target === undefined) return { ids, target: [] };
    if (!('encode' in this.#model) || this.#stack.name === 'encoder') {
      throw new TopKError('INVALID_OPTION', `${where}: target is for the decoder of a T5`, {
        expected: 'no target',
        got: 'one',
        fix: 'Let the prompt end with it',
      });
    }
    const all = await read(target);
    // A tokenizer ends every text, but the answer goes on.
    const isEnded = typeof target === 'string' && config.eosIds.includes(all.at(-1) ?? -1);
    const begun = isEnded ? all.slice(0, -1) : all;
    if (begun.length > 0) checkIds(where, config, [begun]);
    return { ids, target: begun };
  }

  async #layer(
    where: string,
    layer: number,
    recorded: RecordedLayer,
    tokenCount: number,
    unitCount: number,
  ): Promise<LayerInspection> {
    const { tokenizer } = this.#model;
    const predictions = async (logits: Tensor): Promise<LayerInspection['before']> => {
      const [row] = await readRows(where, logits);
      return topPredictions(tokenizer, row as Float64Array, tokenCount);
    };
    const norms = await this.#normsOf(layer);
    const used = [...recorded.coefficients].filter(([, coefficient]) => coefficient !== 0);
    const dominances = used.map(([unit, coefficient]) => Math.abs(coefficient) * (norms[unit] as number));
    return {
      layer,
      before: await predictions(this.#stack.logits(recorded.before)),
      after: await predictions(this.#stack.logits(recorded.after)),
      subUpdates: largest(dominances, unitCount).map((at): SubUpdate => {
        const [unit, coefficient] = used[at] as [number, number];
        return { layer, unit, coefficient, dominance: dominances[at] as number };
      }),
      active: used.length,
    };
  }

  /** Logits of the vocabulary for some value vectors of a layer. */
  #projected(layer: number, first: number, count: number): Promise<readonly Float64Array[]> {
    const { weights, output } = this.#stack;
    const wOut = weights[layer]?.wOut as Tensor;
    return readRows(
      'valueVector',
      scope(() => matmul(narrow(wOut, 0, first, count), output, { transposeB: true })),
    );
  }

  /** The norms of a layer's value vectors. */
  async #normsOf(layer: number): Promise<Float64Array> {
    const known = this.#norms.get(layer);
    if (known !== undefined) return known;
    const wOut = this.#stack.weights[layer]?.wOut as Tensor;
    const squares = scope(() => reshape(sum(mul(wOut, wOut), { axes: [1] }), [1, this.units]));
    const norms = ((await readRows('norms', squares))[0] as Float64Array).map(Math.sqrt);
    this.#norms.set(layer, norms);
    return norms;
  }
}
