import { type Backend, readOptions, type Tensor, TopKError } from '@topk-attention/core';
import { disposeParameters, type ParameterTree } from '@topk-attention/nn';
import { checkParameters } from '../checkpoint/check-parameters.js';
import { checkStackChoices, choicesAmong, type StackChoices } from '../choices.js';
import {
  ANSWER_TOKENS,
  type AnsweringModel,
  type AnswerSample,
  exactAnswer,
  sampleIds,
} from '../choosing-k/answer-sample.js';
import { type Comparison, EXACT } from '../choosing-k/comparison.js';
import { type GeneratedToken, mostNewTokens } from '../generation/continuation.js';
import { drain } from '../generation/drain.js';
import { type Generation, type GenerationCall, generate, generationTask } from '../generation/generate.js';
import { defaultsOf, type GenerationDefaults } from '../generation/generation-config.js';
import { promptIds, type SourceInput } from '../generation/prompts.js';
import type { GenerationSettings } from '../generation/settings.js';
import { checkIds } from '../generation/token-batch.js';
import { Interruption } from '../interruption.js';
import type { LayerExplanation } from '../layer-explanation.js';
import { requirePositive } from '../require-positive.js';
import { runOf } from '../run-of.js';
import type { TextTokenizer } from '../text/tokenizer.js';
import { causalComparison } from './comparison.js';
import { blockPaths, type CausalLMConfig } from './config.js';
import { causalDecoder } from './decoder.js';
import { explainLayers } from './explain.js';
import { checkLength, forward } from './forward.js';
import { type CausalLayers, causalLayers } from './layers.js';
import {
  type CausalLMExplainOptions,
  type CausalLMGenerateOptions,
  type CausalLMLogitsOptions,
  type CreateCausalLMOptions,
  causalGenerateKinds,
  createKinds,
  explainKinds,
  logitsKinds,
} from './options.js';
import { causalLMParameterSpecs, namesOf } from './weights.js';

/**
 * A model from a configuration and parameters, such as trained ones. It takes ownership of the parameters:
 * `dispose()` frees them.
 *
 * @throws TopKError MISSING_WEIGHT, SHAPE_MISMATCH, INVALID_K, INVALID_OPTION
 */
export function createCausalLM(
  config: CausalLMConfig,
  parameters: ParameterTree,
  options?: CreateCausalLMOptions,
): CausalLM {
  const where = 'createCausalLM';
  const { tokenizer, generationConfig = {}, ...choices } = readOptions(where, options, createKinds);
  checkParameters('CausalLM', causalLMParameterSpecs(config), parameters);
  checkStackChoices(where, choices, blockPaths(config));
  return new CausalLM(config, parameters, tokenizer, defaultsOf(generationConfig), choices);
}

/** A decoder-only model whose weights are on a backend. Made by `loadCausalLM` or `createCausalLM`. */
export class CausalLM {
  readonly config: CausalLMConfig;
  readonly backend: Backend;
  /** Undefined when loaded with `tokenizer: false`. */
  readonly tokenizer: TextTokenizer | undefined;
  /** By their Hugging Face names, linear layers as [in, out]. They belong to the model. */
  readonly parameters: ParameterTree;
  readonly #defaults: GenerationDefaults;
  readonly #choices: StackChoices;
  #isDisposed = false;

  /** @internal Use `loadCausalLM` or `createCausalLM`. */
  constructor(
    config: CausalLMConfig,
    parameters: ParameterTree,
    tokenizer: TextTokenizer | undefined,
    defaults: GenerationDefaults,
    choices: StackChoices,
  ) {
    this.config = config;
    this.backend = (parameters[namesOf(config).embedding] as Tensor).backend;
    this.tokenizer = tokenizer;
    this.parameters = parameters;
    this.#defaults = defaults;
    this.#choices = choices;
  }

  /** What `generate` does where a call says nothing: generation_config.json, or `generationConfig` of the load. */
  get generationConfig(): GenerationSettings {
    return this.#defaults.settings;
  }

  /**
   * Continues one prompt; the result has the new tokens alone. Greedy decoding, of which only token ids and their logits
   * leave the backend, unless settings ask for sampling or beams.
   *
   * @throws TopKError INVALID_OPTION for settings that exclude each other or would have no effect, and for more tokens than
   * there are learned positions; ABORTED, DISPOSED, EMPTY_SEQUENCE, DOES_NOT_FIT, NAN_FOUND
   */
  async generate(prompt: SourceInput, options?: CausalLMGenerateOptions): Promise<Generation> {
    return (await drain(this.#generate('generate', [prompt], options)))[0] as Generation;
  }

  /**
   * Several prompts at once, padded on the left; greedy decoding and beam search give the same answers as one at a time.
   * With `numReturnSequences`, that many results of each prompt beside each other.
   */
  async generateBatch(
    prompts: readonly SourceInput[],
    options?: CausalLMGenerateOptions,
  ): Promise<Generation[]> {
    return drain(this.#generate('generateBatch', prompts, options));
  }

  /** Tokens as they are known; leaving the loop frees everything. Beam search has none before its end, and is refused. */
  async *stream(
    prompt: SourceInput,
    options?: CausalLMGenerateOptions,
  ): AsyncGenerator<GeneratedToken, Generation> {
    return (yield* this.#generate('stream', [prompt], options))[0] as Generation;
  }

  /** Logits f32 [B, L, vocabSize] of rows of equal length; those at a token predict the next. The caller disposes of it. */
  logits(tokens: readonly (readonly number[])[], options?: CausalLMLogitsOptions): Tensor {
    const { leftPadding, trace, budgetBytes, ...choices } = readOptions('logits', options, logitsKinds);
    const layers = this.#layers('logits', choices);
    const inputs = { tokens, ...(leftPadding && { leftPadding }) };
    return forward('logits', runOf('logits', { trace, budgetBytes }), layers, inputs);
  }

  /**
   * The path and plan, with bytes, of each attention and feed-forward layer over a prompt. Runs nothing. Attention given as
   * a function is left out: it has no plan.
   *
   * @throws TopKError DOES_NOT_FIT where a call exceeds `budgetBytes`
   */
  explain(options: CausalLMExplainOptions): readonly LayerExplanation[] {
    const { length, batch = 1, budgetBytes, ...choices } = readOptions('explain', options, explainKinds);
    const layers = this.#layers('explain', choices);
    requirePositive('explain', 'length', length);
    requirePositive('explain', 'batch', batch);
    return explainLayers(layers, batch, length, runOf('explain', { budgetBytes }));
  }

  /**
   * A sample as `suggestK` and `kErrors` run it: the logits of each token of its target after the prompt that is its source,
   * exact or with any choices.
   *
   * @throws TopKError INVALID_OPTION, EMPTY_SEQUENCE, ABORTED, DISPOSED
   *
   * @example
   * const model = await loadCausalLM({ backend, source: './stories' });
   * const { choices } = await suggestK(model, ['Once upon a time there was a dog.'], { tolerance: 0.1 });
   * const { text } = await model.generate('Once upon a time', choices);
   */
  async comparison(sample: AnswerSample, signal?: AbortSignal): Promise<Comparison> {
    const { source, target } = await sampleIds(this.#answering, sample, signal);
    const answer = target ?? (await this.#exactAnswer(source, signal));
    return causalComparison(this.config, source, answer, (choices) => this.#layers('comparison', choices));
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
    given: CausalLMGenerateOptions | undefined,
  ): AsyncGenerator<GeneratedToken, Generation[]> {
    const options = readOptions(where, given, causalGenerateKinds);
    const { signal, trace, budgetBytes } = options;
    const run = runOf(where, { trace, budgetBytes });
    const layers = this.#layers(where, choicesAmong(options));
    const task = generationTask(where, { ...this.#answering, defaults: this.#defaults }, options);
    const prompts = await promptIds(where, this.tokenizer, sources, options);
    checkIds(where, this.config, prompts);
    for (const { length } of prompts) {
      // The last new token is not fed.
      const fed = length + mostNewTokens(where, task.rules.strategy.limits, length) - 1;
      checkLength(where, this.config, fed);
    }
    const interruption = new Interruption('generate', signal, () => this.#isDisposed);
    return yield* generate(causalDecoder(run, layers), prompts, task, interruption, options);
  }

  async #exactAnswer(source: readonly number[], signal: AbortSignal | undefined): Promise<readonly number[]> {
    const { rotary, maxPositions } = this.config;
    checkLength('comparison', this.config, source.length);
    // The last new token is not fed.
    const room = rotary === undefined ? maxPositions - source.length + 1 : ANSWER_TOKENS;
    const decoder = causalDecoder(runOf('comparison', {}), this.#layers('comparison', EXACT));
    const interruption = new Interruption('comparison', signal, () => this.#isDisposed);
    return exactAnswer(this.#answering, decoder, source, Math.min(ANSWER_TOKENS, room), interruption);
  }

  get #answering(): AnsweringModel {
    const { vocabSize, padId, eosIds } = this.config;
    return { tokenizer: this.tokenizer, vocabSize, padId, eosIds };
  }

  /** The layers of one call: its choices override those of the load. */
  #layers(where: string, choices: StackChoices): CausalLayers {
    if (this.#isDisposed) throw new TopKError('DISPOSED', `${where}: the model was used after dispose()`);
    checkStackChoices(where, choices, blockPaths(this.config));
    return causalLayers(this.config, this.parameters, [choices, this.#choices]);
  }
}
