import { type Backend, readOptions, type Tensor, TopKError } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import {
  checkChoices,
  choicesAmong,
  type LayerChoices,
  type ResolvedChoice,
  resolveChoice,
} from '../choices.js';
import {
  ANSWER_TOKENS,
  type AnsweringModel,
  type AnswerSample,
  exactAnswer,
  sampleIds,
} from '../choosing-k/answer-sample.js';
import { type Comparison, EXACT } from '../choosing-k/comparison.js';
import type { GeneratedToken } from '../generation/continuation.js';
import { drain } from '../generation/drain.js';
import { type Generation, type GenerationCall, generate, generationTask } from '../generation/generate.js';
import { defaultsOf, type GenerationDefaults } from '../generation/generation-config.js';
import { type GenerateOptions, generateKinds } from '../generation/options.js';
import { promptIds, type SourceInput } from '../generation/prompts.js';
import type { GenerationSettings } from '../generation/settings.js';
import { checkIds } from '../generation/token-batch.js';
import { Interruption } from '../interruption.js';
import type { LayerExplanation } from '../layer-explanation.js';
import { requirePositive } from '../require-positive.js';
import { runOf } from '../run-of.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import { t5Comparison } from './comparison.js';
import { blockPaths, type T5Config } from './config.js';
import { t5Decoder } from './decoder.js';
import { explainLayers } from './explain.js';
import { encodeSources, forward } from './forward.js';
import { type T5Layers, t5Layers } from './layers.js';
import {
  type CreateT5Options,
  createKinds,
  type ExplainOptions,
  explainKinds,
  type LogitsOptions,
  logitsKinds,
} from './options.js';
import { EMBEDDING, t5ParameterSpecs } from './weights.js';

/**
 * A model from a configuration and parameters, such as trained ones. It takes ownership of the parameters:
 * `dispose()` frees them.
 *
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION
 */
export function createT5(config: T5Config, parameters: ParameterTree, options?: CreateT5Options): T5 {
  const { tokenizer, generationConfig = {}, ...choices } = readOptions('createT5', options, createKinds);
  checkParameters('T5', t5ParameterSpecs(config), parameters);
  checkChoices('createT5', choices, blockPaths(config));
  return new T5(config, parameters, tokenizer, defaultsOf(generationConfig), choices);
}

/** A T5 whose weights are on a backend. Made by `loadT5` or `createT5`. */
export class T5 {
  readonly config: T5Config;
  readonly backend: Backend;
  /** Undefined when loaded with `tokenizer: false`. */
  readonly tokenizer: TextTokenizer | undefined;
  /** By their Hugging Face names, linear layers as [in, out]. They belong to the model. */
  readonly parameters: ParameterTree;
  readonly #defaults: GenerationDefaults;
  readonly #choices: LayerChoices;
  #isDisposed = false;

  /** @internal Use `loadT5` or `createT5`. */
  constructor(
    config: T5Config,
    parameters: ParameterTree,
    tokenizer: TextTokenizer | undefined,
    defaults: GenerationDefaults,
    choices: LayerChoices,
  ) {
    this.config = config;
    this.backend = (parameters[EMBEDDING] as Tensor).backend;
    this.tokenizer = tokenizer;
    this.parameters = parameters;
    this.#defaults = defaults;
    this.#choices = choices;
  }

  /** What each layer runs unless a call chooses otherwise, by the layer's path: 'encoder.0', ..., 'decoder.0', ... */
  get layerChoices(): { readonly [path: string]: ResolvedChoice } {
    const paths = blockPaths(this.config);
    return Object.fromEntries(paths.map((path) => [path, resolveChoice(path, [this.#choices])]));
  }

  /** What `generate` does where a call says nothing: generation_config.json, or `generationConfig` of the load. */
  get generationConfig(): GenerationSettings {
    return this.#defaults.settings;
  }

  /**
   * The answer to one source: greedy decoding, of which only token ids and their logits leave the backend, unless settings
   * ask for sampling or beams.
   *
   * @throws TopKError INVALID_OPTION for settings that exclude each other or would have no effect, ABORTED, DISPOSED,
   * EMPTY_SEQUENCE, DOES_NOT_FIT, NAN_FOUND
   *
   * @example
   * const model = await loadT5({ backend, source: './model' });
   * const { text } = await model.generate('where is ann? \\n ann went to the garden.', { numBeams: 4, maxNewTokens: 10 });
   */
  async generate(source: SourceInput, options?: GenerateOptions): Promise<Generation> {
    return (await drain(this.#generate('generate', [source], options)))[0] as Generation;
  }

  /**
   * Several sources at once; greedy decoding and beam search give the same answers as one at a time. With
   * `numReturnSequences`, that many results of each source beside each other.
   */
  async generateBatch(sources: readonly SourceInput[], options?: GenerateOptions): Promise<Generation[]> {
    return drain(this.#generate('generateBatch', sources, options));
  }

  /** Tokens as they are known; leaving the loop frees everything. Beam search has none before its end, and is refused. */
  async *stream(source: SourceInput, options?: GenerateOptions): AsyncGenerator<GeneratedToken, Generation> {
    return (yield* this.#generate('stream', [source], options))[0] as Generation;
  }

  /**
   * Outputs of the encoder, f32 [B, L, dModel], for rows of equal length (right-padded, with `sourceLengths`). The caller
   * disposes of it.
   */
  encode(sources: readonly (readonly number[])[], options?: LogitsOptions): Tensor {
    const { sourceLengths, trace, budgetBytes, ...choices } = readOptions('encode', options, logitsKinds);
    const layers = this.#layers('encode', choices);
    return encodeSources('encode', runOf('encode', { trace, budgetBytes }), layers, {
      sources,
      ...(sourceLengths && { sourceLengths }),
    });
  }

  /** Logits f32 [B, Lt, vocabSize] with the decoder fed the given ids (decoder start first). The caller disposes of it. */
  logits(
    sources: readonly (readonly number[])[],
    targets: readonly (readonly number[])[],
    options?: LogitsOptions,
  ): Tensor {
    const { sourceLengths, trace, budgetBytes, ...choices } = readOptions('logits', options, logitsKinds);
    const layers = this.#layers('logits', choices);
    const inputs = { sources, targets, ...(sourceLengths && { sourceLengths }) };
    return forward('logits', runOf('logits', { trace, budgetBytes }), layers, inputs);
  }

  /**
   * The path and plan, with bytes, of each attention over the source and of each feed-forward layer of the encoder.
   * Runs nothing. Attention given as a function is left out: it has no plan.
   *
   * @throws TopKError DOES_NOT_FIT where a call exceeds `budgetBytes`
   */
  explain(options: ExplainOptions): readonly LayerExplanation[] {
    const {
      sourceLength,
      batch = 1,
      budgetBytes,
      ...choices
    } = readOptions('explain', options, explainKinds);
    const layers = this.#layers('explain', choices);
    requirePositive('explain', 'sourceLength', sourceLength);
    requirePositive('explain', 'batch', batch);
    return explainLayers(layers, batch, sourceLength, runOf('explain', { budgetBytes }));
  }

  /** A sample as `suggestK` and `kErrors` run it: the logits of each token of its target, exact or with any choices. */
  async comparison(sample: AnswerSample, signal?: AbortSignal): Promise<Comparison> {
    const { source, target } = await sampleIds(this.#answering, sample, signal);
    const answer = target ?? (await this.#exactAnswer(source, signal));
    return t5Comparison(this.config, source, answer, (choices) => this.#layers('comparison', choices));
  }

  /** Frees the weights; idempotent. */
  dispose(): void {
    if (this.#isDisposed) return;
    this.#isDisposed = true;
    disposeParameters(this.parameters);
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  async *#generate(
    where: GenerationCall,
    sources: readonly SourceInput[],
    given: GenerateOptions | undefined,
  ): AsyncGenerator<GeneratedToken, Generation[]> {
    const options = readOptions(where, given, generateKinds);
    const { signal, trace, budgetBytes } = options;
    const run = runOf(where, { trace, budgetBytes });
    const layers = this.#layers(where, choicesAmong(options));
    const task = generationTask(where, { ...this.#answering, defaults: this.#defaults }, options);
    const prompts = await promptIds(where, this.tokenizer, sources, options);
    checkIds(where, this.config, prompts);
    const interruption = new Interruption('generate', signal, () => this.#isDisposed);
    return yield* generate(t5Decoder(run, layers), prompts, task, interruption, options);
  }

  async #exactAnswer(source: readonly number[], signal: AbortSignal | undefined): Promise<readonly number[]> {
    const decoder = t5Decoder(runOf('comparison', {}), this.#layers('comparison', EXACT));
    const interruption = new Interruption('comparison', signal, () => this.#isDisposed);
    return exactAnswer(this.#answering, decoder, source, ANSWER_TOKENS, interruption);
  }

  get #answering(): AnsweringModel {
    const { vocabSize, padId, eosIds } = this.config;
    return { tokenizer: this.tokenizer, vocabSize, padId, eosIds };
  }

  /** The layers of one call: its choices override those of the load. */
  #layers(where: string, choices: LayerChoices): T5Layers {
    if (this.#isDisposed) throw new TopKError('DISPOSED', `${where}: the model was used after dispose()`);
    checkChoices(where, choices, blockPaths(this.config));
    return t5Layers(this.config, this.parameters, [choices, this.#choices]);
  }
}
