import { type Backend, readOptions, type Tensor, TopKError } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import { checkChoices, type LayerChoices } from '../choices.js';
import { drain } from '../generation/drain.js';
import {
  type GeneratedToken,
  type GenerateOptions,
  type Generation,
  generate,
} from '../generation/generate.js';
import { promptIds, type SourceInput } from '../generation/prompts.js';
import { checkIds } from '../generation/token-batch.js';
import { Interruption } from '../interruption.js';
import type { LayerExplanation } from '../layer-explanation.js';
import { requirePositive } from '../require-positive.js';
import { runOf } from '../run-of.js';
import type { TextTokenizer } from '../text/tokenizer.js';
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
  generateKinds,
  type LogitsOptions,
  logitsKinds,
} from './options.js';
import { EMBEDDING, t5ParameterSpecs } from './weights.js';

const DEFAULT_NEW_TOKENS = 20;

/**
 * A model from a configuration and parameters, such as trained ones. It takes ownership of the parameters:
 * `dispose()` frees them.
 *
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION
 */
export function createT5(config: T5Config, parameters: ParameterTree, options?: CreateT5Options): T5 {
  const { tokenizer, ...choices } = readOptions('createT5', options, createKinds);
  checkParameters('T5', t5ParameterSpecs(config), parameters);
  checkChoices('createT5', choices, blockPaths(config));
  return new T5(config, parameters, tokenizer, choices);
}

/** A T5 whose weights are on a backend. Made by `loadT5` or `createT5`. */
export class T5 {
  readonly config: T5Config;
  readonly backend: Backend;
  /** Undefined when loaded with `tokenizer: false`. */
  readonly tokenizer: TextTokenizer | undefined;
  /** By their Hugging Face names, linear layers as [in, out]. They belong to the model. */
  readonly parameters: ParameterTree;
  readonly #choices: LayerChoices;
  #isDisposed = false;

  /** @internal Use `loadT5` or `createT5`. */
  constructor(
    config: T5Config,
    parameters: ParameterTree,
    tokenizer: TextTokenizer | undefined,
    choices: LayerChoices,
  ) {
    this.config = config;
    this.backend = (parameters[EMBEDDING] as Tensor).backend;
    this.tokenizer = tokenizer;
    this.parameters = parameters;
    this.#choices = choices;
  }

  /** Greedy decoding of one source. Only token ids and their logits leave the backend. */
  async generate(source: SourceInput, options?: GenerateOptions): Promise<Generation> {
    return (await drain(this.#generate('generate', [source], options)))[0] as Generation;
  }

  /** Greedy decoding of several sources at once, right-padded; gives the same answers as one at a time. */
  async generateBatch(sources: readonly SourceInput[], options?: GenerateOptions): Promise<Generation[]> {
    return drain(this.#generate('generateBatch', sources, options));
  }

  /** Greedy decoding as it happens; leaving the loop frees everything. */
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
    where: string,
    sources: readonly SourceInput[],
    given: GenerateOptions | undefined,
  ): AsyncGenerator<GeneratedToken, Generation[]> {
    const options = readOptions(where, given, generateKinds);
    const {
      maxNewTokens = DEFAULT_NEW_TOKENS,
      signal,
      onToken,
      onProgress,
      trace,
      budgetBytes,
      ...choices
    } = options;
    const run = runOf(where, { trace, budgetBytes });
    const layers = this.#layers(where, choices);
    requirePositive(where, 'maxNewTokens', maxNewTokens);
    const prompts = await promptIds(where, this.tokenizer, sources, options);
    checkIds(where, this.config, prompts);
    const { eosIds, padId } = this.config;
    return yield* generate(
      t5Decoder(run, layers),
      prompts,
      this.tokenizer,
      { maxNewTokens, eosIds, padId },
      { interruption: new Interruption('generate', signal, () => this.#isDisposed), onProgress },
      onToken,
    );
  }

  /** The layers of one call: its choices override those of the load. */
  #layers(where: string, choices: LayerChoices): T5Layers {
    if (this.#isDisposed) throw new TopKError('DISPOSED', `${where}: the model was used after dispose()`);
    checkChoices(where, choices, blockPaths(this.config));
    return t5Layers(this.config, this.parameters, [choices, this.#choices]);
  }
}
